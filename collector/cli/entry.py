"""The `collector` command: arguments in, at most one line of error out, and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Each command lives in `collector.cli` and
is imported when it runs, so that `--help` is quick.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from collector import __version__, settings
from collector.cli import alerting, history, reading
from collector.cli.group import Group
from collector.errors import CollectorError, ConfigurationError
from collector.host import logs

app = typer.Typer(
    name="collector",
    help="Bithumb market data: every trade counted exactly once, every loss reported as a gap.",
    cls=Group,
    epilog="Example: collector demo, then collector show candles KRW-BTC; each command has a --help.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130

Markets = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated markets, `*` allowed; default COLLECTOR_MARKETS.", autocompletion=reading.known
    ),
]
Channels = Annotated[
    str | None, typer.Option(help="Comma-separated ticker, orderbook, trade; default COLLECTOR_CHANNELS.")
]
Flower = Annotated[
    bool, typer.Option("--flower", help="Start Flower, the web view of the workers, on loopback.")
]
FlowerPort = Annotated[int, typer.Option(min=1, max=65_535, help="The port Flower listens on.")]
Serve = Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the page, the API and live events.")]
Faults = Annotated[str, typer.Option(help="Faults to inject, for instance `cut@10s/5s,garbage:0.01`.")]


def _load(**overrides: str | None) -> settings.Settings:
    """Read the settings, command-line choices before the environment."""
    for name, value in overrides.items():
        if value == "":  # for instance an unset shell variable; it must not mean all markets
            raise ConfigurationError(f"--{name} is empty: name some, or leave the option out")
        if value is not None:
            os.environ[f"{settings.PREFIX}{name.upper()}"] = value
    loaded = settings.current()
    logs.set_up(loaded.log, loaded.zone)
    return loaded


@app.command(epilog="Example: REDIS_URL=redis://127.0.0.1:6379/0 collector run --markets KRW-BTC,KRW-ETH")
def run(markets: Markets = None, channels: Channels = None) -> None:
    """Run the listener alone. It needs REDIS_URL, or a running `collector up`."""
    from collector.cli import run as command

    raise typer.Exit(command.run(_load(markets=markets, channels=channels)))


@app.command(epilog="Example: collector up --markets 'KRW-*' --workers 2 --flower")
def up(
    markets: Markets = None,
    channels: Channels = None,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Ingest workers.")] = 1,
    flower: Flower = False,
    flower_port: FlowerPort = 5555,
    serve: Serve = True,
) -> None:
    """Run Redis, workers and listener on one machine until Ctrl-C."""
    from collector.cli import up as command

    loaded = _load(markets=markets, channels=channels)
    port = flower_port if flower else None
    raise typer.Exit(command.up(loaded, workers=workers, flower_port=port, serve=serve))


@app.command(epilog="Example: collector demo --seconds 60 --rate 200 --faults 'cut@10s/10s'")
def demo(
    seconds: Annotated[float, typer.Option(min=5, max=86_400, help="Duration in seconds.")] = 30,
    rate: Annotated[float, typer.Option(min=1, max=20_000, help="Trades per second over all markets.")] = 100,
    faults: Faults = "",
    workers: Annotated[int, typer.Option(min=1, max=32, help="Ingest workers.")] = 1,
    flower: Flower = False,
    flower_port: FlowerPort = 5555,
    serve: Serve = True,
    as_json: reading.Json = False,
) -> None:
    """Run the whole system against a simulated exchange.

    At the end it compares the counted trades with those that the exchange made.
    """
    from collector.cli import demo as command

    raise typer.Exit(
        command.demo(
            _load(),
            seconds=seconds,
            rate=rate,
            faults=faults,
            workers=workers,
            flower_port=flower_port if flower else None,
            serve=serve,
            as_json=as_json,
        )
    )


@app.command(
    epilog=(
        "Faults: cut, close, error, list, delist, ahead, stall, silent-channel, unlist, halt, "
        "maintenance, reject429, reject503, accept-close, rest429, rest503, rest-limit, garbage, "
        "duplicate, shuffle, lose, leave-out, vanish, cut-every. Rules: rest-lag, rest-ids, cursor, "
        "midnight, limit, first-day, snapshot-trades, totals, totals-decimals, kst, candle-volumes. "
        "What they mean: docs/simulator.md.\n\n"
        "Example: collector simulate --port 8765 --markets 50 --rate 200 --truth truth.jsonl"
    )
)
def simulate(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 selects a free one.")
    ] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    markets: Annotated[int, typer.Option(min=1, max=2_000, help="Number of markets.")] = 20,
    rate: Annotated[float, typer.Option(min=0, help="Trades per second over all markets.")] = 50,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed makes the same trades.")] = 1,
    recording: Annotated[Path | None, typer.Option(help="Recording to play instead.")] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="Speed of the recording: 1 as recorded, 0 as fast as possible.")
    ] = 1,
    faults: Faults = "",
    rules: Annotated[
        str,
        typer.Option(help="Unconfirmed properties of the exchange: `rest-lag=15s,rest-ids=shared`."),
    ] = "",
    truth: Annotated[Path | None, typer.Option(help="File for every trade made, as JSON lines.")] = None,
    stop_after: Annotated[
        int | None, typer.Option(min=0, help="Make no more trades after this number.")
    ] = None,
) -> None:
    """Run a local, simulated Bithumb.

    WebSocket at /websocket/v1 and /pub/ws, REST at /v1/… on one port.
    """
    from collector.cli import simulate as command

    logs.set_up(settings.LogSettings())
    raise typer.Exit(
        command.simulate(
            host=host,
            port=port,
            markets=markets,
            rate=rate,
            seed=seed,
            recording=recording,
            speed=speed,
            faults=faults,
            rules=rules,
            truth=truth,
            stop_trading_after=stop_after,
        )
    )


@app.command(epilog="Example: collector record session.zst --markets KRW-BTC --seconds 60")
def record(
    file: Annotated[Path, typer.Argument(help="File to write; with --rotate-… the index of several files.")],
    markets: Markets = None,
    channels: Channels = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Duration in seconds; default: until Ctrl-C.")
    ] = None,
    rotate_mb: Annotated[
        float | None, typer.Option(min=0.001, help="Begin a new file after this number of MB.")
    ] = None,
    rotate_s: Annotated[
        float | None, typer.Option(min=1, help="Begin a new file after this number of seconds.")
    ] = None,
    as_json: reading.Json = False,
) -> None:
    """Record a raw session of the exchange to a file. It is compressed; several files have an index."""
    from collector.cli import record as command
    from collector.recording import Limits

    limits = Limits(None if rotate_mb is None else int(rotate_mb * 1_000_000), rotate_s)
    loaded = _load(markets=markets, channels=channels)
    raise typer.Exit(command.record(loaded, file, seconds, limits, as_json=as_json))


@app.command(epilog="Example: collector replay session.zst --speed 10 --from 2026-09-21T09:00")
def replay(
    file: Annotated[Path, typer.Argument(help="A recording, the index of one, or a capture of cryptofeed.")],
    speed: Annotated[float, typer.Option(min=0, help="1 as recorded, 0 as fast as possible.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Workers to start, if none is running.")] = 1,
    from_: reading.From = None,
    to: reading.To = None,
    as_json: reading.Json = False,
    serve: Annotated[bool, typer.Option("--serve", help="Show it on the page, until Ctrl-C.")] = False,
) -> None:
    """Send a recorded session through the whole pipeline."""
    from collector.cli import replay as command

    loaded = _load()
    stretch = reading.span_of(loaded, from_, to)
    raise typer.Exit(
        command.replay(
            loaded, file, speed=speed, workers=workers, stretch=stretch, as_json=as_json, serve=serve
        )
    )


@app.command(epilog="Example: collector metrics --port 9464")
def metrics(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 selects a free one.")
    ] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve /metrics, /healthz and /readyz of the whole system.

    It needs REDIS_URL, or a running `collector up`.
    """
    from collector.cli import exporter as command

    raise typer.Exit(command.serve(_load(), host=host, port=port))


@app.command(epilog="Example: collector serve --port 8000")
def serve(
    host: Annotated[str | None, typer.Option(help="Address; any but loopback needs a token.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 = a free one.")] = None,
    token: Annotated[str | None, typer.Option(help="What clients have to show.")] = None,
) -> None:
    """Serve the page, the API and live events on loopback.

    It needs REDIS_URL, or a running `collector up`. Options replace settings COLLECTOR_SERVE__…; a token is
    better set there: other users of the machine can see options.
    """
    from collector.cli import serve as command

    raise typer.Exit(command.serve(_load(), host=host, port=port, token=token))


@app.command(epilog="Example: collector stream trade,candle.1m KRW-BTC | head")
def stream(
    channels: Annotated[
        str, typer.Argument(help="trade, ticker, orderbook, candle.1m … candle.1d, gap, health.")
    ],
    markets: Annotated[str, typer.Argument(help="Names and patterns, comma-separated; all without.")] = "",
    start: Annotated[str, typer.Option(help="now, earliest, the id of an event, or a time.")] = "now",
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
) -> None:
    """Print live events, one JSON object a line.

    It needs REDIS_URL, or a running `collector up`.
    """
    from collector.cli import stream as command

    raise typer.Exit(command.stream(_load(), channels, markets, start, limit))


app.add_typer(reading.app)
app.add_typer(history.app)
app.add_typer(alerting.app, name="alert")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"collector {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; user errors are one line without a stack trace."""
    signal.signal(signal.SIGTERM, _interrupt)
    command = typer.main.get_command(app)
    try:
        code = command(prog_name=app.info.name, standalone_mode=False)
    except CollectorError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's usage errors, whichever click typer carries
            raise
        _fail(f"{error.format_message()} (see `{_place(error)} --help`)", ConfigurationError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _place(error: Exception) -> str:
    """Return the command that a usage error is about."""
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "collector"


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - what `signal` calls with
    """End as Ctrl-C does, cleaning up; for what has no handler of its own."""
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> None:
    if message:  # else one of our processes has printed it already
        print(f"collector: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
