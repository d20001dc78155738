"""Which copies of a trade count: each execution once, however often and from wherever it is received.

The stream and the REST interface may number the same execution differently, and REST may give all executions
of a millisecond one id, or none (bithumb-protocol.md 1.7). So a copy is named by its source:

    stream   its id
    REST     its millisecond, price, volume, side, and that it is the k-th such row (`Trade.nth`)

Rows of one page are different executions even where all their fields are equal. Copies of one class (the same
millisecond, price, volume and side) stand for as many executions as the larger of the numbers that either
source has shown. A copy therefore counts only when its source now has shown more than any source before, and
the outcome depends on the set of copies alone, never on their order.

A REST copy without a number (`nth` 0: sent by an older listener, or stored by an older worker) is named by
its id; u of them take the places 1 to u of their class.

Copies are grouped by millisecond: that is all that has to be read to place one.
"""

from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal

from msgspec import Struct, structs

from collector.model import Side, Source, Trade

SEEN: dict[Source, int] = {Source.STREAM: 1, Source.REST: 2}
_STREAM, _REST = SEEN[Source.STREAM], SEEN[Source.REST]


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One copy of a trade of a millisecond as it is stored."""

    id: int
    price: Decimal
    volume: Decimal
    side: Side
    order: int
    received_ms: int
    #: Sum of the `SEEN` bits of the sources that have shown this copy; only copies without a number have two.
    seen: int
    #: As `Trade.nth`.
    nth: int = 0


def admit(rows: list[Row], trade: Trade) -> bool | None:
    """Add `trade` to the `rows` of its millisecond.

    Returns:
        True where it counts, False where it is a further copy of what another source has shown, None where
        this very copy is known already and nothing changed.
    """
    bit = SEEN[trade.source]
    mine = Row(
        trade.id, trade.price, trade.volume, trade.side, trade.order, trade.received_ms, bit, trade.nth
    )
    if mine.seen == _STREAM and not mine.nth:
        # By far the most: the stream's ids are enough where nothing else was shown.
        for row in rows:
            if row.seen != _STREAM or row.nth:
                break
            if row.id == mine.id:
                return None
        else:
            rows.append(mine)
            return True
    twins = [row for row in rows if _is_twin(row, mine)]
    if _is_known(rows, twins, mine):
        return None
    before = max(_streamed(twins), _fetched(twins))
    add(rows, mine)
    twins = [row for row in rows if _is_twin(row, mine)]
    return max(_streamed(twins), _fetched(twins)) > before


def add(rows: list[Row], mine: Row) -> None:
    """Note in the `rows` of a millisecond that a source has shown `mine`.

    Copies without a number are one row for both sources.
    """
    for index, row in enumerate(rows):
        if not mine.nth and not row.nth and row.id == mine.id and _is_twin(row, mine):
            rows[index] = structs.replace(row, seen=row.seen | mine.seen)
            return
    rows.append(mine)


def executions(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that stand for the executions of one millisecond, in the order of the exchange.

    Of each class those of the source that has shown more are taken, of equally many the stream's.
    """
    if all(row.seen == _STREAM for row in rows):
        chosen = list(rows)
    else:
        chosen = [row for twins in _classes(rows) for row in _fuller(twins)]
    return sorted(chosen, key=lambda row: (row.order, row.id, row.nth))


def copy_name(row: Row) -> Hashable:
    """Return the key of a copy among those of its millisecond."""
    return (row.price, row.volume, row.side, row.nth) if row.nth else row.id


def _is_twin(row: Row, other: Row) -> bool:
    return row.price == other.price and row.volume == other.volume and row.side is other.side


def _is_known(rows: Iterable[Row], twins: Iterable[Row], mine: Row) -> bool:
    if not mine.nth:
        return any(row.id == mine.id and row.seen & mine.seen and not row.nth for row in rows)
    return any(row.nth == mine.nth for row in twins) or mine.nth <= _unnumbered(twins)


def _streamed(twins: Iterable[Row]) -> int:
    """Return how many executions of a class the stream has shown."""
    return sum(bool(row.seen & _STREAM) for row in twins)


def _fetched(twins: Sequence[Row]) -> int:
    """Return how many executions of a class REST has shown."""
    return sum(_is_fetched(row, _unnumbered(twins)) for row in twins)


def _is_fetched(row: Row, unnumbered: int) -> bool:
    """Return whether a row stands for an execution of REST, one of `unnumbered` of its class being older."""
    return row.nth > unnumbered if row.nth else bool(row.seen & _REST)


def _unnumbered(twins: Iterable[Row]) -> int:
    return sum(bool(row.seen & _REST) and not row.nth for row in twins)


def _fuller(twins: Sequence[Row]) -> list[Row]:
    if _streamed(twins) >= _fetched(twins):
        return [row for row in twins if row.seen & _STREAM]
    unnumbered = _unnumbered(twins)
    return [row for row in twins if _is_fetched(row, unnumbered)]


def _classes(rows: Iterable[Row]) -> Iterable[list[Row]]:
    classes: dict[tuple[Decimal, Decimal, Side], list[Row]] = {}
    for row in rows:
        classes.setdefault((row.price, row.volume, row.side), []).append(row)
    return classes.values()
