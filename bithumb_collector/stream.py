"""Live events in Python: a loop, with or without `async`."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Self

from collector.clock import SystemClock
from collector.errors import ConfigurationError
from collector.host.redis_server import find_url
from collector.live.events import Event, Selection
from collector.live.follow import Follower
from collector.live.remote import RemoteFollower
from collector.live.start import begin_at
from collector.live.waiting import Waiting
from collector.settings import Settings, current

_LOOK_S = 0.2


class Stream:
    """Live events: iterate with `for` or `async for`; leave a `with` block, or call `close`, to end it.

    An event has `channel`, `market`, `id`, and `row`: a `TradeRow`, `Candle`, `TickerRow`, `Book`, `GapRow`
    or `Health`, or for the channel `notice` a dict.
    """

    def __init__(self, source: Waiting) -> None:
        self._source = source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """End it, within some seconds."""
        self._source.close()

    def __iter__(self) -> Iterator[Event]:
        return iter(self._source)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._source.is_closed:
            event = await asyncio.to_thread(self._source.wait, _LOOK_S)
            if event is not None:
                yield event


def stream(
    channels: Iterable[str] | str,
    markets: Iterable[str] | str = (),
    start: str = "now",
    *,
    url: str | None = None,
    token: str = "",
) -> Stream:
    """Return live events: each counted trade once, in the order in which trades were counted.

        with bc.stream(["trade", "candle.1m"], ["KRW-BTC"]) as events:
            for event in events:
                print(event.channel, event.row)

    It reconnects by itself and goes on where it was. What the event stream does not hold any more is an event
    of the channel `notice`. Source: the event stream in Redis, or `collector serve` where `url` is given.

    Args:
        channels: trade, ticker, orderbook, candle.1m … candle.1d, gap, health.
        markets: names and patterns; every market without.
        start: now, earliest, the `id` of an event, or a time.
        url: of `collector serve`; `token`: its token.

    Raises:
        ConfigurationError: no such channel, or no place to start at.
        NoData: no such market; with `url` raised by the iteration.
        BrokerUnavailable: Redis does not answer.
    """
    selection = Selection.of(_listed(channels), _listed(markets))
    settings: Settings = current()
    after = begin_at(start, settings.zone, SystemClock().now_ms())
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{url!r} is no address of a server: http://127.0.0.1:8000")
        return Stream(RemoteFollower(url, selection, start, token))
    return Stream(Follower(find_url(settings), settings, selection, after))


def stream_blocking(
    channels: Iterable[str] | str,
    markets: Iterable[str] | str = (),
    start: str = "now",
    *,
    url: str | None = None,
    token: str = "",
) -> Iterator[Event]:
    """Yield the events of `stream`, for a plain `for`; the end of the iteration ends it.

    Raises:
        ConfigurationError, NoData, BrokerUnavailable: as `stream`, by the iteration.
    """
    with stream(channels, markets, start, url=url, token=token) as events:
        yield from events


def _listed(names: Iterable[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
