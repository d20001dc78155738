"""The recordings in shared/data, with the reader of the independent computation for each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.recorded import plain
from tests.acceptance.recorded.plain import Session


@dataclass(frozen=True)
class Source:
    """One recording."""

    name: str
    file: str
    read: Callable[[Path], Session]

    def path(self, shared_dir: Path) -> Path:
        """Return where the file is."""
        return shared_dir / "data" / self.file


LEGACY = Source(
    "Bithumb legacy socket, 31 s", "cryptofeed-bithumb-legacy-2021-06-02/BITHUMB.ws.1.0", plain.read_legacy
)
UPBIT = Source(
    "Upbit socket in Bithumb's current words, 2 min",
    "cryptofeed-upbit-2021-04-05/UPBIT-d78752.0.gz",
    plain.read_upbit,
)
BOOKS = tuple(
    Source(
        f"Bithumb REST order books {day}, {length}",
        f"bithumb-rest-book-top5/orderbook-{day}-bithumb-BTC.csv.gz",
        plain.read_rest_books,
    )
    for day, length in (("2024-04-13", "9.8 h"), ("2024-04-15", "4.9 h"))
)
SOCKETS = (LEGACY, UPBIT)
ALL = (*SOCKETS, *BOOKS)

OBSERVED = "bithumb-current-observed-frames.jsonl"
VENDOR = "bithumb-current-vendor-doc-examples.jsonl"
OBSERVED_LEGACY = "bithumb-legacy-observed-frames.jsonl"
