"""The figures of a recording by the plainest way there is: read the file, put it in a list, add up.

Nothing of ours is imported here. Files are read as shared/data/README.md describes them, with the standard
library alone, and all arithmetic is done in fractions, so there is no rounding to agree upon; only ratios are
rounded, once, to 28 digits. What the system stores is compared with this.
"""

import ast
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

KST = timezone(timedelta(hours=9))
INTERVALS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
WINDOWS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "24h": 1440}
MINUTE_MS = 60_000


class PlainTrade(NamedTuple):
    """One execution; `rank` puts those of one millisecond in the order of the exchange."""

    market: str
    ms: int
    rank: int
    price: Decimal
    volume: Decimal
    side: str
    id: int | None


class PlainBook(NamedTuple):
    """One order book as it stood in the file, padding left out."""

    market: str
    us: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


@dataclass
class Session:
    """What one recording holds."""

    trades: list[PlainTrade] = field(default_factory=list)
    books: list[PlainBook] = field(default_factory=list)
    changes: int = 0
    frames: int = 0

    @property
    def markets(self) -> list[str]:
        """All markets that traded."""
        return sorted({trade.market for trade in self.trades})

    def of(self, market: str) -> list[PlainTrade]:
        """Return the trades of `market`, first to last."""
        return sorted((t for t in self.trades if t.market == market), key=lambda t: (t.ms, t.rank))

    def last_books(self) -> dict[str, PlainBook]:
        """Return the last book of each market; one that repeats the book before it is the book before it."""
        last: dict[str, PlainBook] = {}
        for book in self.distinct_books():
            last[book.market] = book
        return last

    def distinct_books(self) -> Iterator[PlainBook]:
        """Yield the books that differ from the one before on their market."""
        last: dict[str, PlainBook] = {}
        for book in self.books:
            before = last.get(book.market)
            if before is None or (before.bids, before.asks) != (book.bids, book.asks):
                last[book.market] = book
                yield book


# Reading


def read_upbit(path: Path) -> Session:
    """Read the Upbit capture: `<seconds>: b'<SIMPLE frame>'` lines."""
    session = Session()
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        stamp, _, literal = line.partition(": ")
        if not stamp.replace(".", "").isdigit():
            continue
        session.frames += 1
        frame = json.loads(ast.literal_eval(literal), parse_float=Decimal)
        if frame["ty"] == "trade":
            session.trades.append(_upbit_trade(frame))
        else:
            session.books.append(_upbit_book(frame))
    return session


def _upbit_trade(frame: dict[str, Any]) -> PlainTrade:
    side = {"BID": "buy", "ASK": "sell"}[frame["ab"]]
    price, volume, number = Decimal(frame["tp"]), Decimal(frame["tv"]), frame["sid"]
    return PlainTrade(frame["cd"], frame["ttms"], number, price, volume, side, number)


def _upbit_book(frame: dict[str, Any]) -> PlainBook:
    bids = tuple((Decimal(unit["bp"]), Decimal(unit["bs"])) for unit in frame["obu"])
    asks = tuple((Decimal(unit["ap"]), Decimal(unit["as"])) for unit in frame["obu"])
    return PlainBook(frame["cd"], frame["tms"] * 1000, bids, asks)


def read_legacy(path: Path) -> Session:
    """Read the capture of Bithumb's older socket: `<seconds>: <frame>` lines, all numbers strings."""
    session = Session()
    for line in path.read_text(encoding="utf-8").splitlines():
        stamp, _, text = line.partition(": ")
        if not stamp.replace(".", "").isdigit():
            continue
        session.frames += 1
        frame = json.loads(text)
        if frame.get("type") == "transaction":
            session.trades += [_legacy_trade(entry) for entry in frame["content"]["list"]]
        elif frame.get("type") == "orderbookdepth":
            session.changes += 1
    return session


def _legacy_trade(entry: dict[str, str]) -> PlainTrade:
    base, quote = entry["symbol"].split("_")
    moment = datetime.strptime(entry["contDtm"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=KST)
    us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    side = {"1": "sell", "2": "buy"}[entry["buySellGb"]]
    price, volume = Decimal(entry["contPrice"]), Decimal(entry["contQty"])
    return PlainTrade(f"{quote}-{base}", us // 1000, us, price, volume, side, None)


def read_rest_books(path: Path) -> Session:
    """Read order books polled over REST: ten rows a book, bids then asks, best first, Korean wall time."""
    session = Session()
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    for stamp, group in groupby(rows, key=lambda row: row["timestamp"]):
        sides: dict[str, list[tuple[Decimal, Decimal]]] = {"0": [], "1": []}
        for row in group:
            sides[row["type"]].append((Decimal(row["price"]), Decimal(row["quantity"])))
        moment = datetime.fromisoformat(stamp).replace(tzinfo=KST)
        us = int(moment.timestamp()) * 1_000_000
        session.books.append(PlainBook("KRW-BTC", us, tuple(sides["0"]), tuple(sides["1"])))
    session.frames = len(session.books)
    return session


def read_examples(path: Path) -> list[tuple[dict[str, Any], Any]]:
    """Read example frames: each line's description, and its frame (None where it is only a piece)."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [(line, json.loads(line["raw"], parse_float=Decimal)) for line in lines]


# Computing


def rounded(value: Fraction) -> Decimal:
    """Return `value` to 28 significant digits, half to even."""
    return Context(prec=28).divide(Decimal(value.numerator), Decimal(value.denominator))


def exact(value: Fraction) -> Decimal:
    """Return `value` in full; raises `decimal.Inexact` where decimals can't."""
    context = Context(prec=100, traps=[Inexact])
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


def total(trades: Iterable[PlainTrade], side: str | None = None) -> Fraction:
    """Add up the volume of the trades, or of those of one side."""
    return sum((Fraction(t.volume) for t in trades if side in (None, t.side)), Fraction(0))


def value(trades: Iterable[PlainTrade]) -> Fraction:
    """Add up price times volume."""
    return sum((Fraction(t.price) * Fraction(t.volume) for t in trades), Fraction(0))


def sums(trades: list[PlainTrade]) -> dict[str, Any]:
    """Return the figures a candle and a rolling volume have in common."""
    base, quote = total(trades), value(trades)
    return {
        "base_volume": base,
        "quote_volume": quote,
        "buy_volume": total(trades, "buy"),
        "sell_volume": total(trades, "sell"),
        "vwap": rounded(quote / base) if base else None,
        "trade_count": len(trades),
    }


def opening_ms(ms: int, minutes: int) -> int:
    """Return the start of the interval around `ms`, counted from Korean midnight."""
    moment = datetime.fromtimestamp(ms // 1000, KST)
    midnight = moment.replace(hour=0, minute=0, second=0)
    passed = (moment - midnight) // timedelta(minutes=minutes)
    return int((midnight + passed * timedelta(minutes=minutes)).timestamp()) * 1000


def candles(trades: list[PlainTrade], minutes: int) -> list[dict[str, Any]]:
    """Return the candles of one market's trades, which are given first to last."""
    groups: dict[int, list[PlainTrade]] = defaultdict(list)
    for trade in trades:
        groups[opening_ms(trade.ms, minutes)].append(trade)
    return [
        {
            "open_ms": open_ms,
            "open": group[0].price,
            "high": max(t.price for t in group),
            "low": min(t.price for t in group),
            "close": group[-1].price,
            **sums(group),
        }
        for open_ms, group in sorted(groups.items())
    ]


def volumes(trades: list[PlainTrade], as_of_ms: int) -> dict[str, dict[str, Any]]:
    """Return the rolling volumes: the running minute and the n - 1 before it."""
    running_ms = as_of_ms // MINUTE_MS * MINUTE_MS
    return {
        window: sums([t for t in trades if t.ms >= running_ms - (length - 1) * MINUTE_MS])
        for window, length in WINDOWS.items()
    }


def changes(trades: list[PlainTrade], as_of_ms: int) -> dict[str, dict[str, Any]]:
    """Return the change of price over each window, from the last price before it to the last of all."""
    running_ms = as_of_ms // MINUTE_MS * MINUTE_MS
    found = {}
    for window, length in WINDOWS.items():
        earlier = [t.price for t in trades if t.ms < running_ms - (length - 1) * MINUTE_MS]
        start, end = earlier[-1] if earlier else None, trades[-1].price
        rate = None if start is None else rounded(Fraction(end) / Fraction(start) - 1)
        found[window] = {"from_price": start, "to_price": end, "change_rate": rate}
    return found


def book_figures(book: PlainBook) -> dict[str, Any]:
    """Return the measures of a book; a level printed with size 0 is no part of it."""
    bids = tuple(level for level in book.bids if level[1] != 0)
    asks = tuple(level for level in book.asks if level[1] != 0)
    (bid, bid_size), (ask, ask_size) = (tuple(map(Fraction, side[0])) for side in (bids, asks))
    bid_depth, ask_depth = (sum((Fraction(size) for _, size in side), Fraction(0)) for side in (bids, asks))
    mid = (bid + ask) / 2
    return {
        "market": book.market,
        "exchange_ms": book.us // 1000,
        "bids": bids,
        "asks": asks,
        "spread": ask - bid,
        "spread_bps": rounded((ask - bid) / mid * 10_000),
        "mid": mid,
        "microprice": rounded((bid * ask_size + ask * bid_size) / (bid_size + ask_size)),
        "imbalance": rounded((bid_depth - ask_depth) / (bid_depth + ask_depth)),
        "bid_depth": bid_depth,
        "ask_depth": ask_depth,
    }


def changed_levels(before: PlainBook | None, after: PlainBook) -> int:
    """Count the prices, per side, whose size is not what it was."""
    changed = 0
    for old_levels, new_levels in (
        (before.bids if before else (), after.bids),
        (before.asks if before else (), after.asks),
    ):
        old = {price: size for price, size in old_levels if size}
        new = {price: size for price, size in new_levels if size}
        changed += sum(old.get(price) != new.get(price) for price in old.keys() | new.keys())
    return changed
