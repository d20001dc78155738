"""Arguments of the commands that read: show, analyze, chart, top, check, dead-letters.

Like those in `collector.cli`, each imports what it does when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from collector import logs, settings

app = typer.Typer()

WHAT = ("ticker", "book", "candles", "volume", "changes", "trades", "gaps", "health", "markets", "rejected")

What = Annotated[str, typer.Argument(help=f"One of {', '.join(WHAT)}.", autocompletion=lambda: list(WHAT))]
Market = Annotated[str, typer.Argument(help="A market like KRW-BTC.")]
AnyMarket = Annotated[str | None, typer.Argument(help="A market like KRW-BTC.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs: exact decimals, times in ms.")]
Interval = Annotated[
    str | None, typer.Option(help="Of candles: 1m 3m 5m 15m 30m 1h 4h 1d; default 1m.", show_default=False)
]
From = Annotated[
    str | None, typer.Option("--from", help="Not before: epoch ms, or ISO 8601 (UTC if it names no zone).")
]
To = Annotated[str | None, typer.Option("--to", help="Not after: like --from.")]
Limit = Annotated[int | None, typer.Option(min=1, help="The newest so many.")]
LetterId = Annotated[str | None, typer.Argument(metavar="[ID]", help="As listed.")]


def _load() -> settings.Settings:
    loaded = settings.current()
    logs.set_up(loaded.log)
    return loaded


def _upper(market: str | None) -> str | None:
    return market.upper() if market else None


@app.command(epilog="Example: collector show candles KRW-BTC --interval 5m --limit 12 --json")
def show(
    what: What,
    market: AnyMarket = None,
    as_json: Json = False,
    interval: Interval = None,
    from_: From = None,
    to: To = None,
    limit: Limit = None,
) -> None:
    """Show what was stored: prices, books, candles, volumes, trades, gaps, health."""
    from collector.commands import show as command
    from collector.commands.times import parse_span

    from_ms, to_ms = parse_span(from_, to)
    query = command.Query(
        what=what, market=_upper(market), interval=interval, from_ms=from_ms, to_ms=to_ms, limit=limit
    )
    command.check(query)
    raise typer.Exit(command.show(_load(), query, as_json=as_json))
