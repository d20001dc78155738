"""`collector demo`: the whole system against a simulated exchange, and what it counted beside what was made.

The simulator writes down every trade it makes. At the end each of them must have been counted exactly once;
if not, the exit code is 1.
"""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collector.analytics.exact import EXACT
from collector.cli.program import near, program, typed
from collector.cli.render import output
from collector.cli.render.demo import DemoEnd, MarketEnd, demo_end
from collector.cli.run import INTERRUPTED
from collector.cli.serve import page_url
from collector.cli.store import check_room, open_running
from collector.cli.up import DEMO_MARK, all_roles, clear_demo, page_port
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host.redis_client import connect
from collector.host.services import log_dir, simulator_role
from collector.host.supervisor import Supervisor
from collector.model import MINUTE_MS
from collector.settings import Settings
from collector.simulator.faults import parse_faults
from collector.store.read import Health, Reader, to_json

log = logging.getLogger(__name__)

MARKETS = 24
_START_TIMEOUT_S = 20.0
_SETTLE_TIMEOUT_S = 20.0
_LOOK_S = 0.5


class _TrueTrade(msgspec.Struct):
    market: str
    price: Decimal
    volume: Decimal
    exchange_ms: int


@dataclass(slots=True)
class Tally:
    """Trades, base and quote volume of a market."""

    trades: int = 0
    base: Decimal = Decimal(0)
    quote: Decimal = Decimal(0)


@dataclass(slots=True)
class Truth:
    """What the simulator made, read from its ground-truth file as it grows."""

    path: Path
    by_market: dict[str, Tally] = field(default_factory=dict)
    trades: int = 0
    _offset: int = 0

    def read(self) -> None:
        """Read the lines that came since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._add(msgspec.json.decode(line, type=_TrueTrade))

    def _add(self, trade: _TrueTrade) -> None:
        tally = self.by_market.setdefault(trade.market, Tally())
        tally.trades += 1
        tally.base = EXACT.add(tally.base, trade.volume)
        tally.quote = EXACT.add(tally.quote, EXACT.multiply(trade.price, trade.volume))
        self.trades += 1


def demo(
    settings: Settings,
    *,
    seconds: float,
    rate: float,
    faults: str,
    workers: int,
    flower_port: int | None,
    serve: bool = True,
    as_json: bool = False,
) -> int:
    """Run for about `seconds`, then compare; return the exit code. With `as_json` only the end is on stdout.

    Raises:
        ConfigurationError: unknown faults; a folder that can't be written, or where a demo is running;
            a Redis that holds results already.
        BrokerUnavailable: the Redis of `REDIS_URL` refuses or does not answer.
    """
    parse_faults(faults)
    _check_redis(settings)
    clear_demo(settings.data_dir)
    settings = _own_folder(settings)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / DEMO_MARK).touch()
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {settings.data_dir} can't be written ({error.strerror}): set COLLECTOR_DATA_DIR"
        ) from error
    port = page_port(settings) if serve else None
    demonstration = _Demo(settings, seconds, rate, faults, as_json=as_json)
    return asyncio.run(demonstration.run(workers, flower_port, port))


def _check_redis(settings: Settings) -> None:
    """Keep simulated data away from real data in a Redis that is not ours alone."""
    url = settings.redis_url.get_secret_value()
    if not url:
        return
    with open_running(settings) as client:
        check_room(client, url)
        if Reader(client, settings).markets():
            raise ConfigurationError(
                "the Redis of REDIS_URL holds results already, and simulated trades would mix with them: "
                "unset REDIS_URL for a demo on a private server"
            )


def _own_folder(settings: Settings) -> Settings:
    """Keep simulated data away from real data: a folder in use gets a sub-folder."""
    if not (settings.data_dir / "redis").exists():
        return settings
    folder = settings.data_dir / "demo"
    print(f"{settings.data_dir} holds real data; the demo uses COLLECTOR_DATA_DIR={folder}", file=sys.stderr)
    clear_demo(folder)
    return settings.model_copy(update={"data_dir": folder})


class _Demo:
    def __init__(
        self, settings: Settings, seconds: float, rate: float, faults: str, *, as_json: bool
    ) -> None:
        port = _free_port()
        exchange = settings.exchange.model_copy(
            update={
                "websocket_url": f"ws://127.0.0.1:{port}/websocket/v1",
                "rest_url": f"http://127.0.0.1:{port}",
            }
        )
        self._settings = settings.model_copy(update={"exchange": exchange, "markets": ("*",)})
        self._seconds = seconds
        self._trades_planned = round(seconds * rate)
        self._truth = Truth(settings.data_dir / "truth.jsonl")
        self._truth.path.unlink(missing_ok=True)
        self._simulator = (
            *("--port", str(port), "--markets", str(MARKETS), "--rate", str(rate)),
            *("--truth", str(self._truth.path), "--stop-after", str(self._trades_planned)),
            *(("--faults", faults) if faults else ()),
        )
        self._as_json = as_json
        self._console = Console(stderr=as_json, highlight=False)

    async def run(self, workers: int, flower_port: int | None, serve_port: int | None) -> int:
        with all_roles(self._settings, workers=workers, flower_port=flower_port, serve_port=serve_port) as (
            roles,
            url,
        ):
            roles = [replace(role, log=True) for role in roles]  # the terminal is for the live status
            roles.append(simulator_role(sys.executable, self._simulator, {}))
            supervisor = Supervisor(roles, log_dir(self._settings))
            self._greet(flower_port, serve_port)
            client = connect(url, self._settings)
            reader = Reader(client, self._settings)
            running = asyncio.create_task(supervisor.run())
            try:
                await self._watch(reader, running)
                if running.done():
                    running.result()
                    return INTERRUPTED
                return await asyncio.to_thread(self._close, reader)
            finally:
                supervisor.stop()
                await running
                await asyncio.to_thread(client.close)

    def _greet(self, flower_port: int | None, serve_port: int | None) -> None:
        self._console.print(
            f"A simulated Bithumb: {MARKETS} markets, {self._trades_planned:,} trades "
            f"in about {self._seconds:g} s."
        )
        self._console.print(f"Logs: {near(log_dir(self._settings))}", soft_wrap=True)
        if serve_port:
            self._console.print(f"serving {page_url(self._settings.serve.host, serve_port)}")
        if flower_port:
            self._console.print(f"Flower: http://127.0.0.1:{flower_port}")

    async def _watch(self, reader: Reader, running: asyncio.Task[bool]) -> None:
        """Show the state until every trade is made and counted, or the time for that is over."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S + self._seconds * 1.5 + _SETTLE_TIMEOUT_S
        is_terminal = self._console.is_terminal
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            said_s = 0.0
            while time.monotonic() < deadline_s and not running.done():
                await asyncio.sleep(_LOOK_S)
                health = await asyncio.to_thread(self._look, reader)
                if health is None:
                    continue
                if is_terminal:
                    live.update(self._status(health), refresh=True)
                elif time.monotonic() - said_s >= 5:
                    said_s = time.monotonic()
                    print(self._line(health), file=self._console.file, flush=True)
                if self._is_settled(health):
                    return

    def _look(self, reader: Reader) -> Health | None:
        self._truth.read()
        try:
            return reader.health()
        except BrokerUnavailable:
            return None  # Redis is starting or stopping

    def _is_settled(self, health: Health) -> bool:
        done = self._truth.trades >= self._trades_planned
        counted = health.counters.get("trades_counted", 0) >= self._truth.trades
        return done and counted and not any(health.queues.values())

    def _line(self, health: Health) -> str:
        listener = health.listeners[0] if health.listeners else None
        counted = health.counters.get("trades_counted", 0)
        state = f"{listener['state']}, mode {listener['mode']}" if listener else "starting"
        return f"{self._truth.trades:>8,} trades made {counted:>8,} counted  listener {state}"

    def _status(self, health: Health) -> Table:
        table = Table.grid(padding=(0, 3))
        counted = health.counters.get("trades_counted", 0)
        table.add_row("trades made / counted", f"{self._truth.trades:,} / {counted:,}")
        for listener in health.listeners:
            table.add_row("sockets", ", ".join(c["state"] for c in listener["connections"]))
            table.add_row("frames/s, mode", f"{listener['frames_per_s']:,.0f}, {listener['mode']}")
            table.add_row("lag", _lag(listener))
        table.add_row("queues", ", ".join(f"{name} {length}" for name, length in health.queues.items()))
        table.add_row("workers", str(len(health.workers)))
        return table

    def _close(self, reader: Reader) -> int:
        """Print the closing report; 0 if every trade was counted exactly once."""
        self._truth.read()
        counted = {market: _counted(reader, market) for market in self._truth.by_market}
        end = self._end(reader, counted)
        print_parts(self._console, demo_end(end))
        if self._as_json:
            output.write(to_json(_figures(end, counted)))
        return 1 if end.wrong else 0

    def _end(self, reader: Reader, counted: Mapping[str, Tally]) -> DemoEnd:
        health = reader.health()
        spreads = {book.market: book.spread_bps for book in reader.books()}
        sockets = [socket for listener in health.listeners for socket in listener["connections"]]
        rows = [
            MarketEnd(
                market=market,
                made=true.trades,
                counted=counted[market].trades,
                base_volume=counted[market].base,
                vwap=counted[market].quote / counted[market].base if counted[market].base else None,
                spread_bps=spreads.get(market),
                is_exact=counted[market] == true,
            )
            for market, true in sorted(self._truth.by_market.items())
        ]
        return DemoEnd(
            markets=rows,
            counters=health.counters,
            sockets=self._settings.redundancy,
            lag=_lag(health.listeners[0]) if health.listeners else "-",
            was_cut=any(socket["losses"] for socket in sockets),
            next_commands={
                "its candles": typed(self._settings, "show candles KRW-BTC"),
                "a picture": typed(self._settings, "chart KRW-BTC"),
                "the live exchange": f"{program()} up",
            },
        )


def print_parts(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print parts with an empty line before each; lines to be copied run over the edge unbroken."""
    for part in parts:
        console.print()
        console.print(part, soft_wrap=isinstance(part, Text))


def _figures(end: DemoEnd, counted: Mapping[str, Tally]) -> dict[str, object]:
    """Return what was made and what was counted, of each market and of all."""
    markets = [
        {
            "market": row.market,
            "made": row.made,
            "counted": row.counted,
            "base_volume": row.base_volume,
            "quote_volume": counted[row.market].quote,
            "exact": row.is_exact,
        }
        for row in end.markets
    ]
    return {
        "made": end.made,
        "counted": sum(row.counted for row in end.markets),
        "exact": not end.wrong,
        "markets": markets,
        "lost": end.lost,
        "doubled": end.doubled,
    }


def _lag(listener: Mapping[str, Any]) -> str:
    if listener["lag_ms_p50"] is None:  # nothing has come yet
        return "-"
    return f"p50 {listener['lag_ms_p50']} ms, p99 {listener['lag_ms_p99']} ms"


def _counted(reader: Reader, market: str) -> Tally:
    tally = Tally()
    for candle in reader.candles(market, limit=24 * 60):
        assert candle.open_ms % MINUTE_MS == 0  # noqa: S101 - one-minute candles start on the minute
        tally.trades += candle.trade_count
        tally.base = EXACT.add(tally.base, candle.base_volume)
        tally.quote = EXACT.add(tally.quote, candle.quote_volume)
    return tally


def _free_port() -> int:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigurationError(f"no free port on loopback: {error}") from error
