"""Bars 5 to 8: `collector up` as users start it, against an exchange of ours: `python -m benchmarks.system`.

    sustained    trades a second from socket to exactly-once candles for a minute, the backlog flat
    mix          the exchange's measured mix over 493 markets: CPU of all processes of `up` together, time
                 from the exchange to what can be read in Redis, the listener's memory
    beside       the CPU of the mix again, of several systems at the same time, each with settings of its own:
                 a shared machine gets faster and slower, but does so for all of them

Settings are the defaults but for what is printed. Redis, listener, workers and the exchange share two cores;
the exchange's CPU does not count.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

import psutil
import redis

from benchmarks.machine import describe
from collector.errors import BrokerUnavailable
from collector.host.redis_server import find_url
from collector.listener.health import percentile
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from tests.acceptance.scenarios.processes import Process

ROOT = Path(__file__).resolve().parent.parent
MIX = {"books": 1700, "trades": 300, "tickers": 150}
MIX_OPTIONS = ("mix", *(part for name, per_s in MIX.items() for part in (f"--{name}", str(per_s))))
POLL_S = 0.002
#: What is in a role's command line.
_ROLES = (
    ("ingest1", "ingest worker"),
    ("analysis", "analysis worker"),
    ("-n alerts-", "alerts worker"),
    ("valkey-server", "Redis"),
    ("redis-server", "Redis"),
    ("collector run", "listener"),
    ("collector serve", "server"),
)
WARM_UP_S = 10.0
#: Backlogs of more seconds of trades than this do not count as flat.
FLAT_S = 1.0
#: One socket with the same trades only once; nothing else is on it, which is no stall here.
BURST = {
    "COLLECTOR_REDUNDANCY": "1",
    "COLLECTOR_CHANNELS": "trade",
    "COLLECTOR_CONNECTION__STALL_MIN_S": "1000",
    "COLLECTOR_CONNECTION__STALL_MAX_S": "2000",
}


class System:
    """`collector up` with its exchange, each in processes of their own.

    Args:
        folder: an empty one.
        exchange: arguments of `benchmarks.exchange`; or the place, `host:port`, of one that runs already.
        env: settings of the system.
        python: the interpreter that runs `collector up`, by default this one.
    """

    def __init__(
        self,
        folder: Path,
        exchange: Sequence[str] | str,
        env: Mapping[str, str],
        python: str = sys.executable,
    ) -> None:
        self.folder, self.data_dir = folder, folder / "data"
        self._python = python
        self._exchange = exchange
        self._env = env
        self.keys = Keys(Settings().store.key_prefix)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start both; end both."""
        with ExitStack() as stack:
            place = self._exchange
            if not isinstance(place, str):
                place = stack.enter_context(exchange_running(place, self.folder))
            settings = Settings(data_dir=self.data_dir)
            env = {
                "COLLECTOR_DATA_DIR": str(settings.data_dir),
                "COLLECTOR_MARKETS": "*",
                "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://{place}/websocket/v1",
                "COLLECTOR_EXCHANGE__REST_URL": f"http://{place}",
                **self._env,
            }
            with Process("up", ("-m", "collector", "up"), env, self.folder, self._python) as self.up:
                self.up.wait_until(lambda: _url(settings))
                self.redis = redis.Redis.from_url(_url(settings))
                self.reader = Reader(self.redis, settings)
                self.up.wait_until(lambda: self.counted() > 0)
                yield
                self.up.stop(15)

    def counted(self) -> int:
        """Return how many trades are in candles."""
        return int(self.redis.hget(self.keys.counters, "trades_counted") or 0)

    def settle(self, timeout_s: float = 300) -> None:
        """Wait until the listener has asked REST about every market, as it does at a start."""
        self.up.wait_until(
            lambda: not sum(row["backfills_waiting"] for row in self.reader.listeners()), timeout_s
        )

    def cpu_s(self) -> dict[str, float]:
        """Return the seconds of processor time used so far, by role."""
        used: dict[str, float] = {}
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.up.pid)
            for process in (parent, *parent.children(recursive=True)):
                times = process.cpu_times()
                role = _role(process.cmdline())
                used[role] = used.get(role, 0.0) + times.user + times.system
        return used

    def listener(self) -> psutil.Process:
        """Return the listener's process."""
        children = psutil.Process(self.up.pid).children(recursive=True)
        return next(process for process in children if _role(process.cmdline()) == "listener")


@contextmanager
def exchange_running(arguments: Sequence[str], folder: Path) -> Iterator[str]:
    """Start `benchmarks.exchange`; return its place, `host:port`."""
    argv = ("-m", "benchmarks.exchange", *arguments)
    with Process("exchange", argv, {"PYTHONPATH": str(ROOT)}, folder) as exchange:
        exchange.wait_until(lambda: "port " in exchange.output(), 60)
        yield f"127.0.0.1:{exchange.output().split()[-1]}"


def _url(settings: Settings) -> str:
    with suppress(BrokerUnavailable):
        return find_url(settings)
    return ""


def _role(command: Sequence[str]) -> str:
    text = " ".join(command)
    return next((role for mark, role in _ROLES if mark in text), "supervisor")


@dataclass(frozen=True)
class Sustained:
    """Trades a second counted, whether the backlog stayed flat, and CPU microseconds a trade by role."""

    per_s: float
    is_flat: bool
    cpu_us: dict[str, float]


def sustained(rate: float, seconds: float) -> Sustained:
    """Send trades at a pace for so long, and look; every one of them must be in a candle in the end."""
    count = int(rate * (seconds + WARM_UP_S))
    with tempfile.TemporaryDirectory() as name:
        system = System(Path(name), ("burst", "--rate", str(rate), "--count", str(count)), BURST)
        with system.running():
            started_s, start = time.monotonic(), system.counted()
            backlogs: list[float] = []
            time.sleep(WARM_UP_S / 2)
            cpu, base, base_s = system.cpu_s(), system.counted(), time.monotonic()
            while (now_s := time.monotonic()) - base_s < seconds:
                backlogs.append((now_s - started_s) * rate - (system.counted() - start))
                time.sleep(0.25)
            counted, took_s = system.counted() - base, time.monotonic() - base_s
            after = system.cpu_s()
            spooled = system.reader.health().counters.get("trade_rows_spooled", 0)
            deadline_s = time.monotonic() + 60
            while system.counted() < count and time.monotonic() < deadline_s:
                time.sleep(0.1)
            total = sum(candle.trade_count for candle in _candles(system.reader))
            if not system.counted() == total == count:
                raise AssertionError(f"{count} trades sent, {system.counted()} counted, {total} in candles")
    half = len(backlogs) // 2
    growth = statistics.mean(backlogs[half:]) - statistics.mean(backlogs[:half])
    is_flat = growth < FLAT_S * rate / 2 and not spooled
    per_trade = {role: (after[role] - cpu.get(role, 0)) / counted * 1e6 for role in sorted(after)}
    return Sustained(counted / took_s, is_flat, per_trade)


def print_sustained(found: Sustained, seconds: float) -> None:
    """Print bar 5."""
    roles = ", ".join(f"{role} {micros:.1f}" for role, micros in found.cpu_us.items())
    print(
        f"5 trades/s to exactly-once candles over {seconds:g} s: {found.per_s:,.0f}, backlog "
        f"{'flat' if found.is_flat else 'GROWING'}, none lost or doubled   bar >= 12,000\n"
        f"  CPU us a trade: {roles}",
        flush=True,
    )


def _candles(reader: Reader) -> Iterator:  # type: ignore[type-arg]
    for market in reader.markets():
        yield from reader.candles(market, limit=1000)


@dataclass
class MixRun:
    """What the mix showed: shares of one core by role, milliseconds to what can be read, MiB."""

    cpu: dict[str, float] = field(default_factory=dict)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    memory_mb: list[float] = field(default_factory=list)


def mix(seconds: float, env: Mapping[str, str]) -> MixRun:
    """Run the mix for `seconds` after a warm-up."""
    run = MixRun()
    with tempfile.TemporaryDirectory() as name:
        system = System(Path(name), MIX_OPTIONS, env)
        with system.running():
            time.sleep(WARM_UP_S)
            system.settle()
            listener = system.listener()
            before, started_s = system.cpu_s(), time.monotonic()
            watched_s = min(20.0, seconds / 2)  # looking costs Redis something: not while CPU is measured
            while time.monotonic() - started_s < seconds - watched_s:
                run.memory_mb.append(listener.memory_info().rss / (1 << 20))
                time.sleep(min(1.0, seconds / 60))
            took_s, after = time.monotonic() - started_s, system.cpu_s()
            run.cpu = {role: (after[role] - before.get(role, 0)) / took_s for role in sorted(after)}
            (run.latency_ms,) = _latencies([system], watched_s)
            run.memory_mb.append(listener.memory_info().rss / (1 << 20))
    return run


#: The running minute of each market is requested at a start: in seconds, not in a minute.
QUICK_START = {"COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S": "100"}
_SETTLE_S = 60


@dataclass
class Beside:
    """One of several systems that run at the same time."""

    #: Of each round: share of one core by role.
    cpu: list[dict[str, float]] = field(default_factory=list)
    #: Of each round: bytes appended to Redis' file, a second.
    file_bytes: list[float] = field(default_factory=list)
    #: As `MixRun.latency_ms`.
    latency_ms: dict[str, list[float]] = field(default_factory=dict)


def beside(
    seconds: float,
    rounds: int,
    variants: Sequence[str],
    pythons: Mapping[str, str] | None = None,
    look_s: float = 0,
) -> dict[str, Beside]:
    """Run whole systems at the same time at one exchange; return what each showed.

    Args:
        seconds: length of a round, in which CPU is measured.
        rounds: how many.
        variants: settings of a system each, `NAME=value,NAME=value`, or a name that `pythons` has.
        pythons: the interpreter of another checkout, for the variants that are one.
        look_s: after the rounds, look for so long for what can be read in each.
    """
    pythons = pythons or {}
    found = {variant: Beside() for variant in variants}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = stack.enter_context(exchange_running(MIX_OPTIONS, folder))
        systems: dict[str, System] = {}
        for variant in variants:
            settings = [] if variant in pythons else filter(None, variant.split(","))
            env = QUICK_START | dict(setting.split("=", 1) for setting in settings)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            systems[variant] = System(folder, place, env, pythons.get(variant, sys.executable))
            stack.enter_context(systems[variant].running())
        time.sleep(WARM_UP_S)
        for system in systems.values():
            system.settle(_SETTLE_S)
            system.redis.config_set("auto-aof-rewrite-percentage", 0)
        for _ in range(rounds):
            before = {variant: (system.cpu_s(), _file_bytes(system)) for variant, system in systems.items()}
            time.sleep(seconds)
            for variant, system in systems.items():
                (cpu, size), used = before[variant], system.cpu_s()
                found[variant].cpu.append({role: (used[role] - cpu.get(role, 0)) / seconds for role in used})
                found[variant].file_bytes.append((_file_bytes(system) - size) / seconds)
        if look_s:
            looked = _latencies([*systems.values()], look_s)
            for variant, latency_ms in zip(variants, looked, strict=True):
                found[variant].latency_ms = latency_ms
    return found


def _file_bytes(system: System) -> int:
    return int(system.redis.info("persistence").get("aof_current_size", 0))


def _latencies(systems: Sequence[System], seconds: float) -> list[dict[str, list[float]]]:
    """Return milliseconds from the exchange's time to what can be read, by kind, of each system.

    Looked at every two milliseconds: the newest trade, book and ticker that Redis shows of ten markets.
    """
    looks = [_Look(system) for system in systems]
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        for look in looks:
            look.take()
        time.sleep(POLL_S)
    return [look.found for look in looks]


class _Look:
    """The newest states of ten markets of a system, and how old each was when it appeared."""

    def __init__(self, system: System) -> None:
        self.found: dict[str, list[float]] = {"trade": [], "book": [], "ticker": []}
        self._system = system
        markets = sorted(system.reader.markets())[:10]
        self._trades = [f"trade:{market}" for market in markets]
        self._states = [f"{kind}:{market}" for market in markets for kind in ("book", "ticker")]
        self._known: dict[str, bytes | None] = {}

    def take(self) -> None:
        """Look once."""
        keys = self._system.keys
        with self._system.redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.newest, self._trades)
            for name in self._states:
                pipe.hget(f"{keys.prefix}{name}", "stamp")
            trades, *stamps = pipe.execute()
        now_ms = time.time() * 1000
        for name, value in zip((*self._trades, *self._states), (*trades, *stamps), strict=True):
            if value != self._known.get(name) and name in self._known and value:
                kind, then = name.split(":")[0], int(value.split(b":")[0])
                self.found[kind].append(now_ms - (then / 1000 if kind == "book" else then))
            self._known[name] = value


def print_mix(run: MixRun) -> None:
    """Print bars 6, 7 and 8."""
    roles = ", ".join(f"{role} {share:.0%}" for role, share in run.cpu.items())
    print(f"6 CPU of all processes together: {sum(run.cpu.values()):.0%} of one core ({roles})   bar <= 60 %")
    everything = [value for values in run.latency_ms.values() for value in values]
    for kind, values in (*run.latency_ms.items(), ("all", everything)):
        print(
            f"7 socket to readable result, {kind:6}: p50 {percentile(values, 0.5) or nan:5.1f} ms, "
            f"p99 {percentile(values, 0.99) or nan:6.1f} ms, {len(values)} seen   bar <= 50 / 150 ms"
        )
    tenth = max(1, len(run.memory_mb) // 10)
    first, last = (statistics.mean(part) for part in (run.memory_mb[:tenth], run.memory_mb[-tenth:]))
    print(
        f"8 listener memory: {max(run.memory_mb):.0f} MB at the most, {first:.1f} MB at first, "
        f"{last:.1f} MB at last   bar <= 120 MB",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("sustained", "mix", "beside", "all"), default="all", nargs="?")
    parser.add_argument("variants", nargs="*", help="for `beside`: NAME=value,… of each system")
    parser.add_argument("--rounds", type=int, default=3, help="for `beside`")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20_000, help="trades a second")
    chosen = parser.parse_args()
    print(describe())
    if chosen.what in ("sustained", "all"):
        print_sustained(sustained(chosen.rate, chosen.seconds), chosen.seconds)
    if chosen.what == "beside":
        for variant, found in beside(chosen.seconds, chosen.rounds, chosen.variants).items():
            for cpu in found.cpu:
                roles = ", ".join(f"{role} {share:.1%}" for role, share in sorted(cpu.items()))
                print(f"{variant}: {sum(cpu.values()):.1%} of one core ({roles})", flush=True)
    if chosen.what in ("mix", "all"):
        print_mix(mix(chosen.seconds, {}))


if __name__ == "__main__":
    main()
