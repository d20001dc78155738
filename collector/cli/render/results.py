"""Stored results as tables: one function per `collector show WHAT`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from collector.analytics.candles import Candle
from collector.analytics.change import Change
from collector.analytics.depth import Book
from collector.analytics.market_states import MarketRow, MarketState
from collector.analytics.volume import Volume
from collector.cli.render import values
from collector.cli.render.moments import Unit, moments
from collector.cli.render.table import Column, RenderedTable
from collector.model import Channel, Level, Side
from collector.store.dead_letters import DeadLetter
from collector.store.read import GapRow, TickerRow, TradeRow

RISE, FALL, WARN, QUIET = "green", "red", "yellow", "dim"
SIDES = {Side.BUY: RISE, Side.SELL: FALL}
#: Of a comparison with the exchange's own figures; None is not compared yet.
VERDICTS = {True: "yes", False: "no", None: values.NOTHING}
LADDER_LEVELS = 10
BAR_CELLS = 16


def sign(value: Decimal | None) -> str:
    """Return the style of a signed number."""
    return "" if not value else RISE if value > 0 else FALL


def _way(start: Decimal | None, end: Decimal | None) -> str:
    """Return the style of a price that moved."""
    return "" if start is None or end is None else sign(end - start)


def _marks(word: str, are_marked: Sequence[bool]) -> Column:
    """Return a column without a title that marks rows; on a narrow terminal a star does."""
    return Column(
        "",
        [word if is_marked else "" for is_marked in are_marked],
        False,
        [WARN] * len(are_marked),
        brief=["*" if is_marked else "" for is_marked in are_marked],
    )


def _unit(interval: str, open_ms: int) -> Unit:
    """Return the labels of candles: days, where they begin at midnight of the time zone."""
    is_midnight = f"{values.local(open_ms):%H:%M}" == "00:00"
    return "day" if interval.endswith("d") and is_midnight else "minute"


def tickers(rows: Sequence[TickerRow]) -> RenderedTable:
    """Return the newest price of each market."""
    colours = [sign(row.change_rate) for row in rows]
    return RenderedTable(
        "Tickers",
        (
            Column("market", [row.market for row in rows], right=False),
            Column("price", [values.number(row.price) for row in rows], styles=colours),
            Column("change", [values.percent(row.change_rate) for row in rows], styles=colours),
            Column("price change", [values.number(row.change_price) for row in rows], styles=colours, rank=4),
            Column("high", [values.number(row.high) for row in rows], rank=3),
            Column("low", [values.number(row.low) for row in rows], rank=3),
            Column("volume 24h", values.column((row.base_volume_24h for row in rows), 3), rank=2),
            Column("value 24h", [values.amount(row.quote_volume_24h) for row in rows]),
            moments("time", [row.exchange_ms for row in rows], rank=1),
        ),
        "change against the previous close; value in the quote currency",
    )


def candles(rows: Sequence[Candle]) -> RenderedTable:
    """Return candles, incomplete ones marked."""
    prices = [price for row in rows for price in (row.open, row.high, row.low, row.close)]
    decimals = values.places(prices)
    first = rows[0]

    def priced(title: str, of: Iterable[Decimal | None], more: int = 0, **options: Any) -> Column:  # noqa: ANN401
        return Column(title, [values.fixed(price, decimals + more) for price in of], **options)

    return RenderedTable(
        f"{first.market}, {first.interval} candles",
        (
            moments("time", [row.open_ms for row in rows], _unit(first.interval, first.open_ms)),
            priced("open", (row.open for row in rows)),
            priced("high", (row.high for row in rows)),
            priced("low", (row.low for row in rows)),
            priced("close", (row.close for row in rows), styles=[_way(row.open, row.close) for row in rows]),
            Column("volume", values.column(row.base_volume if row.prices else None for row in rows), rank=1),
            Column("trades", [values.count(row.trade_count) for row in rows], rank=2),
            Column("buy %", [_share(row.buy_volume, row.base_volume) for row in rows], rank=3),
            priced("vwap", (row.vwap for row in rows), more=2, rank=4),
            *_verdicts(rows),
            _marks("incomplete", [not row.complete for row in rows]),
        ),
        _incomplete_note(rows),
    )


def volumes(rows: Sequence[Volume]) -> RenderedTable:
    """Return the traded volume of each window."""
    return RenderedTable(
        f"{rows[0].market}, traded volume",
        (
            Column("window", [row.window for row in rows], right=False),
            Column("volume", values.column(row.base_volume for row in rows)),
            Column("bought", values.column(row.buy_volume for row in rows), rank=1),
            Column("sold", values.column(row.sell_volume for row in rows), rank=1),
            Column("buy %", [_share(row.buy_volume, row.base_volume) for row in rows], rank=3),
            Column("value", values.column((row.quote_volume for row in rows), 2), rank=2),
            Column("vwap", values.column((row.vwap for row in rows), 4)),
            Column("trades", [values.count(row.trade_count) for row in rows]),
            _marks("incomplete", [not row.complete for row in rows]),
        ),
        _noted("windows are whole minutes and end with the newest data", *_window_notes(rows)),
    )


def changes(rows: Sequence[Change]) -> RenderedTable:
    """Return the price change of each window."""
    return RenderedTable(
        f"{rows[0].market}, price changes",
        (
            Column("window", [row.window.replace("_", " ") for row in rows], right=False),
            Column("from", values.column(row.from_price for row in rows)),
            Column("to", values.column(row.to_price for row in rows)),
            Column(
                "change",
                [values.percent(row.change_rate) for row in rows],
                styles=[sign(row.change_rate) for row in rows],
            ),
            _marks("incomplete", [not row.complete for row in rows]),
        ),
        _noted(
            f"{values.NOTHING}: the data begin later" if any(row.change_rate is None for row in rows) else "",
            *_window_notes(rows),
        ),
    )


def trades(rows: Sequence[TradeRow]) -> RenderedTable:
    """Return single executions."""
    return RenderedTable(
        f"{rows[0].market}, trades",
        (
            moments("time", [row.exchange_ms for row in rows], "millisecond"),
            Column("side", [row.side for row in rows], False, [SIDES[row.side] for row in rows]),
            Column("price", values.column(row.price for row in rows)),
            Column("volume", values.column(row.volume for row in rows)),
            Column("value", values.column((row.price * row.volume for row in rows), 0), rank=1),
            Column("id", [str(row.id) for row in rows], rank=2),
        ),
    )


def open_gaps(rows: Sequence[GapRow], limit: int) -> RenderedTable:
    """Return the newest `limit` stretches in which trades are missing; of all other gaps their number.

    Markets that miss the same stretch share a line. A missed ticker or order book can't be fetched again and
    is replaced by the next one.
    """
    trades = [row for row in rows if row.channel is Channel.TRADE]
    still = [row for row in trades if not row.recovered]
    states = len(rows) - len(trades)
    counts = [f"{len(still):,} open", f"{len(trades) - len(still):,} recovered"]
    if states:
        counts.append(f"{states:,} of tickers and books")
    more = " (--all)" if len(rows) > len(still) or len(still) > 1 else ""
    shared = _shared(still)
    note = f"the newest {limit} lines; --limit shows more" if len(shared) > limit else ""
    return _gaps(f"Gaps: {', '.join(counts)}{more}", shared[-limit:], note)


def gaps(rows: Sequence[GapRow]) -> RenderedTable:
    """Return the stretches in which data are or were missing."""
    return _gaps("Gaps", [(row, row.market) for row in rows])


def _shared(rows: Iterable[GapRow]) -> list[tuple[GapRow, str]]:
    """Return gaps alike in all but their market as one, with its market or how many there are."""
    alike: dict[tuple[int, str, str], list[GapRow]] = {}
    for row in rows:
        look = (row.from_ms // 1000, values.duration(row.to_ms - row.from_ms), row.reason)
        alike.setdefault(look, []).append(row)
    return [
        (same[0], same[0].market if len(same) == 1 else f"{len(same):,} markets") for same in alike.values()
    ]


def _gaps(title: str, rows: Sequence[tuple[GapRow, str]], more: str = "") -> RenderedTable:
    if not rows:
        return RenderedTable(title, ())
    touched = "a candle that overlaps an open trade gap is incomplete"
    return RenderedTable(
        title,
        (
            Column("market", [name for _, name in rows], right=False),
            Column("channel", [row.channel for row, _ in rows], right=False),
            moments("from", [row.from_ms for row, _ in rows]),
            Column("length", [values.duration(row.to_ms - row.from_ms) for row, _ in rows]),
            Column("reason", [row.reason for row, _ in rows], right=False),
            Column(
                "",
                ["recovered" if row.recovered else "open" for row, _ in rows],
                False,
                [QUIET if row.recovered else WARN for row, _ in rows],
            ),
        ),
        "; ".join(filter(None, (touched, more))),
    )


def markets(rows: Sequence[MarketRow]) -> RenderedTable:
    """Return the markets ever seen with their states at the exchange."""
    counts = Counter(row.state for row in rows)
    others = [
        f"{counts[state]} {state}"
        for state in MarketState
        if state is not MarketState.ACTIVE and counts[state]
    ]
    return RenderedTable(
        f"{', '.join((f'{len(rows)} markets', *others))}",
        (
            Column("market", [row.market for row in rows], right=False),
            Column("state", [row.state for row in rows], False, [standing(row) for row in rows]),
            Column("warning", [row.warning or "" for row in rows], False, [WARN] * len(rows)),
            Column("delisting date", [row.delisting_date or "" for row in rows], right=False, rank=1),
            moments("last trade", [row.last_trade_ms for row in rows]),
        ),
    )


def standing(row: MarketRow) -> str:
    """Return the style of a market's state."""
    return "" if row.state is MarketState.ACTIVE else QUIET if row.state is MarketState.DELISTED else WARN


def rejected(rows: Sequence[Mapping[str, Any]]) -> RenderedTable:
    """Return messages of the exchange that could not be parsed."""
    return RenderedTable(
        "Rejected messages",
        (
            moments("time", [row["at_ms"] for row in rows]),
            Column("reason", [row["reason"] for row in rows], right=False),
            Column("detail", [" ".join(row["detail"].split()) for row in rows], right=False, wraps=True),
            Column("begins with", [_clipped(row["raw"], 60) for row in rows], right=False, rank=2),
        ),
        "--json prints them in full (the first 500 bytes each)",
    )


def dead_letters(rows: Sequence[DeadLetter]) -> RenderedTable:
    """Return batches that could not be stored."""
    return RenderedTable(
        "Dead letters",
        (
            Column("id", [row.id for row in rows], right=False),
            moments("failed at", [row.failed_ms for row in rows], rank=2),
            Column("queue", [row.queue for row in rows], right=False, rank=1),
            Column("tries", [values.count(row.attempts) for row in rows], rank=3),
            Column("size", [values.size(len(row.body)) for row in rows], rank=4),
            Column("reason", [" ".join(row.reason.split()) for row in rows], right=False, wraps=True),
        ),
        "collector dead-letters retry [ID] sends them again, drop ID deletes one",
    )


def books(rows: Sequence[Book]) -> RenderedTable:
    """Return the best prices of each market, or all levels of one."""
    return ladder(rows[0]) if len(rows) == 1 else _best(rows)


def ladder(book: Book, levels: int = LADDER_LEVELS) -> RenderedTable:
    """Return one book, asks above bids, best prices in the middle."""
    asks, bids = book.asks[:levels], book.bids[:levels]
    rows = [*reversed(asks), *bids]
    colours = [FALL] * len(asks) + [RISE] * len(bids)
    largest = max((size for _, size in rows), default=Decimal(1))
    summary = (
        f"spread {values.number(book.spread)} ({values.fixed(book.spread_bps, 2)} bps), "
        f"mid {values.number(book.mid)}, imbalance {values.fixed(book.imbalance, 3)}, "
        f"{book.changed_levels} levels changed"
    )
    return RenderedTable(
        f"{book.market}, order book at {values.millisecond(book.exchange_ms)} {values.zone_name()}",
        (
            Column("", ["ask"] * len(asks) + ["bid"] * len(bids), False, colours),
            Column("price", values.column(price for price, _ in rows), styles=colours),
            Column("size", values.column(size for _, size in rows)),
            Column("summed", values.column((*reversed(_sums(asks)), *_sums(bids))), rank=1),
            Column("", [_bar(size, largest) for _, size in rows], False, colours, rank=2),
        ),
        summary,
    )


def _best(rows: Sequence[Book]) -> RenderedTable:
    def price(side: Sequence[Level]) -> str:
        return values.number(side[0][0]) if side else values.NOTHING

    return RenderedTable(
        "Order books",
        (
            Column("market", [row.market for row in rows], right=False),
            Column("bid", [price(row.bids) for row in rows], styles=[RISE] * len(rows)),
            Column("ask", [price(row.asks) for row in rows], styles=[FALL] * len(rows)),
            Column("spread bps", values.column((row.spread_bps for row in rows), 2)),
            Column("imbalance", values.column((row.imbalance for row in rows), 3), rank=1),
            Column("bid depth", values.column((row.bid_depth for row in rows), 3), rank=3),
            Column("ask depth", values.column((row.ask_depth for row in rows), 3), rank=3),
            Column("changed", [values.count(row.changed_levels) for row in rows], rank=4),
            moments("time", [row.exchange_ms for row in rows], rank=2),
        ),
        "for one market all levels are shown",
    )


def _share(part: Decimal, whole: Decimal) -> str:
    return f"{part / whole * 100:.0f} %" if whole else values.NOTHING


def _sums(side: Sequence[Level]) -> list[Decimal]:
    sums: list[Decimal] = []
    for _, size in side:
        sums.append(size + (sums[-1] if sums else 0))
    return sums


def _bar(size: Decimal, largest: Decimal) -> str:
    return "▇" * max(1, round(size / largest * BAR_CELLS))


def _clipped(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _incomplete_note(rows: Iterable[Candle | Volume | Change]) -> str:
    """Return what the mark means, where a row has it."""
    if all(row.complete for row in rows):
        return ""
    return "incomplete (*): trades may be missing, see `collector show completeness`"


def _verdicts(rows: Sequence[Candle]) -> list[Column]:
    """Return the column of what comparing with the exchange's candles found, where anything was compared."""
    if all(row.verified is None for row in rows):
        return []
    return [Column("verified", [VERDICTS[row.verified] for row in rows], False, rank=5)]


def _window_notes(rows: Sequence[Volume | Change]) -> Iterator[str]:
    yield _incomplete_note(rows)
    if since_ms := max((row.since_ms or 0 for row in rows), default=0):
        yield f"the data begin at {values.second(since_ms)}"


def _noted(*notes: str) -> str:
    return "; ".join(filter(None, notes))
