"""`GET /v1/…`: what `collector show … --json` prints, and `POST /v1/analyses/{name}`.

The functions are not asynchronous: they wait for Redis, each in a thread of the server's pool.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import JSONResponse

from collector import __version__ as VERSION
from collector.analytics.candles import INTERVALS
from collector.analytics.depth import Book
from collector.broker.ask import ask
from collector.clock import SystemClock
from collector.live.events import CHANNELS
from collector.serve.models import ErrorAnswer, Info, model_of
from collector.settings import Settings
from collector.store.read import (
    Candle,
    Change,
    Completeness,
    GapRow,
    Health,
    MarketRow,
    Reader,
    TickerRow,
    TradeRow,
    Volume,
    to_json,
)
from collector.util.times import parse_ms

#: Rows of one answer.
ROWS_MAX = 10_000
_ANALYSIS_S = 15.0
_PLUS_READ_AS_SPACE = re.compile(r"(\d) (\d\d:?\d\d)$")
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "an argument is wrong"},
    404: {"model": ErrorAnswer, "description": "no such market, or nothing there yet"},
    503: {"model": ErrorAnswer, "description": "Redis does not answer"},
}

router = APIRouter(prefix="/v1", responses=ERRORS)


def _reader(request: Request) -> Reader:
    found: Reader = request.app.state.reader
    return found


def _settings(request: Request) -> Settings:
    found: Settings = request.app.state.settings
    return found


Reading = Annotated[Reader, Depends(_reader)]
InForce = Annotated[Settings, Depends(_settings)]
Limit = Annotated[int, Query(ge=1, le=ROWS_MAX, description="the newest so many")]
From = Annotated[str | None, Query(alias="from", description="`2026-11-30 09:00`, `-2h`, or epoch ms")]
To = Annotated[str | None, Query(description="as `from`; included")]


class Rows(JSONResponse):
    """Rows as the interface documents them."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever the reader returns
        """Return JSON: decimals are text without exponent."""
        return to_json(content).encode()


def _get(
    path: str, row: type, *, is_list: bool = True
) -> Callable[[Callable[..., Rows]], Callable[..., Rows]]:
    model: Any = model_of(row)
    described = list[model] if is_list else model
    return router.get(path, response_class=Rows, responses={200: {"model": described}})


@router.get("/info")
def info(settings: InForce) -> Info:
    """Return what a client has to know of this server."""
    return Info(
        version=VERSION,
        now_ms=SystemClock().now_ms(),
        event_retention_minutes=settings.store.event_retention_minutes,
        channels=list(CHANNELS),
        intervals=list(INTERVALS),
    )


@_get("/markets", MarketRow)
def markets(reader: Reading) -> Rows:
    """Return every market with its state at the exchange."""
    return Rows(reader.market_rows())


@_get("/tickers", TickerRow)
def tickers(
    reader: Reading, markets: Annotated[str | None, Query(description="`btc,KRW-E*`; all without")] = None
) -> Rows:
    """Return the newest tickers."""
    return Rows(reader.tickers(markets))


@_get("/ticker/{market}", TickerRow, is_list=False)
def ticker(market: str, reader: Reading) -> Rows:
    """Return the newest ticker of a market."""
    return Rows(reader.ticker(market))


@_get("/orderbook/{market}", Book, is_list=False)
def orderbook(market: str, reader: Reading) -> Rows:
    """Return the newest order book of a market with its measures."""
    return Rows(reader.book(market))


@_get("/candles/{market}", Candle)
def candles(
    market: str, reader: Reading, settings: InForce, interval: str = "1m",
    start: From = None, to: To = None, limit: Limit = 500,
) -> Rows:  # fmt: skip
    """Return candles, oldest first: those that open from `from` to `to`, the newest `limit` of them."""
    first_ms, last_ms = _stretch(settings, start, to)
    return Rows(reader.candles(market, interval, first_ms, last_ms, limit))


@_get("/trades/{market}", TradeRow)
def trades(
    market: str, reader: Reading, settings: InForce, start: From = None, to: To = None, limit: Limit = 500
) -> Rows:
    """Return trades, oldest first: those from `from` to `to`, the newest `limit` of them."""
    first_ms, last_ms = _stretch(settings, start, to)
    return Rows(reader.trades(market, first_ms, last_ms, limit))


@_get("/volume/{market}", Volume)
def volume(market: str, reader: Reading) -> Rows:
    """Return the traded volume of the last 1m 5m 15m 1h 24h."""
    return Rows(reader.volume(market))


@_get("/changes/{market}", Change)
def changes(market: str, reader: Reading) -> Rows:
    """Return the change of price over the same windows, and since the previous close."""
    return Rows(reader.changes(market))


@_get("/gaps", GapRow)
def gaps(reader: Reading, market: str | None = None, limit: Limit = 1_000) -> Rows:
    """Return in which stretches data may be missing, oldest first, the newest `limit` of them."""
    return Rows(reader.gaps(market)[-limit:])


@_get("/completeness", Completeness)
def completeness(reader: Reading, markets: str | None = None) -> Rows:
    """Return how far the trades of each market are proven."""
    return Rows(reader.completeness(markets))


@_get("/health", Health, is_list=False)
def health(reader: Reading) -> Rows:
    """Return listeners, workers, queues, counters, Redis, and what is proven."""
    return Rows(reader.health())


@router.post(
    "/analyses/{name}",
    response_class=Rows,
    responses={
        200: {"model": dict[str, Any]},
        502: {"model": ErrorAnswer, "description": "no worker answered"},
    },
)
def analyse(
    name: str,
    arguments: Annotated[
        dict[str, str | int | float | bool], Body(examples=[{"market": "KRW-BTC", "window": "15m"}])
    ],
) -> Rows:
    """Return the answer of an analysis that a worker computes; docs/analyses.md lists names and arguments."""
    market = arguments.pop("market", None)
    positional = [] if market is None else [str(market)]
    return Rows(ask(name, *positional, timeout_s=_ANALYSIS_S, **arguments))


def _stretch(settings: Settings, start: str | None, end: str | None) -> tuple[int | None, int | None]:
    return _ms(settings, start, "from", ends=False), _ms(settings, end, "to", ends=True)


def _ms(settings: Settings, text: str | None, name: str, *, ends: bool) -> int | None:
    """Return a time of a query in epoch ms; a `+` of an offset may have been read as a space."""
    if text is None or not text.strip():
        return None
    if text.isdecimal() and text.isascii() and len(text) in range(12, 15):
        return int(text)
    text = _PLUS_READ_AS_SPACE.sub(r"\1+\2", text)
    return parse_ms(text, name, settings.zone, SystemClock().now_ms(), ends=ends)
