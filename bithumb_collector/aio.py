"""`Reader` for programs with an event loop."""

import asyncio
from collections.abc import Iterable
from typing import Self

import redis

from collector.settings import Settings
from collector.store.read import Book, Candle, Change, GapRow, Health, Reader, TickerRow, TradeRow, Volume


class AsyncReader:
    """The methods of `Reader` as coroutines; Redis is read in a thread.

    Arguments, rows and errors are those of `collector.store.read.Reader`. Reads can run at the same time.

        async with bc.AsyncReader() as reader:
            candles = await reader.candles("btc", "5m", limit=12)
    """

    def __init__(self, source: redis.Redis | str | None = None, settings: Settings | None = None) -> None:
        self._reader = Reader(source, settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, unless a client was passed in."""
        await asyncio.to_thread(self._reader.close)

    async def markets(self) -> list[str]:
        """Return every market ever seen, sorted."""
        return await asyncio.to_thread(self._reader.markets)

    async def ticker(self, market: str) -> TickerRow:
        """Return the newest ticker of a market."""
        return await asyncio.to_thread(self._reader.ticker, market)

    async def tickers(self, markets: Iterable[str] | str | None = None) -> list[TickerRow]:
        """Return the newest tickers of several markets, or of all."""
        return await asyncio.to_thread(self._reader.tickers, markets)

    async def orderbook(self, market: str) -> Book:
        """Return the newest order book of a market."""
        return await asyncio.to_thread(self._reader.book, market)

    async def candles(
        self,
        market: str,
        interval: str = "1m",
        from_ms: int | None = None,
        to_ms: int | None = None,
        limit: int | None = None,
    ) -> list[Candle]:
        """Return the candles that open in `from_ms … to_ms`, the newest `limit` of them."""
        return await asyncio.to_thread(self._reader.candles, market, interval, from_ms, to_ms, limit)

    async def trades(
        self, market: str, from_ms: int | None = None, to_ms: int | None = None, limit: int | None = None
    ) -> list[TradeRow]:
        """Return the stored trades in `from_ms … to_ms`, the newest `limit` of them."""
        return await asyncio.to_thread(self._reader.trades, market, from_ms, to_ms, limit)

    async def volume(self, market: str) -> list[Volume]:
        """Return the traded volume of the last 1m 5m 15m 1h 24h."""
        return await asyncio.to_thread(self._reader.volume, market)

    async def changes(self, market: str) -> list[Change]:
        """Return the change of price over the last 1m 5m 15m 1h 24h and since the previous close."""
        return await asyncio.to_thread(self._reader.changes, market)

    async def gaps(self, market: str | None = None) -> list[GapRow]:
        """Return the gaps of a market, or of all, oldest first."""
        return await asyncio.to_thread(self._reader.gaps, market)

    async def health(self) -> Health:
        """Return live listeners and workers, queue lengths and the sums of all counters."""
        return await asyncio.to_thread(self._reader.health)
