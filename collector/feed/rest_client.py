"""Calls to the exchange's REST service, inside one budget, every wait bounded.

Over the exchange's limit all calls of the process rest for the documented minute, whatever form that has:
HTTP 429, an error object with HTTP 200, or a reply without remaining calls. Refused calls count there too.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import httpx

from collector import __version__
from collector.clock import Clock
from collector.errors import RestError, RestLimited, RestRefused, RestUnreachable
from collector.feed.reconnect import ConnectBudget
from collector.protocol import rest
from collector.settings import ExchangeSettings
from collector.stream.exchange_time import date_ms
from collector.util.network import Way, tls_context, way_to

log = logging.getLogger(__name__)

#: Refused names in a log line.
_NAMES_SHOWN = 5
#: Rows of one page of past trades; the exchange allows 1 to 500.
PAGE_ROWS = 500
#: Candles of one page; the exchange allows 1 to 200.
PAGE_CANDLES = 200
#: Markets of one call for tickers.
TICKERS_MAX = 200
_MAX_BODY_BYTES = 8 << 20
#: Statuses that may be different the next time, although they begin with a 4.
_PASSING = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}
_REMAINING = "x-ratelimit-remaining"

T = TypeVar("T")


def http_options(way: Way) -> dict[str, Any]:
    """Return the options of httpx for that route only."""
    proxy = None
    if way.proxy:
        is_secure = way.proxy.url.startswith("https://")
        proxy = httpx.Proxy(way.proxy.url, ssl_context=tls_context() if is_secure else None)
    return {"proxy": proxy, "verify": tls_context(), "trust_env": False}


class RestClient:
    """One HTTP client for the whole process.

    `counts` holds `rest_calls`, and `rest_limited:{how}` for each reply at the exchange's limit:
    `429`, `error` (an error object) or `remaining` (nothing remains).

    Args:
        on_date: called with the time that each reply names, epoch ms.

    Raises:
        ConfigurationError: a proxy is set that can't be used.
    """

    def __init__(
        self, settings: ExchangeSettings, clock: Clock, on_date: Callable[[int], None] | None = None
    ) -> None:
        self.counts: Counter[str] = Counter()
        #: What the newest market list holds that can't be the code of a market.
        self.refused_markets: tuple[str, ...] = ()
        #: What it warns of, by market.
        self.warnings: dict[str, str] = {}
        self._clock = clock
        self._on_date = on_date
        self._timeout_s = settings.rest_timeout_s
        self._budget = ConnectBudget(settings.rest_requests_per_s)
        self._blocked_s = settings.rest_blocked_s
        self._resting_until_s = float("-inf")
        self._way = way_to(settings.rest_url)
        self._http = httpx.AsyncClient(
            base_url=settings.rest_url,
            timeout=settings.rest_timeout_s,
            headers={"accept": "application/json", "user-agent": f"bithumb-collector/{__version__}"},
            limits=httpx.Limits(max_connections=8),
            **http_options(self._way),
        )

    async def __aenter__(self) -> "RestClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def markets(self) -> tuple[str, ...]:
        """Return all markets the exchange lists.

        Raises:
            RestError: unreachable, refused, or not a market list.
        """
        found = await self._call("/v1/market/all", {"isDetails": "true"}, rest.parse_markets)
        if found.refused and found.refused != self.refused_markets:
            log.warning(
                "%d of the listed markets can't be collected, their names are no market codes: %s",
                len(found.refused),
                ", ".join(found.refused[:_NAMES_SHOWN]),
            )
        self.refused_markets = found.refused
        self.warnings = found.warnings
        return found.markets

    async def trades(self, market: str, **query: str | int) -> rest.TradePage:
        """Return one page of past trades of `market`, newest first.

        Args:
            query: `cursor` (of the page before), `to` (`HH:mm:ss` KST, exclusive), `daysAgo` (1 to 7).

        Raises:
            RestError: unreachable, refused, or not a list of trades.
        """
        parameters = {"market": market, "count": PAGE_ROWS, **query}
        return await self._call(
            "/v1/trades/ticks", parameters, lambda body: rest.parse_trades(body, self._clock.now_ms())
        )

    async def candles(
        self, market: str, end_ms: int, count: int = PAGE_CANDLES, *, path: str = "minutes/1"
    ) -> tuple[rest.ExchangeCandle, ...]:
        """Return up to `count` candles that open before `end_ms`, newest first.

        Args:
            market: its code.
            end_ms: epoch ms.
            count: at most 200.
            path: of the interval: `minutes/` 1, 3, 5, 10, 15, 30, 60 or 240, or `days`.

        Raises:
            RestError: unreachable, refused, or not a list of candles.
        """
        parameters: dict[str, str | int] = {
            "market": market,
            "count": min(count, PAGE_CANDLES),
            "to": rest.candles_before(end_ms),
        }
        return await self._call(f"/v1/candles/{path}", parameters, rest.parse_candles)

    async def day_totals(self, markets: Sequence[str]) -> tuple[rest.DayTotal, ...]:
        """Return what the exchange counts since 00:00 KST of up to `TICKERS_MAX` markets.

        Raises:
            RestRefused: one of them is not listed, too.
            RestError: unreachable, or not a list of tickers.
        """
        return await self._call("/v1/ticker", {"markets": ",".join(markets)}, rest.parse_day_totals)

    async def _call(self, path: str, parameters: dict[str, str | int], parse: Callable[[bytes], T]) -> T:
        body = await self._get(path, parameters)
        try:
            return parse(body)
        except RestLimited:
            self._rest("error")
            raise

    async def _turn(self) -> None:
        """Wait for a slot of the budget, and until no pause is in force."""
        await asyncio.sleep(self._budget.reserve(self._clock.monotonic()))
        while (left_s := self._resting_until_s - self._clock.monotonic()) > 0:
            await asyncio.sleep(left_s)
            await asyncio.sleep(self._budget.reserve(self._clock.monotonic()))

    def _rest(self, how: str) -> None:
        """Let all calls of the process rest from now on; it is logged once for each such time."""
        now_s = self._clock.monotonic()
        self.counts[f"rest_limited:{how}"] += 1
        if self._resting_until_s <= now_s:
            log.warning(
                "the exchange's REST limit is reached (%s): calls pause for %g s", how, self._blocked_s
            )
        self._resting_until_s = now_s + self._blocked_s

    async def _get(self, path: str, parameters: dict[str, str | int]) -> bytes:
        await self._turn()
        self.counts["rest_calls"] += 1
        try:
            async with (
                asyncio.timeout(self._timeout_s),  # httpx limits each wait, this the whole call
                self._http.stream("GET", path, params=parameters) as reply,
            ):
                body = await _bounded_body(reply)
        except TimeoutError as error:
            raise RestUnreachable(
                f"{self._http.base_url}{path}: no reply in {self._timeout_s:g} s{self._way.note}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise RestUnreachable(f"{self._http.base_url}{path}: {reason}{self._way.note}") from error
        if self._on_date is not None:
            server_ms = date_ms(reply.headers.get("date"), reply.headers.get("age"))
            if server_ms is not None:
                self._on_date(server_ms)
        if reply.status_code != httpx.codes.OK:
            raise self._failure(reply, path, body)
        if reply.headers.get(_REMAINING, "").strip() == "0":
            self._rest("remaining")
        return body

    def _failure(self, reply: httpx.Response, path: str, body: bytes) -> RestError:
        """Return what a status other than 200 means; over the limit, all calls rest from now on."""
        status = reply.status_code
        said = f"{self._http.base_url}{path}: HTTP {status} {body[:200]!r}"
        if status == httpx.codes.TOO_MANY_REQUESTS or rest.is_about_limits(body):
            self._rest("429" if status == httpx.codes.TOO_MANY_REQUESTS else "error")
            return RestLimited(said)
        if httpx.codes.is_client_error(status) and status not in _PASSING:
            return RestRefused(said)
        return RestError(said)


async def _bounded_body(reply: httpx.Response) -> bytes:
    body = bytearray()
    async for part in reply.aiter_bytes():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise RestError(f"{reply.url}: the reply is larger than {_MAX_BODY_BYTES} bytes")
    return bytes(body)
