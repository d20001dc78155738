"""The same figures computed the plain way: all trades at once, fractions, no merging, no Redis."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from collector.model import MINUTE_MS, Side, Source, Trade


class PlainCandle(NamedTuple):
    """A one-minute candle as the set of its trades defines it."""

    open: Fraction
    high: Fraction
    low: Fraction
    close: Fraction
    base_volume: Fraction
    quote_volume: Fraction
    buy_volume: Fraction
    sell_volume: Fraction
    trade_count: int


def candles(copies: Iterable[Trade]) -> dict[tuple[str, int], PlainCandle]:
    """Return the candle of every (market, minute open) that `copies`, in any order and number, stand for."""
    minutes: dict[tuple[str, int], dict[tuple[Any, ...], Trade]] = {}
    for copy in copies:
        minutes.setdefault((copy.market, copy.minute_ms), {}).setdefault(_name(copy), copy)
    return {slot: _candle([(copy.source, copy) for copy in seen.values()]) for slot, seen in minutes.items()}


def _name(copy: Trade) -> tuple[Any, ...]:
    """A copy of the stream is named by its id, one of REST by its content and its number."""
    if copy.nth:
        return copy.source, copy.nth, _fingerprint(copy)
    return copy.source, copy.exchange_ms, copy.id


def _candle(seen: list[tuple[Source, Trade]]) -> PlainCandle:
    shown = Counter((source, _fingerprint(trade)) for source, trade in seen)
    executions = {
        print_: max(shown[source, print_] for source in Source) for _, print_ in shown
    }  # a multiset: the larger of what either source has shown
    buys = sum(count * print_[2] for print_, count in executions.items() if print_[3] is Side.BUY)
    sells = sum(count * print_[2] for print_, count in executions.items() if print_[3] is Side.SELL)
    prices = [print_[1] for print_ in executions]
    return PlainCandle(
        open=_edge(seen, first=True),
        high=max(prices),
        low=min(prices),
        close=_edge(seen, first=False),
        base_volume=Fraction(buys + sells),
        quote_volume=Fraction(sum(count * print_[1] * print_[2] for print_, count in executions.items())),
        buy_volume=Fraction(buys),
        sell_volume=Fraction(sells),
        trade_count=sum(executions.values()),
    )


def _fingerprint(trade: Trade) -> tuple[int, Fraction, Fraction, Side]:
    return trade.exchange_ms, Fraction(trade.price), Fraction(trade.volume), trade.side


def _edge(seen: list[tuple[Source, Trade]], *, first: bool) -> Fraction:
    times = sorted(trade.exchange_ms for _, trade in seen)
    time = times[0] if first else times[-1]
    by_source = {
        source: sorted(
            (trade.order, trade.id, trade.price)
            for s, trade in seen
            if s is source and trade.exchange_ms == time
        )
        for source in (Source.STREAM, Source.REST)
    }
    stream, rest = by_source[Source.STREAM], by_source[Source.REST]
    row = (stream if len(stream) >= len(rest) else rest)[0 if first else -1]
    return Fraction(row[2])


def minute_of(ms: int) -> int:
    """Return the open of the minute of `ms`."""
    return ms // MINUTE_MS * MINUTE_MS
