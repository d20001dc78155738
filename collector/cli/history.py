"""Arguments of the commands that look back: query, export, audit, backfill.

Each imports what it does when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from collector import settings
from collector.cli.group import Group
from collector.cli.reading import From, Json, OneMarket, Some, To, span_of
from collector.clock import SystemClock
from collector.errors import ConfigurationError
from collector.host import logs

app = typer.Typer()

KINDS = ("trades", "candles")


def _load() -> settings.Settings:
    loaded = settings.current()
    logs.set_up(loaded.log, loaded.zone)
    return loaded


@app.command(
    epilog="Example: collector query \"select market, sum(volume) from trades where side = 'buy' group by 1\""
)
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over trades, candles, tickers, books, gaps.")],
    as_json: Json = False,
    rows: Annotated[int, typer.Option(min=1, help="Most rows of a table; --json prints all.")] = 200,
    vertical: Annotated[
        bool, typer.Option("--vertical", help="Print each row as a record with all columns.")
    ] = False,
) -> None:
    """Query the archive and the newer data in Redis with SQL.

    The engine is DuckDB. Queries are read-only.
    """
    from collector.cli import query as command

    raise typer.Exit(command.query(_load(), sql, as_json=as_json, rows_max=rows, vertical=vertical))


@app.command(epilog="Example: collector export trades KRW-BTC --out btc.parquet --from 2026-09-21")
def export(
    kind: Annotated[
        str, typer.Argument(help=f"One of {', '.join(KINDS)}.", autocompletion=lambda: list(KINDS))
    ],
    market: Some,
    out: Annotated[Path, typer.Option(help="A .csv, .parquet or .jsonl file; with --for also a folder.")],
    from_: From = None,
    to: To = None,
    interval: Annotated[str, typer.Option(help="Of candles: 1m 3m 5m 15m 30m 1h 4h 1d.")] = "1m",
    reader: Annotated[
        str | None,
        typer.Option("--for", help="In the form of a library: backtesting, freqtrade, hftbacktest."),
    ] = None,
    fill: Annotated[
        str, typer.Option(help="With --for, intervals without trades: absent, flat or null.")
    ] = "absent",
    as_json: Json = False,
) -> None:
    """Write trades or candles to files."""
    from collector.cli import export as command
    from collector.cli import export_for

    if kind not in KINDS:
        raise ConfigurationError(f"{kind!r} can't be exported: one of {', '.join(KINDS)}")
    loaded = _load()
    span = span_of(loaded, from_, to)
    if reader is not None:
        raise typer.Exit(
            export_for.export_for(
                loaded, reader, kind, market, out, *span, interval=interval, fill=fill, as_json=as_json
            )
        )
    if fill != "absent":
        raise ConfigurationError("--fill goes with --for")
    raise typer.Exit(command.export(loaded, kind, market, out, *span, interval=interval, as_json=as_json))


@app.command(epilog="Example: collector audit --all --date yesterday")
def audit(
    market: OneMarket = None,
    everything: Annotated[bool, typer.Option("--all", help="All collected markets.")] = False,
    date: Annotated[str | None, typer.Option(help="A KST day: 2026-09-21, yesterday.")] = None,
    from_: From = None,
    to: To = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Request a backfill of the differences from the running listener."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare our one-minute candles with the exchange's.

    The exit code is 0 only if every minute equals the exchange's.
    """
    from collector.cli import audit as command

    if date is not None and (from_ is not None or to is not None):
        raise ConfigurationError("give --date, or --from and --to, not both")
    if (market is None) is not everything:
        raise ConfigurationError("give one market, or --all")
    loaded = _load()
    now_ms = SystemClock().now_ms()
    span = command.day_span(date, now_ms) if date is not None else span_of(loaded, from_, to)
    raise typer.Exit(command.audit(loaded, market, *span, as_json=as_json, repair=repair))


backfills = typer.Typer(
    cls=Group,
    help="Fetch history from the exchange into the archive.",
    epilog="Example: collector backfill candles 'KRW-*' --from 2026-11-01",
)
app.add_typer(backfills, name="backfill")


@backfills.command(epilog="Example: collector backfill candles 'KRW-*' --from 2026-11-01")
def candles(
    market: Some,
    from_: Annotated[str, typer.Option("--from", help="Start time, written as for show.")],
    to: To = None,
    interval: Annotated[
        str, typer.Option(help="One of 1m 3m 5m 10m 15m 30m 1h 4h 1d; 1m completes `candles`.")
    ] = "1m",
    as_json: Json = False,
) -> None:
    """Fetch the exchange's own candles.

    Our own candles are never overwritten. What has been fetched is not fetched again.
    """
    from collector.cli import backfill as command

    loaded = _load()
    from_ms, to_ms = span_of(loaded, from_, to)
    assert from_ms is not None  # noqa: S101 - --from is given
    raise typer.Exit(command.candles(loaded, market, from_ms, to_ms, interval=interval, as_json=as_json))


@backfills.command(epilog="Example: collector backfill trades btc,eth --from -3d")
def trades(
    market: Some,
    from_: Annotated[str, typer.Option("--from", help="Start time, at most 7 days ago.")],
    as_json: Json = False,
) -> None:
    """Fetch trades from before our own data.

    The exchange keeps them for seven days. What is missing later is fetched by the listener.
    """
    from collector.cli import backfill_trades as command

    loaded = _load()
    from_ms, _ = span_of(loaded, from_, None)
    assert from_ms is not None  # noqa: S101 - --from is given
    raise typer.Exit(command.trades(loaded, market, from_ms, as_json=as_json))
