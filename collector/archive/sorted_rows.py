"""The rows of a file in order of the key, a part at a time: a day of all markets never is in memory at once.

A file begins with the rows of its first market, oldest first. So minutes can be replaced, and hours be joined
into a day, while the rows stream from the old files into the new one.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any

from collector.archive import library
from collector.archive.parquet import Arrow
from collector.archive.schema import Table

#: A market and some of its rows, in order.
Part = tuple[str, Arrow]


def by_market(rows: Arrow) -> Iterator[Part]:
    """Yield the rows of each market; rows of one market stand together."""
    if not len(rows):
        return
    pc = library("pyarrow.compute")
    runs = pc.run_end_encode(rows.column("market").combine_chunks())
    start = 0
    for market, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield market, rows.slice(start, end - start)
        start = end


class SortedRows:
    """A position in the rows of a file; what is before it has been taken."""

    def __init__(self, table: Table, parts: Iterator[Part]) -> None:
        self._time = table.time
        self._parts = parts
        self._next = next(parts, None)

    def before(self, market: str, time_ms: int) -> Iterator[Arrow]:
        """Take the rows up to a moment of a market."""
        while self._next is not None:
            name, rows = self._next
            if name > market:
                return
            count = len(rows) if name < market else _earlier(rows.column(self._time), time_ms)
            if count:
                yield rows.slice(0, count)
            if count < len(rows):
                self._next = name, rows.slice(count)
                return
            self._next = next(self._parts, None)

    def rest(self) -> Iterator[Arrow]:
        """Take all that is left."""
        while self._next is not None:
            yield self._next[1]
            self._next = next(self._parts, None)


def joined(files: Sequence[Iterator[Part]]) -> Iterator[Arrow]:
    """Yield the rows of files in order of the key; each file holds later rows than the one before."""

    def numbered(place: int, parts: Iterator[Part]) -> Iterator[tuple[str, int, Arrow]]:
        return ((market, place, rows) for market, rows in parts)

    each = [numbered(place, parts) for place, parts in enumerate(files)]
    return (rows for _, _, rows in merge(*each, key=lambda part: part[:2]))


def _earlier(times: Any, time_ms: int) -> int:  # noqa: ANN401 - pyarrow has no type stubs
    pc = library("pyarrow.compute")
    return pc.sum(pc.less(times, time_ms)).as_py() or 0
