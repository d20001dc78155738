"""What the simulator made beside what was stored: every trade, every candle, and what the gaps admit.

The candles of the truth are made by the plain computation of `tests.acceptance.recorded`, from the file the
simulator writes as it trades.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from collector.store.read import GapRow, Reader, TradeRow
from tests.acceptance.recorded import compare, plain
from tests.acceptance.recorded.plain import MINUTE_MS, PlainTrade


class TruthFile:
    """Follows the file as it grows."""

    def __init__(self, path: Path) -> None:
        self.trades: list[PlainTrade] = []
        self._path = path
        self._offset = 0

    def read(self) -> int:
        """Take in the lines that came since the last look; return how many trades there are."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self.trades.append(_trade(json.loads(line)))
        return len(self.trades)

    def by_minute(self) -> dict[tuple[str, int], list[PlainTrade]]:
        """Return the trades by (market, open of the minute), each in the order of the exchange."""
        found: dict[tuple[str, int], list[PlainTrade]] = defaultdict(list)
        for trade in sorted(self.trades, key=lambda t: (t.ms, t.rank)):
            found[trade.market, trade.ms // MINUTE_MS * MINUTE_MS].append(trade)
        return found


@dataclass
class Verdict:
    """What a comparison found."""

    sent: int = 0
    lost: int = 0
    doubled: int = 0
    #: Lost trades in minutes whose candle is marked incomplete by a gap.
    admitted: int = 0
    #: Candles that are not exact, and say so.
    incomplete: int = 0
    #: Everything that is neither exact nor admitted, in words.
    wrong: list[str] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)

    @property
    def open_trade_gaps(self) -> list[GapRow]:
        """The stretches in which trades are said to be missing."""
        return [gap for gap in self.gaps if gap.channel == "trade" and not gap.recovered]


def compare_all(truth: TruthFile, reader: Reader, since_ms: int) -> Verdict:
    """Compare every minute from `since_ms` on; an earlier one may be missing, but not pretend to be whole."""
    verdict = Verdict()
    markets = set(reader.markets())
    by_minute = truth.by_minute()
    for market in sorted({market for market, _ in by_minute} | markets):
        minutes = {open_ms: trades for (name, open_ms), trades in by_minute.items() if name == market}
        _compare_market(verdict, market, minutes, reader if market in markets else None, since_ms)
    verdict.gaps = reader.gaps()
    return verdict


def _compare_market(
    verdict: Verdict, market: str, minutes: dict[int, list[PlainTrade]], reader: Reader | None, since_ms: int
) -> None:
    stored = {candle.open_ms: candle for candle in reader.candles(market)} if reader else {}
    kept: dict[int, list[TradeRow]] = defaultdict(list)
    for row in reader.trades(market) if reader else ():
        kept[row.exchange_ms // MINUTE_MS * MINUTE_MS].append(row)
    gaps = [gap for gap in reader.gaps(market) if gap.channel == "trade"] if reader else []
    for open_ms in sorted(minutes.keys() | stored.keys()):
        true = minutes.get(open_ms, [])
        candle = stored.get(open_ms)
        (expected,) = plain.candles(true, 1) if true else ({"trade_count": 0},)
        equal = candle is not None and compare.picked(candle, expected) == expected
        equal = equal and _executions(kept[open_ms]) == Counter(_key(t) for t in true)
        claims = candle.complete if candle is not None else not _is_admitted(gaps, open_ms)
        if open_ms < since_ms:
            if candle is not None and claims and not equal:
                verdict.wrong.append(f"{market} {open_ms}: part of a minute before our time, called complete")
            continue
        count = candle.trade_count if candle is not None else 0
        verdict.sent += len(true)
        verdict.lost += max(len(true) - count, 0)
        verdict.doubled += max(count - len(true), 0)
        if equal and claims:
            continue
        if not claims and count <= len(true):
            verdict.admitted += len(true) - count
            verdict.incomplete += not equal
        else:
            verdict.wrong.append(
                f"{market} {open_ms}: {candle} should be {expected}{_differences(kept[open_ms], true)}"
            )


def _is_admitted(gaps: list[GapRow], open_ms: int) -> bool:
    last_ms = open_ms + MINUTE_MS - 1
    return any(not gap.recovered and gap.from_ms <= last_ms and gap.to_ms >= open_ms for gap in gaps)


def _executions(rows: list[TradeRow]) -> Counter[tuple[int, Decimal, Decimal, str]]:
    return Counter((row.exchange_ms, row.price, row.volume, str(row.side)) for row in rows)


def _differences(rows: list[TradeRow], true: list[PlainTrade]) -> str:
    """Return which executions are missing or too many, the first and the last, in words."""
    stored, made = _executions(rows), Counter(_key(trade) for trade in true)
    found = ""
    for words, difference in (("missing", made - stored), ("too many", stored - made)):
        if difference:
            first, last = min(difference), max(difference)
            found += f"; {difference.total()} {words}, from {first} to {last}"
    return found


def _key(trade: PlainTrade) -> tuple[int, Decimal, Decimal, str]:
    return trade.ms, trade.price, trade.volume, trade.side


def _trade(line: dict[str, str | int]) -> PlainTrade:
    return PlainTrade(
        str(line["market"]),
        int(line["exchange_ms"]),
        int(line["id"]),
        Decimal(line["price"]),
        Decimal(line["volume"]),
        str(line["side"]),
        int(line["id"]),
    )
