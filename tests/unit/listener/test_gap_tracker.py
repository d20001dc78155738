"""From what is missing to a recorded gap, a backfill, and a recovered gap."""

from typing import Any

from msgspec.structs import replace

from collector.analytics.watermark import Start
from collector.feed.backfill import MissingStretch
from collector.listener.gap_tracker import GapTracker
from collector.model import Channel, Gap
from collector.stream.coverage import EndedOutage
from collector.stream.totals import Missing
from tests.samples.events import T0, gap, trade
from tests.unit.listener.test_pipeline import Bench

MARKETS = ("KRW-BTC", "KRW-ETH")
MINUTE_MS = 60_000


class Backfill:
    """Notes what is to be fetched."""

    def __init__(self) -> None:
        self.stretches: list[MissingStretch] = []

    def add(self, stretch: MissingStretch) -> None:
        self.stretches.append(stretch)


def tracker(*channels: Channel) -> tuple[GapTracker, Backfill, Bench]:
    bench, backfill = Bench(), Backfill()
    it = GapTracker(bench.pipeline, channels or tuple(Channel), lambda: MARKETS)
    it.backfill = backfill  # type: ignore[assignment]
    return it, backfill, bench


def recorded(bench: Bench) -> list[Gap]:
    return [row for row in bench.rows() if isinstance(row, Gap)]


def test_an_outage_is_a_gap_of_every_market_and_channel_and_a_backfill_of_the_trades() -> None:
    """By the exchange's own times."""
    it, backfill, bench = tracker()
    it.on_outage(EndedOutage(T0 + 5, T0 + 900, "disconnected"))
    found = {(each.market, each.channel): each for each in recorded(bench)}
    assert set(found) == {(market, channel) for market in MARKETS for channel in Channel}
    trades = found["KRW-BTC", Channel.TRADE]
    assert (trades.from_ms, trades.to_ms) == (T0 + 5, T0 + 900)
    assert (trades.reason, trades.recovered) == ("disconnected", False)
    assert [each.market for each in backfill.stretches] == list(MARKETS)
    assert all(each.is_known_before for each in backfill.stretches)


def test_a_start_goes_back_to_where_the_last_run_ended() -> None:
    """A market that is new to us begins with the running minute, of which nothing before is known."""
    it, backfill, bench = tracker()
    it.begin({"KRW-BTC": Start(T0 - 3_600_000)})
    assert not it.has_begun
    it.on_outage(EndedOutage(None, T0, "start"))
    known, new = backfill.stretches
    assert (known.from_ms, known.to_ms, known.is_known_before) == (T0 - 3_600_000, T0, True)
    assert (new.from_ms % MINUTE_MS, new.is_known_before) == (0, False)
    assert T0 - MINUTE_MS < new.from_ms <= T0
    assert bench.pipeline.covered_from_ms == {"KRW-ETH": new.from_ms}
    assert {each.channel for each in recorded(bench)} == {Channel.TRADE}
    assert it.has_begun


def test_a_start_waits_until_it_is_known_where_the_last_run_ended() -> None:
    """Until then no market is taken for new; then the start is as if it had been known at once."""
    it, backfill, bench = tracker()
    early, from_ms, to_ms = T0 - 7_200_000, T0 - 3_600_000, T0
    it.on_outage(EndedOutage(None, to_ms, "start"))
    bench.frame(trade(1, "KRW-ETH", early), trade(2, "KRW-BTC", early))
    assert recorded(bench) == []
    it.begin({"KRW-BTC": Start(from_ms)})
    known, new = backfill.stretches
    assert (known.market, known.from_ms, known.to_ms) == ("KRW-BTC", from_ms, to_ms)
    assert new.market == "KRW-ETH"
    assert bench.early == [("KRW-ETH", early)], "of a known market nothing before its start is news"
    it.begin({})
    assert len(backfill.stretches) == 2


def test_what_another_listener_has_on_its_disk_is_a_gap_of_its_own() -> None:
    """By its name it is closed when that listener is back."""
    it, backfill, bench = tracker()
    it.begin({"KRW-BTC": Start(T0 - 500, T0 - 90_000, T0, "a1")})
    it.on_outage(EndedOutage(None, T0, "start"))
    found = [(each.market, each.reason, each.from_ms) for each in recorded(bench)]
    assert found[:2] == [("KRW-BTC", "start", T0 - 500), ("KRW-BTC", "held:a1", T0 - 90_000)]
    assert [each.reason for each in backfill.stretches] == ["start", "held:a1", "start"]


def test_losses_that_wait_are_known_by_their_oldest() -> None:
    """Until they are recorded; those that are recovered are none."""
    it, _, _ = tracker()
    assert it.unrecorded_from_ms is None
    for number in (5, 3):
        it.on_unsent(lost("KRW-BTC", T0 + number))
    it.on_unsent(gap(T0, recovered=True))
    assert it.unrecorded_from_ms == T0 + 3
    it.record_unsent()
    assert it.unrecorded_from_ms is None


def test_a_recovered_gap_has_the_name_of_the_opened_one() -> None:
    """So that it replaces it; one that stays is not told again."""
    it, backfill, bench = tracker(Channel.TRADE)
    it.on_outage(EndedOutage(T0, T0 + 5, "stalled"))
    opened = recorded(bench)
    it.on_filled(backfill.stretches[0], True)
    it.on_filled(backfill.stretches[1], False)
    (recovered,) = recorded(bench)
    assert recovered == Gap("KRW-BTC", Channel.TRADE, opened[0].from_ms, opened[0].to_ms, "stalled", True)


def test_a_trade_from_the_future_opens_a_gap_where_it_came_and_passes_when_that_is_done() -> None:
    """Recovered or not: REST was asked."""
    it, backfill, bench = tracker(Channel.TRADE)
    passed: list[tuple[str, int]] = []
    bench.pipeline.pass_ahead = lambda *asked: passed.append(asked)  # type: ignore[method-assign]
    for recovered in (True, False):
        it.on_ahead(trade(1, ms=T0 + 86_400_000), T0 + recovered)
        stretch = backfill.stretches[-1]
        assert stretch.from_ms < T0 + recovered == stretch.to_ms
        it.on_filled(stretch, recovered)
    assert passed == [("KRW-BTC", T0 + 1), ("KRW-BTC", T0)]


def test_the_totals_do_not_close_the_gap_of_a_stamp_that_only_rest_can_put_right() -> None:
    """They agree at once, because the trade is there; passed on too soon it would count a second time."""
    it, backfill, bench = tracker(Channel.TRADE)
    bench.pipeline.totals.settle = lambda *_, **__: True  # type: ignore[method-assign]
    it.on_ahead(trade(1, ms=T0 + 86_400_000), T0)
    (stretch,) = backfill.stretches
    assert it.totals_agree(stretch, False, False) is None
    assert it.totals_agree(stretch, True, False) is True


def test_a_proven_loss_is_a_gap_of_its_market_that_the_totals_have_to_close() -> None:
    """What the dead letters left is none of their business: those trades were counted when they came."""
    it, backfill, bench = tracker(Channel.TRADE)
    it.on_missing(Missing("KRW-ETH", T0, T0 + 5, None))
    it.open("KRW-ETH", T0, T0 + 5, "dead_letter")
    assert [(each.from_ms, each.to_ms, each.reason) for each in recorded(bench)] == [
        (T0, T0 + 5, "totals"),
        (T0, T0 + 5, "dead_letter"),
    ]
    asked: list[tuple[str, int]] = []
    bench.pipeline.totals.settle = lambda name, until_ms, **_: asked.append((name, until_ms))  # type: ignore
    for each in backfill.stretches:
        it.totals_agree(each, True, False)
    assert asked == [("KRW-ETH", T0 + 5)]


def test_a_gap_is_judged_as_the_last_once_the_others_of_its_market_are_fetched() -> None:
    """While sockets are given up again and again there is always a newer one."""
    it, backfill, bench = tracker(Channel.TRADE)
    it.on_missing(Missing("KRW-ETH", T0, T0 + 5, None))
    it.on_missing(Missing("KRW-ETH", T0 + 6, T0 + 9, None))
    first, second = backfill.stretches
    asked: list[dict[str, bool]] = []
    bench.pipeline.totals.settle = lambda *_, **how: asked.append(how)  # type: ignore
    it.totals_agree(first, True, True)
    it.totals_agree(second, False, False)
    it.totals_agree(first, True, True)
    assert {how["is_last"] for how in asked} == {False}
    it.totals_agree(second, True, False)
    it.totals_agree(first, True, True)
    assert asked[-1] == {"is_complete": True, "is_last": True}


def test_totals_that_keep_disagreeing_are_learned_anew_though_each_gap_is_a_new_one() -> None:
    """Three gaps that were fetched, then the next is the last."""
    it, backfill, bench = tracker(Channel.TRADE)
    asked: list[bool] = []

    def settle(*_: object, is_last: bool, **__: object) -> bool:
        asked.append(is_last)
        return False

    bench.pipeline.totals.settle = settle  # type: ignore[method-assign,assignment]
    for number in range(5):
        it.on_missing(Missing("KRW-ETH", T0 + 10 * number, T0 + 10 * number + 5, None))
        it.totals_agree(backfill.stretches[-1], False, False)
        it.totals_agree(backfill.stretches[-1], True, False)
        it.on_filled(backfill.stretches[-1], True)
    assert asked[1::2] == [False, False, False, True, False]


def test_without_the_trade_channel_nothing_is_fetched() -> None:
    """Books and tickers can't be fetched again."""
    it, backfill, bench = tracker(Channel.TICKER)
    it.on_outage(EndedOutage(T0, T0 + 5, "disconnected"))
    assert {each.channel for each in recorded(bench)} == {Channel.TICKER}
    assert backfill.stretches == []


def test_a_listing_is_a_hole_of_its_market_alone() -> None:
    """From the minute in which it may have begun."""
    it, backfill, bench = tracker()
    it.on_listed("KRW-NEW", T0)
    (stretch,) = backfill.stretches
    assert (stretch.market, stretch.reason, stretch.is_known_before) == ("KRW-NEW", "listed", False)
    assert T0 - MINUTE_MS < stretch.from_ms <= T0
    assert stretch.to_ms == bench.pipeline.exchange_ms()


def test_an_early_trade_leaves_its_minute_open_up_to_it() -> None:
    """What came before it in its minute is fetched."""
    it, backfill, _ = tracker()
    it.on_early_trade("KRW-BTC", T0 + 7)
    (stretch,) = backfill.stretches
    assert (stretch.from_ms, stretch.to_ms) == (T0 + 7 - (T0 + 7) % MINUTE_MS, T0 + 7)


def test_losses_on_our_side_wait_joined_until_there_is_room() -> None:
    """However many batches are lost: one gap per market, then fetched again like any other."""
    it, backfill, bench = tracker()
    for number in range(500):
        it.on_unsent(lost("KRW-BTC", T0 + number))
    it.on_unsent(lost("KRW-ETH", T0))
    assert recorded(bench) == []
    assert len(it._unsent) == 2
    it.record_unsent()
    it.record_unsent()
    spans = [(each.market, each.from_ms, each.to_ms) for each in recorded(bench)]
    assert spans == [("KRW-BTC", T0, T0 + 499), ("KRW-ETH", T0, T0)]
    assert [each.market for each in backfill.stretches] == ["KRW-BTC", "KRW-ETH"]


def test_a_gap_that_got_lost_itself_is_told_again_as_it_was() -> None:
    """Opened or recovered; it is not fetched a second time."""
    it, backfill, bench = tracker()
    gaps: list[Any] = [gap(T0), gap(T0 + 5, recovered=True)]
    for each in gaps:
        it.on_unsent(each)
    it.record_unsent()
    assert recorded(bench) == gaps
    assert backfill.stretches == []


def test_what_the_store_says_is_missing_is_fetched_once() -> None:
    """Also if it was recorded by this run and is not filled yet, and if a look came before it was stored."""
    it, backfill, _ = tracker()
    of_another_run = Gap("KRW-BTC", Channel.TRADE, T0, T0 + 5, "disconnected")
    it.record(MissingStretch("KRW-ETH", T0 + 7, T0 + 9, "stalled"))
    of_this_run = Gap("KRW-ETH", Channel.TRADE, T0 + 7, T0 + 9, "stalled")
    assert len(backfill.stretches) == 1
    for stored in ([of_another_run], [of_another_run, of_this_run], [of_another_run, of_this_run]):
        it.take_up(stored)
    assert [(each.market, each.from_ms) for each in backfill.stretches] == [
        ("KRW-ETH", T0 + 7),
        ("KRW-BTC", T0),
    ]


def test_word_that_a_gap_is_recovered_is_repeated_until_the_store_has_it() -> None:
    """Its batch may have become a dead letter; one that has grown meanwhile is fetched again."""
    it, backfill, bench = tracker()
    for ms in (T0, T0 + 10):
        it.record(MissingStretch("KRW-BTC", ms, ms + 5, "stalled"))
    opened = recorded(bench)
    for stretch in list(backfill.stretches):
        it.on_filled(stretch, True)
    assert len(recorded(bench)) == 2
    it.take_up(opened)
    assert recorded(bench) == [], "it may be on its way"
    wider = replace(opened[1], to_ms=opened[1].to_ms + 9)
    it.take_up([opened[0], wider])
    assert recorded(bench) == [replace(opened[0], recovered=True)]
    assert [(stretch.from_ms, stretch.to_ms) for stretch in backfill.stretches[2:]] == [
        (wider.from_ms, wider.to_ms)
    ]
    it.take_up([wider])
    it.take_up([wider])
    assert recorded(bench) == []


def test_gaps_that_are_filled_need_no_memory() -> None:
    """What the store does not call missing any more is forgotten at the second look."""
    it, _, _ = tracker()
    gaps = [Gap("KRW-BTC", Channel.TRADE, T0 + number, T0 + number, "stalled") for number in range(100)]
    it.take_up(gaps)
    it.take_up(gaps[:3])
    it.take_up([])
    assert not it._taken | it._taken_since
    assert not it._closed | it._closed_since


def lost(market: str, ms: int) -> Gap:
    return Gap(market, Channel.TRADE, ms, ms, "spool_full")


def test_a_gap_is_opened_for_one_market_or_for_all() -> None:
    """Recorded and fetched; one that ends before it starts is a moment."""
    it, backfill, bench = tracker()
    it.open("KRW-ETH", T0, T0 + 5, "dead_letter")
    it.open(None, T0 + 9, T0 + 7, "store_lost")
    assert recorded(bench) == [
        Gap("KRW-ETH", Channel.TRADE, T0, T0 + 5, "dead_letter"),
        Gap("KRW-BTC", Channel.TRADE, T0 + 9, T0 + 9, "store_lost"),
        Gap("KRW-ETH", Channel.TRADE, T0 + 9, T0 + 9, "store_lost"),
    ]
    assert [(each.market, each.reason) for each in backfill.stretches] == [
        ("KRW-ETH", "dead_letter"),
        ("KRW-BTC", "store_lost"),
        ("KRW-ETH", "store_lost"),
    ]
