"""`collector demo`: the whole system against a simulated exchange, and what it counted beside what was made.

The simulator writes down every trade it makes. At the end each of them must have been counted exactly once;
if not, the exit code is 1.
"""

import asyncio
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from collector.analytics.exact import EXACT
from collector.cli.render import output
from collector.cli.run import INTERRUPTED
from collector.cli.store import check_room, open_running
from collector.cli.up import DEMO_MARK, all_roles, clear_demo
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host.redis_client import connect
from collector.host.roles import log_dir, simulator_role
from collector.host.supervisor import Supervisor
from collector.listener.health import added_up
from collector.model import MINUTE_MS
from collector.settings import Settings
from collector.simulator.faults import parse_faults
from collector.store.read import Health, Reader, to_json

log = logging.getLogger(__name__)

MARKETS = 24
_START_TIMEOUT_S = 20.0
_SETTLE_TIMEOUT_S = 20.0
_LOOK_S = 0.5
_SHOWN = 8


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
    as_json: bool = False,
) -> int:
    """Run for about `seconds`, then compare; return the exit code. With `as_json` only the end is on stdout.

    Raises:
        ConfigurationError: faults nobody knows; a folder that can't be written, or where a demo is running;
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
    return asyncio.run(_Demo(settings, seconds, rate, faults, as_json=as_json).run(workers, flower_port))


def _check_redis(settings: Settings) -> None:
    """Keep invented data away from real data in a Redis that is not ours alone."""
    url = settings.redis_url.get_secret_value()
    if not url:
        return
    with open_running(settings) as client:
        check_room(client, url)
        if Reader(client, settings).markets():
            raise ConfigurationError(
                "the Redis of REDIS_URL holds results already, and invented trades would mix with them: "
                "unset REDIS_URL for a demo on a private server"
            )


def _own_folder(settings: Settings) -> Settings:
    """Keep invented data away from real data: a folder in use gets a sub-folder."""
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
        self._console = Console(stderr=as_json)

    async def run(self, workers: int, flower_port: int | None) -> int:
        with all_roles(self._settings, workers=workers, flower_port=flower_port) as (roles, url):
            roles = [replace(role, log=True) for role in roles]  # the terminal is for the live status
            roles.append(simulator_role(sys.executable, self._simulator, {}))
            supervisor = Supervisor(roles, log_dir(self._settings))
            self._greet(flower_port)
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

    def _greet(self, flower_port: int | None) -> None:
        self._console.print(
            f"A simulated Bithumb for about {self._seconds:g} s: {MARKETS} markets, "
            f"{self._trades_planned:,} trades, order books, tickers."
        )
        self._console.print(f"Logs: {log_dir(self._settings)}", soft_wrap=True)
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
            table.add_row("exchange to us", _lag(listener))
        table.add_row("queues", ", ".join(f"{name} {length}" for name, length in health.queues.items()))
        table.add_row("workers", str(len(health.workers)))
        return table

    def _close(self, reader: Reader) -> int:
        """Print the closing table; 0 if every trade was counted exactly once."""
        self._truth.read()
        health = reader.health()
        counted = {market: _counted(reader, market) for market in self._truth.by_market}
        wrong = {market for market, true in self._truth.by_market.items() if counted[market] != true}
        self._console.print(self._table(reader, counted, wrong))
        self._print_figures(health)
        lost = sum(max(true.trades - counted[m].trades, 0) for m, true in self._truth.by_market.items())
        doubled = sum(max(counted[m].trades - true.trades, 0) for m, true in self._truth.by_market.items())
        verdict = "every trade counted exactly once" if not wrong else f"{len(wrong)} markets differ"
        self._console.print(f"{self._truth.trades:,} trades made, {lost} lost, {doubled} doubled: {verdict}")
        self._console.print("Look closer: collector show candles KRW-BTC")
        if self._as_json:
            output.write(to_json(self._figures(counted, wrong) | {"lost": lost, "doubled": doubled}))
        return 1 if wrong else 0

    def _figures(self, counted: Mapping[str, Tally], wrong: set[str]) -> dict[str, object]:
        """Return what was made and what was counted, of each market and of all."""
        markets = [
            {
                "market": market,
                "made": true.trades,
                "counted": counted[market].trades,
                "base_volume": counted[market].base,
                "quote_volume": counted[market].quote,
                "exact": market not in wrong,
            }
            for market, true in sorted(self._truth.by_market.items())
        ]
        total = sum(tally.trades for tally in counted.values())
        return {"made": self._truth.trades, "counted": total, "exact": not wrong, "markets": markets}

    def _table(self, reader: Reader, counted: Mapping[str, Tally], wrong: set[str]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        for name in ("market", "made", "counted", "base volume", "VWAP", "spread bps", "exact"):
            table.add_column(name, justify="left" if name == "market" else "right", no_wrap=True)
        busiest = sorted(self._truth.by_market.items(), key=lambda it: -it[1].trades)[:_SHOWN]
        for market, true in busiest:
            ours = counted[market]
            books = reader.books([market])
            spread = f"{books[0].spread_bps:.2f}" if books and books[0].spread_bps is not None else "-"
            vwap = _price(ours.quote / ours.base) if ours.base else "-"
            exact = "no" if market in wrong else "yes"
            base = f"{ours.base:,.4f}"
            table.add_row(market, f"{true.trades:,}", f"{ours.trades:,}", base, vwap, spread, exact)
        others = len(self._truth.by_market) - len(busiest)
        if others > 0:
            table.add_row(f"and {others} more")
        return table

    def _print_figures(self, health: Health) -> None:
        counters: Counter[str] = Counter(added_up([Counter(health.counters)]))
        listener = health.listeners[0] if health.listeners else None
        rows = (
            ("frames received", f"{counters['frames']:,} on {self._settings.redundancy} sockets"),
            ("second copies, repeats", f"{counters['frame_copies']:,}, {counters['books_repeated']:,}"),
            ("Celery tasks", f"{counters['batches']:,}"),
            ("books stored, tickers stored", f"{counters['books_stored']:,}, {counters['tickers_stored']:,}"),
            ("exchange to listener", _lag(listener) if listener else "-"),
            ("trades recovered through REST", f"{counters['trades_backfilled']:,}"),
        )
        table = Table.grid(padding=(0, 3))
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


def _lag(listener: Mapping[str, Any]) -> str:
    if listener["lag_ms_p50"] is None:  # nothing has come yet
        return "-"
    return f"p50 {listener['lag_ms_p50']} ms, p99 {listener['lag_ms_p99']} ms"


def _price(price: Decimal) -> str:
    """Write a price for people: no more digits than it needs to be told apart."""
    return f"{price:,.0f}" if price >= 1000 else f"{price:,.2f}" if price >= 1 else f"{price:.6f}"


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
