"""Trades, tickers and books for tests: defaults that say nothing, and hypothesis strategies."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from msgspec import structs

from collector.model import OrderBook, Side, Source, Ticker, Trade

#: 2026-09-21 13:33:00 UTC, the start of a minute; 22:33 in Korea.
T0 = 1_789_997_580_000
BTC = "KRW-BTC"


def trade(number: int = 1, price: object = 100, volume: object = 1, **fields: Any) -> Trade:
    """Return a trade of KRW-BTC at `T0`."""
    values: dict[str, Any] = {
        "market": BTC, "side": Side.BUY, "exchange_ms": T0,
        "received_ms": fields.get("exchange_ms", T0) + 100, "order": 0, "source": Source.STREAM,
    }  # fmt: skip
    return Trade(id=number, price=Decimal(str(price)), volume=Decimal(str(volume)), **values | fields)


def ticker(price: object = 100, **fields: Any) -> Ticker:
    """Return a ticker of KRW-BTC at `T0`."""
    values: dict[str, Any] = {
        "market": BTC, "exchange_ms": T0, "received_ms": fields.get("exchange_ms", T0) + 100,
        "change": "rise", "change_price": Decimal(10), "change_rate": Decimal("0.1"),
        "prev_closing_price": Decimal(90),
        "open": Decimal(90), "high": Decimal(110), "low": Decimal(80),
        "base_volume_24h": Decimal("1.4E-7"), "quote_volume_24h": Decimal("728107452.06423197609921044"),
    }  # fmt: skip
    return Ticker(price=Decimal(str(price)), **values | fields)


def levels(*pairs: tuple[object, object]) -> tuple[tuple[Decimal, Decimal], ...]:
    """Return price levels from pairs of anything a decimal is made of."""
    return tuple((Decimal(str(price)), Decimal(str(size))) for price, size in pairs)


def book(bids: Any = ((99, 1),), asks: Any = ((101, 1),), **fields: Any) -> OrderBook:
    """Return an order book of KRW-BTC at `T0`."""
    values: dict[str, Any] = {"market": BTC, "exchange_us": T0 * 1000, "received_ms": T0 + 100}
    return OrderBook(bids=levels(*bids), asks=levels(*asks), **values | fields)


_NUMBERS = st.sampled_from(
    ["1", "0.1", "0.10", "2", "1.4E-7", "0.00000001", "728107452.06423197609921044", "116208000"]
).map(Decimal)


@st.composite
def executions(draw: st.DrawFn, max_size: int = 25) -> list[Trade]:
    """Draw different trades of the stream; few times and numbers, so that twins are common."""
    count = draw(st.integers(1, max_size))
    return [
        trade(
            1_000 + number,
            draw(_NUMBERS),
            draw(_NUMBERS),
            market=draw(st.sampled_from(["KRW-BTC", "KRW-ETH"])),
            side=draw(st.sampled_from(list(Side))),
            exchange_ms=T0 + draw(st.sampled_from([0, 1, 2, 59_999, 60_000])),
            order=draw(st.sampled_from([0, 0, 1, 2])),
        )
        for number in range(count)
    ]


#: What ids REST may give: the stream's, its own, one for all of a millisecond, none.
REST_IDS = {
    "the stream's": lambda original, number: original.id,
    "its own": lambda original, number: 50 + number,
    "shared": lambda original, number: original.exchange_ms * 10_000,
    "none": lambda original, number: 0,
}


@st.composite
def copies(draw: st.DrawFn, max_size: int = 25) -> list[Trade]:
    """Draw what two sources show of some trades: holes, repeats, other ids, any order.

    REST's are numbered among their equals, as a listener of today sends them, or all are without a number.
    """
    made = draw(executions(max_size))
    streamed = [original for original in made if draw(st.booleans())]
    fetched = [original for original in made if draw(st.booleans())]
    if draw(st.booleans()):
        pages = [fetched, fetched[: draw(st.integers(0, len(fetched)))]]  # asked twice
        new_id = REST_IDS[draw(st.sampled_from(list(REST_IDS)))]
        shown = streamed + [copy for page in pages for copy in numbered(page, new_id)]
    else:
        new_id = REST_IDS[draw(st.sampled_from(["the stream's", "its own"]))]
        shown = streamed + [from_rest(copy, new_id(copy, made.index(copy))) for copy in fetched]
    shown += draw(st.lists(st.sampled_from(shown or made), max_size=10))
    return draw(st.permutations(shown or made))


def numbered(page: Iterable[Trade], new_id: Callable[[Trade, int], int] = REST_IDS["its own"]) -> list[Trade]:
    """Return `page`, oldest first, as a backfill hands it on: each row with its place and its number."""
    places: Counter[tuple[str, int]] = Counter()
    equals: Counter[tuple[Any, ...]] = Counter()
    rows = []
    for number, original in enumerate(page):
        place = original.market, original.exchange_ms
        equal = (*place, original.price, original.volume, original.side)
        equals[equal] += 1
        rows.append(from_rest(original, new_id(original, number), order=places[place], nth=equals[equal]))
        places[place] += 1
    return rows


def from_rest(original: Trade, id: int, **fields: Any) -> Trade:
    """Return a trade as REST shows it."""
    return structs.replace(original, id=id, source=Source.REST, received_ms=T0 + 5_000, **fields)


def batches(shown: list[Trade], draw: st.DrawFn) -> list[list[Trade]]:
    """Split `shown` into batches at drawn places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(shown)), max_size=4)))
    edges = [0, *cuts, len(shown)]
    return [shown[start:end] for start, end in itertools.pairwise(edges) if start < end]
