"""Archived rows and rows of Redis into one. Pure.

Everything here is a union by identity, so the archive depends only on the set of events it has received,
not on their order, the number of runs or interruptions.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from msgspec import structs

from collector.analytics.candles import Minute
from collector.analytics.completeness import NO_LOSSES, Losses
from collector.analytics.dedup import SEEN, Row, copy_name
from collector.analytics.minutes import absorb
from collector.analytics.verdicts import Verdicts
from collector.archive.schema import (
    CandleRecord,
    GapRecord,
    Rows,
    Slot,
    TradeRecord,
    candle_record,
    is_complete,
    rows_of,
    trade_records,
)
from collector.model import Source, Trade

#: Losses per market; a market that is not in it lost nothing.
LossesOf = Mapping[str, Losses]
#: What comparisons with the exchange's candles found, as it is stored (`collector.analytics.verdicts`).
VerdictOf = Mapping[Slot, str]


class MinuteUpdate(NamedTuple):
    """What the files of an hour lack of one minute; None where they have it already.

    `trades` are all copies, which replace the archived ones.
    """

    slot: Slot
    trades: list[TradeRecord] | None
    candle: CandleRecord | None


def changed_slots(known: Mapping[Slot, CandleRecord], fresh: Mapping[Slot, Minute]) -> list[Slot]:
    """Return the minutes whose candle in Redis is not the archived one."""
    return [slot for slot, minute in fresh.items() if slot not in known or _differ(known[slot], minute)]


def _differ(known: CandleRecord, fresh: Minute) -> bool:
    """Whether a candle was made of other copies.

    While Redis keeps it, `copies` is sufficient. A minute that expired in Redis and then received late trades
    may have as many copies as the archived one, but other ones.
    """
    return (
        known.copies != fresh.copies
        or known.quote_volume != fresh.quote_volume
        or known.buy_volume != fresh.buy_volume
    )


def merge_minute(
    slot: Slot,
    known: CandleRecord | None,
    before: list[TradeRecord],
    fresh: Minute,
    rows: Rows,
    losses: LossesOf,
    verdicts: VerdictOf,
) -> MinuteUpdate:
    """Return what the files lack of a minute that changed.

    Args:
        slot: which minute of which market.
        known: its archived candle.
        before: its archived copies of trades.
        fresh: its candle in Redis; read before the trades, so that it never knows more than those.
        rows: its trades in Redis.
        losses: what may be missing, by market.
        verdicts: on minutes of Redis, where there are any.
    """
    merged = merge_rows(rows_of(before), rows)
    records = trade_records(slot[0], merged)
    candle = _best(slot, known, fresh, merged, losses, verdicts)
    return MinuteUpdate(slot, None if records == before else records, None if candle == known else candle)


def merge_rows(known: Rows, fresh: Rows) -> Rows:
    """Return the union of two sets of copies, known by millisecond and name; what is known stands."""
    merged: Rows = {}
    for ms in known.keys() | fresh.keys():
        rows: dict[Hashable, Row] = {copy_name(row): row for row in known.get(ms, ())}
        for row in fresh.get(ms, ()):
            kept = rows.setdefault(copy_name(row), row)
            rows[copy_name(row)] = structs.replace(kept, seen=kept.seen | row.seen)
        merged[ms] = list(rows.values())
    return merged


def merge_gaps(known: Iterable[GapRecord], fresh: Iterable[GapRecord]) -> list[GapRecord]:
    """Return the gaps of both: of one gap the widest, of equally wide ones the recovered."""
    best: dict[tuple[str, str, int, str], GapRecord] = {}
    for gap in (*known, *fresh):
        name = gap.market, gap.channel, gap.from_ms, gap.reason
        if name not in best or _rank(gap) > _rank(best[name]):
            best[name] = gap
    return list(best.values())


def _best(
    slot: Slot,
    known: CandleRecord | None,
    fresh: Minute,
    rows: Rows,
    losses: LossesOf,
    verdicts: VerdictOf,
) -> CandleRecord:
    """Return the candle with the most copies: the archived one, that of Redis, or that of all copies.

    Usually that of Redis. Another has more where the minute expired in Redis and then received late trades.
    """
    minute = fresh
    if sum(row.seen.bit_count() for copies in rows.values() for row in copies) > fresh.copies:
        minute = candle_of(slot[0], rows) or fresh
    verified = _verified(slot, minute, verdicts)
    made = candle_record(slot, minute, losses.get(slot[0], NO_LOSSES), verified)
    if known is None or made.copies >= known.copies:
        return made
    return known._replace(complete=made.complete)


def candle_of(market: str, rows: Rows) -> Minute | None:
    """Return the candle of a minute's copies, however they came."""
    return absorb(None, {}, _copies(market, rows)).minute


def _copies(market: str, rows: Rows) -> Iterable[Trade]:
    for ms, copies in rows.items():
        for row in copies:
            for source, bit in SEEN.items():
                if row.seen & bit:
                    yield _trade(market, ms, row, source)


def _trade(market: str, ms: int, row: Row, source: Source) -> Trade:
    return Trade(
        market, row.id, row.price, row.volume, row.side, ms, row.received_ms, row.order, source, row.nth
    )


def judged_again(
    settled: Mapping[Slot, CandleRecord],
    fresh: Mapping[Slot, Minute],
    losses: LossesOf,
    verdicts: VerdictOf,
) -> Iterable[CandleRecord]:
    """Yield candles of unchanged minutes that are judged otherwise now: by a gap, or by a comparison."""
    for slot, candle in settled.items():
        complete = is_complete(candle.open_ms, losses.get(candle.market, NO_LOSSES))
        verified = candle.verified
        minute, verdict = fresh.get(slot), verdicts.get(slot)
        if minute and verdict and verdict.startswith("1") is not verified:
            verified = _verified(slot, minute, verdicts)
        if (complete, verified) != (candle.complete, candle.verified):
            yield candle._replace(complete=complete, verified=verified)


def _verified(slot: Slot, minute: Minute, verdicts: VerdictOf) -> bool | None:
    if slot not in verdicts:
        return None
    return Verdicts({str(slot[1]): verdicts[slot]}).of(slot[1], minute)


def _rank(gap: GapRecord) -> tuple[int, bool]:
    return gap.to_ms, gap.recovered
