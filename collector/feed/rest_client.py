"""Calls to the exchange's REST service, inside one budget, every wait bounded."""

import asyncio
import logging
from typing import Any

import httpx

from collector import __version__
from collector.clock import Clock
from collector.errors import RestError
from collector.feed.reconnect import ConnectBudget
from collector.protocol import rest
from collector.settings import ExchangeSettings
from collector.util.network import Way, tls_context, way_to

log = logging.getLogger(__name__)

#: Refused names in a log line.
_NAMES_SHOWN = 5
#: Rows of one page of past trades; the exchange allows 1 to 500.
PAGE_ROWS = 500
#: Candles of one page; the exchange allows 1 to 200.
PAGE_CANDLES = 200
#: Least rest after HTTP 429: the exchange then restricts calls "for a while", and refused ones count too.
_BLOCKED_S = 30.0
_MAX_BODY_BYTES = 8 << 20


def http_options(way: Way) -> dict[str, Any]:
    """Return what httpx has to be told to go that way, and no other."""
    proxy = None
    if way.proxy:
        is_secure = way.proxy.url.startswith("https://")
        proxy = httpx.Proxy(way.proxy.url, ssl_context=tls_context() if is_secure else None)
    return {"proxy": proxy, "verify": tls_context(), "trust_env": False}


class RestClient:
    """One HTTP client for the whole listener.

    Raises:
        ConfigurationError: a proxy is set that can't be used.
    """

    def __init__(self, settings: ExchangeSettings, clock: Clock) -> None:
        #: What the newest market list holds that can't be the code of a market.
        self.refused_markets: tuple[str, ...] = ()
        self._clock = clock
        self._timeout_s = settings.rest_timeout_s
        self._budget = ConnectBudget(settings.rest_requests_per_s)
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
        found = rest.parse_markets(await self._get("/v1/market/all", {"isDetails": "true"}))
        if found.refused and found.refused != self.refused_markets:
            log.warning(
                "%d of the listed markets can't be collected, their names are no market codes: %s",
                len(found.refused),
                ", ".join(found.refused[:_NAMES_SHOWN]),
            )
        self.refused_markets = found.refused
        return found.markets

    async def trades(self, market: str, **query: str | int) -> rest.TradePage:
        """Return one page of past trades of `market`, newest first.

        Args:
            query: `cursor` (of the page before), `to` (`HH:mm:ss` KST, exclusive), `daysAgo` (1 to 7).

        Raises:
            RestError: unreachable, refused, or not a list of trades.
        """
        parameters = {"market": market, "count": PAGE_ROWS, **query}
        return rest.parse_trades(await self._get("/v1/trades/ticks", parameters), self._clock.now_ms())

    async def candles(self, market: str, end_ms: int) -> tuple[rest.ExchangeCandle, ...]:
        """Return up to `PAGE_CANDLES` one-minute candles that open before `end_ms`, newest first.

        Raises:
            RestError: unreachable, refused, or not a list of candles.
        """
        parameters: dict[str, str | int] = {
            "market": market,
            "count": PAGE_CANDLES,
            "to": rest.candles_before(end_ms),
        }
        return rest.parse_candles(await self._get("/v1/candles/minutes/1", parameters))

    async def _get(self, path: str, parameters: dict[str, str | int]) -> bytes:
        await asyncio.sleep(self._budget.reserve(self._clock.monotonic()))
        try:
            async with (
                asyncio.timeout(self._timeout_s),  # httpx limits each wait, this the whole call
                self._http.stream("GET", path, params=parameters) as reply,
            ):
                body = await _bounded_body(reply)
        except TimeoutError as error:
            raise RestError(
                f"{self._http.base_url}{path}: no reply in {self._timeout_s:g} s{self._way.note}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise RestError(f"{self._http.base_url}{path}: {reason}{self._way.note}") from error
        if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self._budget.pause(self._clock.monotonic(), _BLOCKED_S)
        if reply.status_code != httpx.codes.OK:
            raise RestError(f"{self._http.base_url}{path}: HTTP {reply.status_code} {body[:200]!r}")
        return body


async def _bounded_body(reply: httpx.Response) -> bytes:
    body = bytearray()
    async for part in reply.aiter_bytes():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise RestError(f"{reply.url}: the reply is larger than {_MAX_BODY_BYTES} bytes")
    return bytes(body)
