"""Live events for one program from `collector serve`: SSE, resumed by id after any break."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import msgspec

from collector.analytics.candles import Candle
from collector.analytics.depth import Book
from collector.errors import BrokerUnavailable, CollectorError, ConfigurationError, NoData
from collector.live.events import (
    CANDLE,
    GAP,
    HEALTH,
    NOTICE,
    ORDERBOOK,
    SLOW,
    TICKER,
    TRADE,
    Event,
    Selection,
)
from collector.live.waiting import Waiting
from collector.store.rows import GapRow, Health, TickerRow, TradeRow
from collector.util.backoff import delay_s

log = logging.getLogger(__name__)

#: The server sends something every 15 s.
_SILENCE_S, _CONNECT_S = 40.0, 5.0
_RETRY_S = (0.5, 15.0)
_STOP_TIMEOUT_S = 2.0
_ROWS: dict[str, Any] = {TRADE: TradeRow, TICKER: TickerRow, ORDERBOOK: Book, GAP: GapRow, HEALTH: Health}
_ERRORS: dict[str, type[CollectorError]] = {
    "no_data": NoData,
    "unavailable": BrokerUnavailable,
}


class RemoteFollower(Waiting):
    """Yields events until closed; what the server refuses for good is raised by the iteration.

    Args:
        url: of the server, such as `http://127.0.0.1:8000`.
        token: its token, where it has one.
    """

    def __init__(self, url: str, selection: Selection, start: str, token: str = "") -> None:
        super().__init__()
        self._url = f"{url.rstrip('/')}/v1/stream"
        self._query = {
            "channels": ",".join(sorted(selection.channels)),
            "markets": ",".join(selection.markets),
        }
        self._start = start
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        #: Of the newest event: where to resume.
        self._last_id = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="live-remote", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        super().close()
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._follow())

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _follow(self) -> None:
        failures = 0
        timeout = httpx.Timeout(_CONNECT_S, read=_SILENCE_S)
        async with httpx.AsyncClient(timeout=timeout, headers=self._headers) as client:
            while not self.is_closed:
                try:
                    async for event in self._events_of(client):
                        failures = 0
                        self._last_id = event.id or self._last_id
                        if event.channel != NOTICE or event.row["reason"] != SLOW:  # else it goes on there
                            await asyncio.to_thread(self.put, event)
                except CollectorError as error:
                    self.put(error)
                    return
                except httpx.HTTPError as error:
                    failures += 1
                    if failures == 1:
                        log.warning("%s: %s; trying on", self._url, error or type(error).__name__)
                await asyncio.sleep(delay_s(max(failures, 1), *_RETRY_S))

    async def _events_of(self, client: httpx.AsyncClient) -> AsyncIterator[Event]:
        query, headers = {**self._query, "start": self._start}, {}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        async with client.stream("GET", self._url, params=query, headers=headers) as answer:
            if answer.status_code in (429, 502, 503, 504):
                answer.raise_for_status()
            if answer.status_code != 200:
                await answer.aread()
                raise _refused(answer)
            kind, block_id, has_data = "", "", False
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if not line:  # the end of a block; one without data only tells where to resume
                    self._last_id = self._last_id if has_data else block_id or self._last_id
                    kind, block_id, has_data = "", "", False
                    continue
                has_data = has_data or name == "data"
                if name == "id":
                    block_id = value
                elif name == "event":
                    kind = value
                elif name == "data" and kind == "problem":
                    problem = msgspec.json.decode(value)
                    raise _ERRORS.get(problem["code"], ConfigurationError)(problem["message"])
                elif name == "data":
                    yield event_from(msgspec.json.decode(value))


def event_from(body: dict[str, Any]) -> Event:
    """Return an event from its JSON: rows with exact decimals."""
    channel, data = body["channel"], body["data"]
    kind = Candle if channel.startswith(CANDLE) else _ROWS.get(channel)
    row = data if kind is None else msgspec.convert(data, kind, strict=False)
    more = {"late": data["late"]} if channel == TRADE else {}
    return Event(body["id"], channel, body["market"], row, more, body["ms"])


def _refused(answer: httpx.Response) -> CollectorError:
    try:
        error = msgspec.json.decode(answer.content)["error"]
        return _ERRORS.get(error["code"], ConfigurationError)(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ConfigurationError(f"{answer.url} answers {answer.status_code}: is that `collector serve`?")
