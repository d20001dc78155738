"""`python -m tests.acceptance.recorded.report`: our figures of every recording beside a plain computation.

Prints Markdown. Exit status 1 if a single digit differs. With `--write` the tables go to
docs/recorded-figures.md.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from collector.host.redis_server import PrivateRedis
from collector.settings import Settings
from tests.acceptance.recorded import compare, plain
from tests.acceptance.recorded.line import Line, open_line
from tests.acceptance.recorded.sources import ALL, Source

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "recorded-figures.md"
HEAD = """# Recorded sessions: our figures beside a plain computation

Made by `python -m tests.acceptance.recorded.report --write`. *ours* is what `tasks.read` returns after the
recording went through `collector replay`, Celery and Redis; *plain* is `tests/acceptance/recorded/plain.py`,
which reads the raw file with the standard library and adds up fractions. Candles span the whole session;
books are the last of each market.
"""
CANDLE = (
    "trade_count", "base_volume", "quote_volume", "buy_volume", "sell_volume",
    "open", "high", "low", "close", "vwap",
)  # fmt: skip
BOOK = ("spread", "mid", "microprice", "imbalance", "bid_depth", "ask_depth")


def main() -> int:
    """Play everything, print the tables, return the exit status."""
    shared = Path(os.environ.get("SHARED_DIR") or ROOT.parent / "shared")
    if not (shared / "data").is_dir():
        print(f"no recorded data at {shared}: set SHARED_DIR", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory() as folder,
        PrivateRedis(Settings(data_dir=Path(folder))) as server,
        open_line(server.url, Path(folder)) as line,
    ):
        sections = [_section(line, source, shared) for source in ALL]
    page = "\n".join([HEAD, *(text for text, _ in sections)])
    print(page)
    if "--write" in sys.argv:
        PAGE.write_text(page)
    return 1 if any(differ for _, differ in sections) else 0


def _section(line: Line, source: Source, shared: Path) -> tuple[str, int]:
    """Return the Markdown of one recording and how many of its figures differ."""
    session = source.read(source.path(shared))
    summary = line.replay(source.path(shared))
    pairs = compare.everything(line.reader, session)
    differ = sum(stored != expected for stored, expected in pairs.values())
    compared = sum(_count(expected) for _, expected in pairs.values())
    lines = [f"## {source.name}", "", f"`{source.file}`: {summary}.", ""]
    lines += _table(CANDLE, [(m, *_first(pairs[m, "1d"])) for m in session.markets])
    lines += _table(BOOK, [(m, *_first(pairs[m, "book"])) for m in sorted(session.last_books())])
    verdict = "all equal to the last digit" if not differ else f"**{differ} differ**"
    lines.append(f"{compared:,} figures compared, every interval, window, trade and last book: {verdict}.\n")
    return "\n".join(lines), differ


def _first(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    return pair[0][0], pair[1][0]


def _table(columns: tuple[str, ...], rows: list[tuple[str, Any, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "| market | | " + " | ".join(columns) + " |"
    yield "|---|---|" + "---:|" * len(columns)
    for market, ours, expected in rows:
        yield f"| {market} | ours | " + " | ".join(_text(ours[name]) for name in columns) + " |"
        yield "| | plain | " + " | ".join(_text(expected[name]) for name in columns) + " |"
    yield ""


def _text(number: object) -> str:
    """Write a number without exponent and without the zeros at its end, so that 1.50 and 3/2 look alike."""
    if isinstance(number, Fraction):
        number = plain.exact(number)
    if not isinstance(number, Decimal):
        return str(number)
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _count(expected: Any) -> int:
    """Count the single figures in an expected result."""
    if isinstance(expected, dict):
        expected = list(expected.values())
    return sum(map(_count, expected)) if isinstance(expected, list | tuple) else 1


if __name__ == "__main__":
    sys.exit(main())
