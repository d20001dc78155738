"""What analyses of single trades need to know of a trade, and sums of them."""

from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import Protocol, TypeVar

from collector.analytics.exact import EXACT, ZERO
from collector.model import Side


class Priced(Protocol):
    """Anything with a price and a volume."""

    @property
    def price(self) -> Decimal: ...

    @property
    def volume(self) -> Decimal: ...


class Sided(Protocol):
    """Anything with a taker's side."""

    @property
    def side(self) -> Side: ...


class Traded(Priced, Sided, Protocol):
    """One execution: `collector.model.Trade`, `collector.store.rows.TradeRow`."""

    @property
    def exchange_ms(self) -> int: ...


PricedT = TypeVar("PricedT", bound=Priced)
TradedT = TypeVar("TradedT", bound=Traded)


def sums(trades: Iterable[Traded]) -> tuple[Decimal, Decimal, Decimal]:
    """Return quote volume, buy volume and sell volume of `trades`, exactly."""
    quote = buy = sell = ZERO
    with localcontext(EXACT):
        for trade in trades:
            quote += trade.price * trade.volume
            if trade.side is Side.BUY:
                buy += trade.volume
            else:
                sell += trade.volume
    return quote, buy, sell
