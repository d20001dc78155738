"""Short ways to make events."""

from decimal import Decimal as D

from collector.model import BookChange, Channel, Gap, Level, OrderBook, Side, Source, Ticker, Trade

#: Some moment in 2026.
T0 = 1_790_133_514_000


def trade(number: int = 1, market: str = "KRW-BTC", ms: int = T0, source: Source = Source.STREAM) -> Trade:
    return Trade(market, number, D(100), D("0.5"), Side.BUY, ms, ms + 100, source=source)


def ticker(ms: int = T0, market: str = "KRW-BTC", price: str = "100") -> Ticker:
    names = ("change_price", "change_rate", "prev_closing_price", "open", "high", "low")
    figures = dict.fromkeys((*names, "base_volume_24h", "quote_volume_24h"), D(1))
    return Ticker(
        market=market, exchange_ms=ms, received_ms=ms + 100, price=D(price), change="even", **figures
    )


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    return tuple((D(price), D(size)) for price, size in pairs)


def book(
    us: int = T0 * 1000,
    market: str = "KRW-BTC",
    bids: tuple[Level, ...] = levels(("99", "1")),
    asks: tuple[Level, ...] = levels(("101", "1")),
) -> OrderBook:
    return OrderBook(market, us, us // 1000 + 100, bids, asks)


def change(
    us: int, market: str = "KRW-BTC", bids: tuple[Level, ...] = (), asks: tuple[Level, ...] = ()
) -> BookChange:
    return BookChange(market, us, us // 1000 + 100, bids, asks)


def gap(from_ms: int = T0, market: str = "KRW-BTC", reason: str = "stalled", recovered: bool = False) -> Gap:
    return Gap(market, Channel.TRADE, from_ms, from_ms + 1000, reason, recovered)
