"""What is proven: a verdict in one line, and a line for each market."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from collector.analytics.proof import Completeness, Proof
from collector.cli.render import values
from collector.cli.render.moments import moments
from collector.cli.render.results import RISE, VERDICTS, WARN
from collector.cli.render.table import Column, RenderedTable

#: Markets named in a verdict.
_NAMED = 3


def completeness(rows: Sequence[Completeness]) -> Iterator[RenderableType]:
    """Yield the verdict on all markets, and a table of them."""
    yield verdict(rows)
    yield _sheet("", rows)


def lacking(rows: Sequence[Completeness], limit: int) -> Iterator[RenderableType]:
    """Yield the verdict on all markets, and a table of up to `limit` of those that it does not cover."""
    yield verdict(rows)
    few = [row for row in rows if not is_whole(row)] or (rows if len(rows) <= limit else [])
    if few:
        title = "" if len(few) == len(rows) else f"{len(few):,} of {len(rows):,} markets (--all)"
        more = f"the first {limit}; --limit shows more" if len(few) > limit else ""
        yield _sheet(title, few[:limit], more)


def verdict(rows: Sequence[Completeness]) -> Text:
    """Return one line on all markets: what is proven until when, or what is not."""
    flawed = [row for row in rows if not is_whole(row)]
    if not flawed:
        until = values.second(min(row.proven_until_ms or 0 for row in rows))
        return Text(f"Every trade of {_counted(rows)} is proven until {until} {values.zone_name()}.", RISE)
    open_gaps = sum(row.open_gaps for row in rows)
    differing = [row for row in rows if row.verified is False]
    if open_gaps:
        what = f"trades may be missing ({open_gaps:,} open gap{'s' * (open_gaps != 1)})"
    elif differing:
        what = "the exchange's figures differ"
    else:
        what = "not everything has been compared with the exchange's figures"
    of = "" if len(rows) == 1 else f"{len(flawed):,} of {len(rows):,} markets ({_names(flawed)}): "
    return Text(f"{of or f'{rows[0].market}: '}{what}.", WARN)


def is_whole(row: Completeness) -> bool:
    """Whether nothing of a market is open, differs, or was left out before what is proven."""
    is_flawed = row.open_gaps or row.unproven_minutes or row.verified is False
    return row.proven_until_ms is not None and not is_flawed


def sentence(proof: Proof) -> Text:
    """Return one line on all that is collected."""
    parts = ["nothing is proven yet"]
    if proof.proven_until_ms is not None:
        parts = [f"proven until {values.second(proof.proven_until_ms)} {values.zone_name()}"]
    parts += [f"{proof.unproven_markets:,} markets not compared yet"] if proof.unproven_markets else []
    parts += [
        f"no data of {outage.markets:,} markets since {values.second(outage.since_ms)} ({outage.reason})"
        for outage in proof.outages
    ]
    if proof.waiting_since_ms is not None:
        parts.append(f"trades since {values.second(proof.waiting_since_ms)} wait to be stored")
    parts.append(f"{proof.open_gaps:,} open gaps")
    parts.append(f"{proof.recovered_gaps:,} recovered, which brought {proof.recovered_trades:,} trades")
    is_bad = proof.open_gaps or proof.outages or proof.waiting_since_ms is not None
    text = "; ".join(parts)
    return Text(f"{text[0].upper()}{text[1:]}.", WARN if is_bad else "")


def _sheet(title: str, rows: Sequence[Completeness], more: str = "") -> RenderedTable:
    return RenderedTable(
        title,
        (
            Column("market", [row.market for row in rows], right=False),
            moments("proven until", [row.proven_until_ms for row in rows]),
            Column("not proven", [values.count(row.unproven_minutes) for row in rows]),
            Column("open gaps", [values.count(row.open_gaps) for row in rows]),
            Column("recovered", [values.count(row.recovered_trades) for row in rows], rank=1),
            Column("verified", [VERDICTS[row.verified] for row in rows], False),
        ),
        "; ".join(filter(None, ("not proven: minutes of the last 24 h; recovered: trades", more))),
    )


def _counted(rows: Sequence[Completeness]) -> str:
    return rows[0].market if len(rows) == 1 else f"{len(rows):,} markets"


def _names(rows: Sequence[Completeness]) -> str:
    names = [row.market for row in rows[:_NAMED]]
    return ", ".join(names) + (" …" if len(rows) > _NAMED else "")
