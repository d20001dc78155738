"""Analyses to call ad hoc: by `collector analyze`, Flower, or `celery -A tasks call tasks.analysis.vwap`.

Each takes a market and a window such as `15m`, and returns a dict of strings, integers and lists, so that any
client can read it. Windows end at the newest event (`tasks.enrich.windows`). What can't be answered is
raised as `NoData` or `ConfigurationError`, whose one-line message reaches the caller.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collector.errors import NoData
from collector.model import MINUTE_MS
from collector.settings import current
from tasks.app import app
from tasks.enrich import patterns
from tasks.enrich.candles import Minute
from tasks.enrich.change import change
from tasks.enrich.volume import volume as volume_of
from tasks.enrich.windows import window_minutes, window_start_ms
from tasks.read import Reader, plain
from tasks.redis_client import client
from tasks.routing import ANALYSES

DEFAULT_WINDOW = "15m"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Window:
    """The candles of one market in one window, by open; there is at least one."""

    market: str
    name: str
    length: int
    start_ms: int
    as_of_ms: int
    minutes: dict[int, Minute]

    def answer(self, **figures: object) -> Answer:
        """Return `figures` with what they are about, as plain JSON values."""
        about = {"market": self.market, "window": self.name, "from_ms": self.start_ms, "to_ms": self.as_of_ms}
        return dict(plain(about | figures))


#: Every analysis by name, as a plain function.
ANALYSIS_BY_NAME: dict[str, Callable[..., Answer]] = {}


def names() -> dict[str, str]:
    """Return every analysis with the first line of its description, for `collector analyze --list`."""
    return {name: str(function.__doc__).split("\n")[0] for name, function in sorted(ANALYSIS_BY_NAME.items())}


def analysis(function: Callable[..., Answer]) -> Any:  # noqa: ANN401 - Celery's task
    """Make an analysis task of `function`, named after it."""
    ANALYSIS_BY_NAME[function.__name__] = function
    return app.task(name=ANALYSES + function.__name__, ignore_result=False)(function)


@analysis
def vwap(market: str, window: str = DEFAULT_WINDOW, **_: object) -> Answer:
    """Volume-weighted average price: quote volume by base volume."""
    found = _window(market, window)
    figures = volume_of(market, found.minutes, window, found.length, found.as_of_ms)
    return found.answer(
        vwap=figures.vwap,
        base_volume=figures.base_volume,
        quote_volume=figures.quote_volume,
        trade_count=figures.trade_count,
    )


@analysis
def twap(market: str, window: str = DEFAULT_WINDOW, **_: object) -> Answer:
    """Time-weighted average price: the mean of the prices at the end of each minute."""
    found = _window(market, window)
    opens = range(found.start_ms, found.as_of_ms + 1, MINUTE_MS)
    before = _reader().price_before(market, found.start_ms)
    return found.answer(twap=patterns.twap(found.minutes, opens, before))


@analysis
def imbalance(market: str, window: str = DEFAULT_WINDOW, **_: object) -> Answer:
    """Buy against sell volume of the takers, from -1 (all sell) to 1 (all buy)."""
    found = _window(market, window)
    figures = volume_of(market, found.minutes, window, found.length, found.as_of_ms)
    return found.answer(
        imbalance=patterns.imbalance(found.minutes.values()),
        buy_volume=figures.buy_volume,
        sell_volume=figures.sell_volume,
    )


@analysis
def large_trades(market: str, window: str = DEFAULT_WINDOW, **_: object) -> Answer:
    """Trades whose value stands out from the window's by a robust z-score above 3.5."""
    found = _window(market, window)
    trades = _reader().trades(market, found.start_ms, found.as_of_ms)
    if not trades:
        raise NoData(f"{market}: the single trades of the last {window} are no longer kept")
    large = [
        {"id": row.id, "price": row.price, "volume": row.volume, "side": row.side,
         "exchange_ms": row.exchange_ms, "value": value, "z_score": score}
        for row, value, score in patterns.large_trades(trades)
    ]  # fmt: skip
    return found.answer(trades=large, trade_count=len(trades))


@analysis
def volume(market: str, window: str = DEFAULT_WINDOW, **_: object) -> Answer:
    """Base, quote, buy and sell volume, and the number of trades."""
    found = _window(market, window)
    figures = plain(volume_of(market, found.minutes, window, found.length, found.as_of_ms))
    return found.answer(**figures)


@analysis
def changes(market: str, window: str = DEFAULT_WINDOW, **_: object) -> Answer:
    """Change of the price over the window, with its range."""
    found = _window(market, window)
    newest = found.minutes[max(found.minutes)]
    figures = change(market, window, _reader().price_before(market, found.start_ms), newest.last.price)
    return found.answer(
        change_rate=figures.change_rate,
        from_price=figures.from_price,
        to_price=figures.to_price,
        high=max(minute.high for minute in found.minutes.values()),
        low=min(minute.low for minute in found.minutes.values()),
    )


def _reader() -> Reader:
    return Reader(client(), current())


def _window(market: str, window: str) -> Window:
    """Return the candles of `window`, which ends at the newest event of any market.

    Raises:
        NoData: an unknown market, or no trade in the window.
        ConfigurationError: not a window.
    """
    length = window_minutes(window)
    reader = _reader()
    reader.check(market)
    as_of_ms = reader.as_of_ms() or 0
    start_ms = window_start_ms(as_of_ms, length)
    minutes = reader.minutes(market, start_ms, as_of_ms)
    if not minutes:
        raise NoData(f"{market}: no trade in the last {window}")
    return Window(market, window, length, start_ms, as_of_ms, minutes)
