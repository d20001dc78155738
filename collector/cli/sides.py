"""Both sides of a comparison with the exchange's candles: ours from archive and Redis, theirs from REST."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import redis
from msgspec import Struct

from collector.analytics.auditing import runs
from collector.analytics.reconcile import Figures
from collector.analytics.verdicts import written
from collector.archive import is_installed
from collector.archive.decimals import exact
from collector.archive.schema import CANDLES, ROUNDED
from collector.archive.sql import QuerySession
from collector.archive.views import quoted
from collector.cli.lookback import open_both, stretch
from collector.cli.store import open_redis
from collector.errors import ConfigurationError
from collector.feed.rest_client import PAGE_CANDLES, RestClient
from collector.listener.markets import choose
from collector.model import MINUTE_MS, Channel, Gap
from collector.protocol.rest import ExchangeCandle
from collector.settings import Settings
from collector.store.read import Reader
from collector.store.store import Store
from collector.store.verified import Verified
from collector.util.times import Span


class Stretch(NamedTuple):
    """Whole minutes: from the first millisecond of one to the last of another."""

    from_ms: int
    to_ms: int

    @property
    def pages(self) -> int:
        """How many pages of candles it fills at the most."""
        return -(-(self.to_ms + 1 - self.from_ms) // (PAGE_CANDLES * MINUTE_MS))


class Minute(Struct, frozen=True):
    """A minute of ours that has trades: what is compared of it, and what makes its fingerprint."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    base_volume: Decimal
    quote_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    trade_count: int


class Ours(Struct, frozen=True):
    """Our side of a market."""

    minutes: dict[int, Minute]
    gaps: list[Gap]
    #: Where our data begin, 0 where there are none.
    begins_ms: int


@dataclass
class OurSide:
    """Archive and Redis, or what there is of them."""

    session: QuerySession | None
    client: redis.Redis | None
    reader: Reader | None
    settings: Settings

    def markets(self, listed: Sequence[str]) -> list[str]:
        """Return the markets that are collected, and those there are data of."""
        chosen = choose(self.settings.markets, listed).markets
        return sorted({*chosen, *(self.reader.markets() if self.reader else ())})

    def stretch(self, market: str) -> Span | None:
        """Return the first and the last time there is a candle of."""
        if self.session is not None:
            return stretch(self.session, CANDLES, [market])
        found = self.reader.candle_stretch(market) if self.reader else None
        return Span(*found) if found else None

    def load(self, market: str, asked: Stretch) -> Ours:
        """Return what there is of a market."""
        if self.session is not None:
            minutes, gaps = _from_session(self.session, market, asked)
        else:
            assert self.reader is not None  # noqa: S101 - one of them is open
            minutes, gaps = _from_redis(self.reader, market, asked)
        known = self.reader.candle_stretch(market) if self.reader else None
        trade_gaps = (gap.from_ms for gap in gaps if gap.channel is Channel.TRADE)
        begins = [*minutes, *([known[0]] if known else []), *trade_gaps]
        return Ours(minutes, gaps, min(begins, default=0))

    def note(
        self,
        market: str,
        asked: Stretch,
        ours: Ours,
        theirs: Collection[int],
        differing: Collection[int],
        unsettled: Collection[int],
    ) -> None:
        """Store what a comparison found, for `verified`; minutes by their opens.

        Args:
            theirs: minutes the exchange has.
            differing: minutes that differ.
            unsettled: those of them that may still change.
        """
        if self.client is None or not ours.begins_ms:
            return
        first_ms = max(asked.from_ms, ours.begins_ms - ours.begins_ms % MINUTE_MS)
        opens = [ms for ms in range(first_ms, asked.to_ms + 1, MINUTE_MS) if ms not in unsettled]
        traded = {ms for ms in opens if ms in ours.minutes or ms in theirs}
        verdicts = {ms: written(ms not in differing, ours.minutes.get(ms)) for ms in traded}
        quiet = runs(ms for ms in opens if ms not in traded)
        Verified(self.client, self.settings.store).write(market, verdicts, quiet)

    def put_gaps(self, gaps: Sequence[Gap]) -> None:
        """Record gaps, for a listener to fetch.

        Raises:
            ConfigurationError: there is no Redis.
        """
        if gaps and self.client is None:
            raise ConfigurationError("gaps can only be opened in the Redis that the listener uses")
        if self.client is not None:
            Store(self.client, self.settings.store).put_gaps(gaps)


@contextmanager
def open_ours(settings: Settings, asked: Stretch | None = None) -> Iterator[OurSide]:
    """Yield our side: archive and Redis, or Redis alone where the extra is not installed.

    Args:
        settings: those in force.
        asked: what is to be looked at; None means everything.

    Raises:
        BrokerUnavailable: neither.
    """
    with ExitStack() as stack:
        if not is_installed():
            client: redis.Redis | None = stack.enter_context(open_redis(settings))
            session = None
        else:
            from_ms, to_ms = asked if asked is not None else (None, None)
            session, client = stack.enter_context(open_both(settings, from_ms, to_ms))
        yield OurSide(session, client, Reader(client, settings) if client else None, settings)


def _from_session(session: QuerySession, market: str, asked: Stretch) -> tuple[dict[int, Minute], list[Gap]]:
    names = Minute.__struct_fields__
    columns = ", ".join(f'"{name}"' for name in names)
    wanted = f"market = {quoted(market)}"
    candles = session.rows(
        f"SELECT open_ms, {ROUNDED}, {columns} FROM candles"  # noqa: S608
        f" WHERE {wanted} AND trade_count > 0 AND open_ms BETWEEN {asked.from_ms} AND {asked.to_ms}"
    )
    gaps = session.rows(
        f"SELECT channel, from_ms, to_ms, reason, recovered FROM gaps WHERE {wanted}"  # noqa: S608
    )
    minutes = {
        open_ms: _exactly(dict(zip(names, figures, strict=True)) | exact(rounded))
        for open_ms, rounded, *figures in candles
    }
    return minutes, [Gap(market, Channel(row[0]), *row[1:]) for row in gaps]


def _exactly(numbers: dict[str, Any]) -> Minute:
    return Minute(*(numbers[name] for name in Minute.__struct_fields__))


def _from_redis(reader: Reader, market: str, asked: Stretch) -> tuple[dict[int, Minute], list[Gap]]:
    if market not in reader.markets():
        return {}, []
    gaps = [
        Gap(market, row.channel, row.from_ms, row.to_ms, row.reason, row.recovered)
        for row in reader.gaps(market)
    ]
    traded = (row for row in reader.candles(market, "1m", asked.from_ms, asked.to_ms) if row.prices)
    names = Minute.__struct_fields__
    return {row.open_ms: Minute(*(getattr(row, name) for name in names)) for row in traded}, gaps


async def theirs_of(
    exchange: RestClient, market: str, asked: Stretch, step: Callable[[float], None]
) -> dict[int, Figures]:
    """Return the exchange's candles by open; it leaves out minutes without a trade.

    Args:
        exchange: to be asked.
        market: whose.
        asked: which.
        step: called with how many pages are done, in all as many as `asked` fills at the most.

    Raises:
        RestError: it does not answer, or refuses.
    """
    found: dict[int, Figures] = {}
    left = asked.pages
    async for page in _pages_of(exchange, market, asked):
        found |= {candle.open_ms: _figures(candle) for candle in page if candle.open_ms >= asked.from_ms}
        step(min(left, 1))
        left -= min(left, 1)
    step(left)
    return found


async def _pages_of(
    exchange: RestClient, market: str, asked: Stretch
) -> AsyncIterator[Sequence[ExchangeCandle]]:
    """Page back from the end."""
    end_ms = asked.to_ms + 1
    while end_ms > asked.from_ms:
        page = await exchange.candles(market, end_ms)
        older = [candle for candle in page if candle.open_ms < end_ms]
        if not older:
            return
        yield older
        end_ms = min(candle.open_ms for candle in older)


def _figures(candle: ExchangeCandle) -> Figures:
    return Figures(*(getattr(candle, name) for name in Figures.__struct_fields__))
