"""A listener on standby gives back what waits on its disk, and closes the gaps that it fills."""

from collections.abc import Mapping
from typing import Any

import pytest
import redis

from collector import batch as batches
from collector.batch import GapBatch, Kind, TradeBatch
from collector.clock import SystemClock
from collector.listener.outbound import new_spool
from collector.listener.returning import Returning
from collector.model import Channel, Gap, Trade
from collector.publish.publisher import envelope_of, pack, times_of
from collector.publish.sender import Envelope
from collector.settings import PublishSettings, Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store
from tests.samples.events import T0, trade

pytestmark = pytest.mark.server


class Workers:
    """A transport whose batches are stored and crossed out, once they may be."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.letters: list[Envelope] = []
        self.are_there = True
        self._client = client
        self._store = Store(client, settings.store)
        self._keys = Keys(settings.store.key_prefix)

    def send(self, *letters: Envelope) -> None:
        for letter in letters:
            self.letters.append(letter)
            if self.are_there:
                self.work(letter)

    def work(self, letter: Envelope) -> None:
        if letter.kind is Kind.TRADE:
            self._store.put_trades(batches.decode(letter.text, TradeBatch).rows)
        else:
            self._store.put_gaps(batches.decode(letter.text, GapBatch).rows)
        self._client.zrem(self._keys.unconfirmed_due, letter.id)
        self._client.zrem(self._keys.unconfirmed_from, letter.id)
        self._client.hdel(self._keys.unconfirmed, letter.id)

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Not asked for here."""


@pytest.fixture
def client(settings: Settings) -> Any:
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as it:
        yield it


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"publish": PublishSettings(probe_interval_s=0.02)})


def leave_behind(settings: Settings, *trades: Trade) -> str:
    """Put batches of a trade each on disk, as a listener does that dies then; return the spool's name."""
    with new_spool(settings, SystemClock()) as spool:
        for each in trades:
            letter = envelope_of(batches.make(Kind.TRADE, [each], listener="t", now_ms=T0), 1)
            payload = pack(letter)
            spool.append(payload, times_of(payload))
        return spool.id


def test_what_was_on_disk_closes_its_gap(quick: Settings, client: redis.Redis, eventually: Any) -> None:
    """As soon as the workers have stored it, and no other gap."""
    reader, workers = Reader(client, quick), Workers(client, quick)
    assert not Returning.is_needed(quick)
    name = leave_behind(quick, trade(1), trade(2, ms=T0 + 5_000))
    held = Gap("KRW-BTC", Channel.TRADE, T0, T0 + 5_000, f"held:{name}")
    others = [Gap("KRW-BTC", Channel.TRADE, T0, T0 + 9, reason) for reason in ("held:other", "start")]
    Store(client, quick.store).put_gaps([held, *others])
    assert Returning.is_needed(quick)
    workers.are_there = False
    returning = Returning(quick, client, workers)
    try:
        eventually(lambda: len(workers.letters) == 2)
        assert not returning.look()
        assert len(reader.open_trade_gaps(["KRW-BTC"])) == 3, "sent is not stored"
        workers.are_there = True
        for letter in list(workers.letters):
            workers.work(letter)
        eventually(returning.look)
    finally:
        returning.stop()
    assert {gap.reason for gap in reader.open_trade_gaps(["KRW-BTC"])} == {"held:other", "start"}
    assert [row.id for row in reader.trades("KRW-BTC")] == [1, 2]
    assert not Returning.is_needed(quick)


def test_a_damaged_disk_closes_nothing(quick: Settings, client: redis.Redis, eventually: Any) -> None:
    """What is lost on it is a gap of every market, and the rest is sent."""
    reader, workers = Reader(client, quick), Workers(client, quick)
    name = leave_behind(quick, trade(1), trade(2, ms=T0 + 5_000))
    store = Store(client, quick.store)
    store.put_gaps([Gap("KRW-ETH", Channel.TRADE, T0, T0 + 5_000, f"held:{name}")])
    (path,) = (quick.data_dir / "spool").rglob("*.spool")
    content = path.read_bytes()
    path.write_bytes(content[:60] + b"?" + content[61:])
    returning = Returning(quick, client, workers)
    try:
        eventually(returning.look)
    finally:
        returning.stop()
    gaps = reader.open_trade_gaps(["KRW-BTC", "KRW-ETH"])
    assert {gap.reason for gap in gaps} == {f"held:{name}", "spool_damaged"}
    lost = {gap.market: gap for gap in gaps if gap.reason == "spool_damaged"}
    assert lost["KRW-ETH"].from_ms <= T0 <= lost["KRW-ETH"].to_ms
    assert [row.id for row in reader.trades("KRW-BTC")] == [2]
