"""Which copies of a trade count: each execution once, however often and from wherever it is heard.

A copy is known by its id. The stream and the REST interface may number the same execution differently
(bithumb-protocol.md 1.7), so ids alone would count a backfilled trade twice. Twins are copies of the same
millisecond, price, volume and side; how many executions they stand for is the larger of the numbers of ids
that either source has shown. A copy therefore counts only when its source now has more twins than any source
had before, and the outcome depends on the set of copies alone, never on their order.

Copies are grouped by millisecond: that is all that has to be read to place one.
"""

from decimal import Decimal

from msgspec import Struct, structs

from collector.model import Side, Source, Trade

SEEN: dict[Source, int] = {Source.STREAM: 1, Source.REST: 2}


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One trade of a millisecond as it is stored."""

    id: int
    price: Decimal
    volume: Decimal
    side: Side
    order: int
    received_ms: int
    #: Sum of the `SEEN` bits of the sources that have shown this id.
    seen: int


def admit(rows: list[Row], trade: Trade) -> bool | None:
    """Add `trade` to the `rows` of its millisecond.

    Returns:
        True where it counts, False where it is a further copy of what another source has shown, None where
        this very copy is known already and nothing changed.
    """
    bit = SEEN[trade.source]
    if not rows:
        rows.append(_row(trade, bit))
        return True
    index = next((index for index, row in enumerate(rows) if row.id == trade.id), None)
    if index is None:
        rows.append(_row(trade, 0))
        index = -1
    row = rows[index]
    if row.seen & bit:
        return None
    twins = _twins(rows, row)
    rows[index] = structs.replace(row, seen=row.seen | bit)
    return twins[bit] == max(twins.values())


def executions(rows: list[Row]) -> list[Row]:
    """Return the rows that stand for the executions of one millisecond, in the order of the exchange.

    Of twins those of the source that has shown more are taken, of equals the stream's.
    """
    return sorted(
        (row for row in rows if row.seen & _fuller_source(rows, row)), key=lambda row: (row.order, row.id)
    )


def _row(trade: Trade, seen: int) -> Row:
    return Row(trade.id, trade.price, trade.volume, trade.side, trade.order, trade.received_ms, seen)


def _fuller_source(rows: list[Row], row: Row) -> int:
    twins = _twins(rows, row)
    return max(twins, key=lambda bit: (twins[bit], -bit))


def _twins(rows: list[Row], row: Row) -> dict[int, int]:
    """Count the ids that each source has shown for this price, volume and side."""
    twins = dict.fromkeys(SEEN.values(), 0)
    for other in rows:
        if other.price == row.price and other.volume == row.volume and other.side is row.side:
            for bit in twins:
                twins[bit] += bool(other.seen & bit)
    return twins
