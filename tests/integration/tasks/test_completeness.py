"""What the reader takes for complete, with gaps and coverage in a real Redis."""

import json

import pytest
import redis

from collector.analytics.proof import Proof
from collector.model import MINUTE_MS, Channel, Gap
from collector.settings import Settings
from collector.store.read import Reader, to_json
from collector.store.store import Store
from tests.integration.tasks.conftest import Compare, Cover
from tests.samples.rows import BTC, T0, from_rest, ticker, trade


def minute_trades(*minutes: int) -> list[object]:
    """Return a trade in each of some minutes after `T0`."""
    return [trade(number, exchange_ms=T0 + number * MINUTE_MS) for number in minutes]


def gap(first: int, last: int, reason: str = "stalled", *, recovered: bool = False) -> Gap:
    """Return a gap from the middle of one minute after `T0` to that of another."""
    half = MINUTE_MS // 2
    from_ms, to_ms = T0 + first * MINUTE_MS + half, T0 + last * MINUTE_MS + half
    return Gap(BTC, Channel.TRADE, from_ms, to_ms, reason, recovered)


def shown(reader: Reader, **asked: object) -> dict[int, tuple[int, bool]]:
    """Return trades and completeness of each candle by the minutes since `T0`."""
    rows = reader.candles(BTC, **asked)  # type: ignore[arg-type]
    return {(row.open_ms - T0) // MINUTE_MS: (row.trade_count, row.complete) for row in rows}


def test_minutes_that_are_wholly_missing_are_rows_until_they_are_recovered(
    store: Store, reader: Reader
) -> None:
    """Quiet minutes are no rows: what is missing can be told from what was not there."""
    store.put_trades(minute_trades(0, 1, 6))
    store.put_gaps([gap(1, 3)])
    assert shown(reader) == {0: (1, True), 1: (1, False), 2: (0, False), 3: (0, False), 6: (1, True)}
    (row,) = json.loads(
        to_json(reader.candles(BTC, from_ms=T0 + 2 * MINUTE_MS, limit=1, to_ms=T0 + 2 * MINUTE_MS))
    )
    assert (row["open"], row["close"], row["vwap"], row["base_volume"]) == (None, None, None, "0")
    store.put_gaps([gap(1, 3, recovered=True)])
    assert shown(reader) == {0: (1, True), 1: (1, True), 6: (1, True)}


def test_missing_minutes_are_cut_like_others(store: Store, reader: Reader) -> None:
    """By time and by limit; longer candles have them as a part."""
    store.put_trades(minute_trades(0, 9))
    store.put_gaps([gap(2, 6)])
    assert list(shown(reader, limit=3)) == [5, 6, 9]
    assert list(shown(reader, from_ms=T0 + 3 * MINUTE_MS, to_ms=T0 + 5 * MINUTE_MS)) == [3, 4, 5]
    rows = reader.candles(BTC, "3m")
    assert [row.trade_count for row in rows] == [1, 0, 0, 1]


def test_a_long_gap_is_rows_only_as_far_back_as_candles_are_kept(
    store: Store, reader: Reader, settings: Settings
) -> None:
    """And no further ahead than the newest event."""
    kept = settings.store.candle_retention_h * 60
    store.put_trades(minute_trades(0))
    store.put_gaps([gap(-3 * kept, 600)])
    assert list(shown(reader)) == list(range(-kept, 1))


def test_a_dead_feed_is_known_while_it_is_dead(store: Store, reader: Reader, cover: Cover) -> None:
    """The candle it cut off and every window say so at once, not when the feed is back."""
    store.put_trades(minute_trades(-2, -1, 0))
    cover()
    assert shown(reader)[0] == (1, True)
    assert reader.volume(BTC)[0].complete
    cover(outage_since_ms=T0 + 30_000, outage_reason="disconnected")
    assert shown(reader) == {-2: (1, True), -1: (1, True), 0: (1, False)}
    assert not any(row.complete for row in (*reader.volume(BTC), *reader.changes(BTC)))
    cover(outage_since_ms=T0 + 30_000, outage_reason="disconnected", now_ms=T0 + 2 * MINUTE_MS + 5)
    assert shown(reader, limit=3) == {0: (1, False), 1: (0, False), 2: (0, False)}
    assert [(row.from_ms, row.to_ms) for row in reader.gaps()] == [(T0 + 30_000, T0 + 2 * MINUTE_MS + 5)]


def test_trades_that_wait_on_disk_are_missing(store: Store, reader: Reader, cover: Cover) -> None:
    """From the oldest of them on."""
    store.put_trades(minute_trades(-2, -1, 0))
    cover(pending_from_ms=T0 - MINUTE_MS)
    assert [complete for _, complete in shown(reader).values()] == [True, False, False]


def test_what_came_after_a_listener_died_is_not_complete(store: Store, reader: Reader, cover: Cover) -> None:
    """Of its markets; those of a listener that lives are."""
    store.put_trades([*minute_trades(-1, 0), trade(5, market="KRW-ETH", exchange_ms=T0 + 3 * MINUTE_MS)])
    cover("1/2", alive=False)
    cover("2/2", markets=("KRW-ETH",), covered_until_ms=T0 + 3 * MINUTE_MS)
    assert shown(reader) == {
        -1: (1, True), 0: (1, False), 1: (0, False), 2: (0, False), 3: (0, False),
    }  # fmt: skip
    assert [row.complete for row in reader.candles("KRW-ETH")] == [True]
    assert (reader.volume(BTC)[0].complete, reader.volume("KRW-ETH")[0].complete) == (False, True)


def test_a_share_of_earlier_settings_does_not_matter(store: Store, reader: Reader, cover: Cover) -> None:
    """The listener that has the market now speaks for it."""
    store.put_trades(minute_trades(0))
    cover("1/1", alive=False, covered_until_ms=T0 - 10)
    cover("1/4")
    assert shown(reader) == {0: (1, True)}


def test_a_quiet_market_is_known_since_its_listener_began(store: Store, reader: Reader) -> None:
    """The gap of the start was looked up and nothing was traded: zero is the truth since then."""
    store.put_gaps([gap(-30, -29, "start", recovered=True)])
    store.put_tickers([ticker()])
    rows = {row.window: row for row in reader.volume(BTC)}
    assert (rows["15m"].trade_count, rows["15m"].complete, rows["15m"].since_ms) == (0, True, None)
    assert (rows["1h"].complete, rows["1h"].since_ms) == (False, gap(-30, -29).from_ms)
    assert reader.candles(BTC) == []


def test_what_is_known_of_many_markets_takes_few_round_trips(
    store: Store, client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are."""
    names = [f"KRW-M{number}" for number in range(60)]
    store.put_trades([trade(number, market=name) for number, name in enumerate(names)])
    sent = []
    pipeline = client.pipeline
    monkeypatch.setattr(client, "pipeline", lambda *a, **k: sent.append(1) or pipeline(*a, **k))
    reader = Reader(client, settings)
    opens = reader.opens(names)
    assert reader.known(opens).keys() == reader.minutes_of(opens, T0, T0).keys() == set(names)
    assert len(sent) <= 8


def test_a_verdict_holds_for_the_minute_it_was_found_for(
    store: Store, reader: Reader, compare: Compare
) -> None:
    """A late trade makes it one that was not compared; longer candles join the verdicts of their minutes."""
    store.put_trades(minute_trades(0, 1, 2, 3))
    compare(0, 1, 3)
    compare(2, equal=False)
    assert [row.verified for row in reader.candles(BTC)] == [True, True, False, True]
    store.put_trades([trade(99, 5, exchange_ms=T0 + 1)])
    assert [row.verified for row in reader.candles(BTC)] == [None, True, False, True]
    assert [row.verified for row in reader.candles(BTC, "3m")] == [False, True]
    (row,) = json.loads(to_json(reader.candles(BTC, limit=1)))
    assert list(row)[-2:] == ["complete", "verified"]


def test_completeness_has_what_is_proven_open_and_recovered(
    store: Store, reader: Reader, cover: Cover, compare: Compare
) -> None:
    """A row for each market, with the promised fields and no other."""
    store.put_trades(minute_trades(0, 1, 2, 3))
    store.put_trades([from_rest(trade(50, 7, exchange_ms=T0 + 5), 50)])
    store.put_trades([trade(1, market="KRW-ETH")])
    cover(markets=(BTC, "KRW-ETH"))
    compare(0, 1, 2)
    store.put_gaps([gap(1, 1)])
    rows = json.loads(to_json(reader.completeness()))
    assert rows == [
        {"market": BTC, "proven_until_ms": T0 + 3 * MINUTE_MS, "unproven_minutes": 1, "open_gaps": 1,
         "recovered_trades": 1, "verified": True},
        {"market": "KRW-ETH", "proven_until_ms": None, "unproven_minutes": 0, "open_gaps": 0,
         "recovered_trades": 0, "verified": None},
    ]  # fmt: skip
    assert [row.market for row in reader.completeness("btc")] == [BTC]
    proof = reader.health().proof
    assert (proof.proven_until_ms, proof.unproven_markets) == (T0 + 3 * MINUTE_MS, 1)
    assert (proof.open_gaps, proof.recovered_gaps, proof.recovered_trades, proof.outages) == (1, 0, 1, [])
    store.put_gaps([gap(1, 1, recovered=True)])
    assert [row.unproven_minutes for row in reader.completeness(BTC)] == [0]
    assert (reader.proof().open_gaps, reader.proof().recovered_gaps) == (0, 1)


def test_an_outage_that_lasts_is_an_open_gap(store: Store, reader: Reader, cover: Cover) -> None:
    """In `show gaps`, in `show completeness` and in `show health`; not once nobody collects any more."""
    store.put_trades([*minute_trades(0, 1), trade(1, market="KRW-ETH")])
    cover(outage_since_ms=T0 + 30_000, outage_reason="maintenance")
    (row,) = reader.gaps()
    assert (row.market, row.channel, row.reason, row.recovered) == (BTC, "trade", "maintenance", False)
    assert (row.from_ms, row.to_ms) == (T0 + 30_000, T0 + MINUTE_MS)
    assert {row.market: row.open_gaps for row in reader.completeness()} == {BTC: 1, "KRW-ETH": 0}
    assert [(outage.reason, outage.markets) for outage in reader.proof().outages] == [("maintenance", 1)]
    assert reader.open_trade_gaps([BTC]) == []
    cover(alive=False, outage_since_ms=T0 + 30_000)
    assert (reader.gaps(), reader.proof().open_gaps) == ([], 0)


def test_nothing_is_proven_where_there_is_nothing(reader: Reader) -> None:
    """Before the first event."""
    assert reader.completeness() == []
    assert reader.proof() == Proof(None, 0, 0, 0, 0, [], None)
