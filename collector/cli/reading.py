"""Arguments of the commands that read: show, analyze, chart, top, check, dead-letters.

Like those in `collector.cli`, each imports what it does when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from collector import settings
from collector.cli.group import Group
from collector.clock import SystemClock
from collector.errors import ConfigurationError
from collector.host import logs

if TYPE_CHECKING:
    from collector.util.times import Span

app = typer.Typer()

WHAT = (
    *("ticker", "book", "candles", "volume", "changes", "trades", "gaps"),
    *("completeness", "health", "markets", "rejected"),
)


def known(incomplete: str) -> list[str]:
    """Return the stored markets that complete what was typed."""
    from collector.cli.completion import markets

    return markets(incomplete)


What = Annotated[str, typer.Argument(help=f"One of {', '.join(WHAT)}.", autocompletion=lambda: list(WHAT))]
Market = Annotated[str, typer.Argument(help="A market like KRW-BTC or btc.", autocompletion=known)]
OneMarket = Annotated[str | None, typer.Argument(help="A market like KRW-BTC or btc.", autocompletion=known)]
Some = Annotated[
    str, typer.Argument(metavar="MARKETS", help="Markets like KRW-BTC,eth or KRW-*.", autocompletion=known)
]
AnyMarket = Annotated[
    str | None,
    typer.Argument(metavar="[MARKETS]", help="Markets like KRW-BTC,eth or KRW-*.", autocompletion=known),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs: exact decimals, times in ms.")]
Interval = Annotated[
    str | None,
    typer.Option(help="Candles of 1m 3m 5m 15m 30m 1h 4h 1d; default 1m.", show_default=False),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Start time: 2026-07-31 09:00, 09:00, yesterday, -2h, ISO 8601 or epoch ms; "
        "without an offset in COLLECTOR_TIME_ZONE.",
    ),
]
To = Annotated[str | None, typer.Option("--to", help="End time, written like --from; a day is included.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Number of newest rows of each market.")]
LetterId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The id from `dead-letters list`.")]


def _load() -> settings.Settings:
    loaded = settings.current()
    logs.set_up(loaded.log, loaded.zone)
    return loaded


def span_of(loaded: settings.Settings, from_: str | None, to: str | None) -> "Span":
    """Return the interval of `--from` and `--to`.

    Raises:
        ConfigurationError: not a time, or the end is before the beginning.
    """
    from collector.util.times import parse_span

    return parse_span(from_, to, loaded.zone, SystemClock().now_ms())


def _analyses() -> list[str]:
    """Return the names of the analyses, for completion."""
    from collector.analyses.catalog import names

    return list(names())


@app.command(epilog="Example: collector show candles KRW-BTC --interval 5m --limit 12 --json")
def show(
    what: What,
    market: AnyMarket = None,
    as_json: Json = False,
    interval: Interval = None,
    from_: From = None,
    to: To = None,
    limit: Limit = None,
    all_: Annotated[
        bool, typer.Option("--all", help="For gaps: all of them, including recovered ones.")
    ] = False,
) -> None:
    """Show stored prices, candles, books, gaps, proof or health."""
    from collector.cli import show as command

    loaded = _load()
    from_ms, to_ms = span_of(loaded, from_, to)
    query = command.Query(
        what=what, market=market, interval=interval, from_ms=from_ms, to_ms=to_ms, limit=limit, all=all_
    )
    command.check(query)
    raise typer.Exit(command.show(loaded, query, as_json=as_json))


@app.command(epilog="Example: collector analyze vwap KRW-BTC --window 15m --json")
def analyze(
    name: Annotated[
        str | None, typer.Argument(help="The name of an analysis, from --list.", autocompletion=_analyses)
    ] = None,
    market: AnyMarket = None,
    window: Annotated[
        str | None, typer.Option(help="Window before the newest data: 15m, 4h.", show_default=False)
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="Further parameter, as name=value; see docs/analyses.md.")
    ] = None,
    as_json: Json = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to wait for a worker.")] = 10,
    list_: Annotated[bool, typer.Option("--list", help="List the analyses.")] = False,
    kept: Annotated[
        bool, typer.Option("--kept", help="Show the kept results of COLLECTOR_ANALYSIS__PERIODIC.")
    ] = False,
) -> None:
    """Run an analysis of one, several or all markets in the workers."""
    from collector.cli import analyze as command

    if list_:
        raise typer.Exit(command.list_analyses(as_json=as_json))
    if name is None:
        raise ConfigurationError(
            "`analyze` needs a name and a market: collector analyze vwap KRW-BTC (or --list)"
        )
    if kept:
        raise typer.Exit(command.kept(_load(), name, market, window=window, as_json=as_json))
    raise typer.Exit(
        command.analyze(
            _load(),
            name,
            market,
            window=window,
            arguments=arg or (),
            timeout_s=timeout,
            as_json=as_json,
        )
    )


@app.command(epilog="Example: collector chart KRW-BTC --interval 5m --out btc.png")
def chart(
    market: Market,
    interval: Annotated[str, typer.Option(help="Candle interval: 1m 3m 5m 15m 30m 1h 4h 1d.")] = "1m",
    out: Annotated[
        Path | None, typer.Option(help="A .png, .svg, .pdf or .html file; default MARKET-INTERVAL.png.")
    ] = None,
    from_: From = None,
    to: To = None,
    limit: Limit = None,
    title: Annotated[str, typer.Option(help="Title; default: the market's code.")] = "",
    in_terminal: Annotated[
        bool, typer.Option("--terminal", help="Draw the candles in the terminal, no file.")
    ] = False,
    style: Annotated[
        Literal["west", "kr"], typer.Option(help="With --terminal: rising prices green, or red.")
    ] = "west",
) -> None:
    """Draw a market's candles, volume and book as a picture. Incomplete candles are hatched."""
    from collector.cli import chart as command

    loaded = _load()
    from_ms, to_ms = span_of(loaded, from_, to)
    if in_terminal:
        shown = command.terminal(
            loaded, market, interval=interval, from_ms=from_ms, to_ms=to_ms, limit=limit, style=style
        )
        raise typer.Exit(shown)
    raise typer.Exit(
        command.chart(
            loaded,
            market,
            interval=interval,
            out=out,
            from_ms=from_ms,
            to_ms=to_ms,
            limit=limit,
            title=title,
        )
    )


letters = typer.Typer(
    cls=Group,
    help="List, retry or drop batches that could not be stored.",
    epilog="Example: collector dead-letters list --limit 5",
)
app.add_typer(letters, name="dead-letters")


@letters.command(name="list", epilog="Example: collector dead-letters list --limit 5")
def list_letters(as_json: Json = False, limit: Limit = None) -> None:
    """List the dead letters, oldest first, with their reasons."""
    from collector.cli import dead_letters as command

    raise typer.Exit(command.show(_load(), limit=limit, as_json=as_json))


@letters.command(name="retry", epilog="Example: collector dead-letters retry")
def retry_letters(letter_id: LetterId = None) -> None:
    """Send one dead letter, or all, to the workers again. No trade is counted twice."""
    from collector.cli import dead_letters as command

    raise typer.Exit(command.retry(_load(), letter_id))


@letters.command(name="drop", epilog="Example: collector dead-letters drop --all")
def drop_letters(
    letter_id: LetterId = None, all_: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False
) -> None:
    """Delete one dead letter, or all. Their data are lost."""
    from collector.cli import dead_letters as command

    if (letter_id is None) is not all_:
        raise ConfigurationError("give the id of one dead letter, or --all (`collector dead-letters list`)")
    raise typer.Exit(command.drop(_load(), letter_id))


@app.command(epilog="Example: collector check")
def check(
    as_json: Json = False,
    all_: Annotated[bool, typer.Option("--all", help="Also show the settings at their defaults.")] = False,
) -> None:
    """Test Redis, disk, clock and exchange; show the settings."""
    from collector.cli import check as command

    raise typer.Exit(command.check(_load(), as_json=as_json, show_all=all_))


@app.command(epilog="Example: collector top")
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one view and exit.")] = False,
    theme: Annotated[
        Literal["dark", "light"] | None, typer.Option(help="Instead of what the terminal seems to be.")
    ] = None,
    style: Annotated[
        Literal["west", "kr"] | None,
        typer.Option(help="Rising prices green, or red; kr where the language is Korean."),
    ] = None,
) -> None:
    """Watch what is proven, rates, gaps and every market; `q` exits."""
    from collector.cli import top as command

    raise typer.Exit(command.top(_load(), once=once, theme=theme, style=style))
