"""`python -m benchmarks.live`: what live events cost, how soon a subscriber has a trade, whether it has each.

    memory                  Redis' memory for ten minutes of 300 trades a second
    latency [NAME=value …]  exchange to subscriber at the exchange's mix, with settings of the system; its
                            steps; and ccxt pro's `watch_trades` loops at the same exchange at the same time:
                            on a socket with trades alone, and with the books and tickers that we follow too
    subscribers [NUMBER]    so many follow 20 markets each (200): their trades by id against the truth of
                            `collector simulate`, CPU by role without and with them
    cost [ROUNDS]           CPU of two systems at one exchange at the same time, event stream off and on (5)

All but `memory` run `collector up` with its defaults, as a user would, and begin after the backfill of its
start. Exchange, system and subscribers share this machine and its clock.
"""

import argparse
import asyncio
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec
import redis
from pydantic import SecretStr
from websockets.asyncio.client import connect

from benchmarks.frames import MARKETS, market_names
from benchmarks.live_subscribers import Received, all_received
from benchmarks.machine import describe
from benchmarks.peers import Unavailable, interpreter
from benchmarks.system import MIX_OPTIONS, QUICK_START, WARM_UP_S, Beside, System, beside, exchange_running
from collector.host.redis_server import PrivateRedis
from collector.listener.health import percentile
from collector.model import Side, Trade
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.store import Store
from tests.acceptance.scenarios.processes import Process
from tests.doubles.ports import free_port

RATE, PER_SUBSCRIBER = 300, 20
SECONDS = 60.0
BEGIN_MS = 1_700_000_000_000
PRICE, SIZE = Decimal("116208000"), Decimal("0.00012345")
#: Trades of the last seconds may still be under way when the subscribers leave.
_UNDER_WAY_S = 15.0
_CCXT = Path(__file__).with_name("ccxt_trades.py")
_RIVALS = {"trades alone": (), "with books and tickers": ("everything",)}
_LIMIT_S = 60


def memory() -> None:
    """Print the size of the stream after ten minutes of trades in batches of 15 ms."""
    settings = Settings(data_dir=Path(tempfile.mkdtemp()), redis_url=SecretStr(""))
    server, dice = PrivateRedis(settings), random.Random(1)
    server.start()
    try:
        client = redis.Redis.from_url(server.url)
        store, number = Store(client, settings.store), 0
        for ms in range(0, 600_000, 15):
            rows = []
            for _ in range(RATE * (ms + 15) // 1000 - RATE * ms // 1000):
                number += 1
                market = f"KRW-M{min(int(dice.expovariate(1 / 40)), MARKETS - 1):03}"
                now_ms = BEGIN_MS + ms
                rows.append(Trade(market, number, PRICE, SIZE, Side.BUY, now_ms, now_ms + 50))
            if rows:
                store.put_trades(rows)
        key = Keys(settings.store.key_prefix).events
        size, entries = int(client.memory_usage(key, samples=0) or 0), client.xlen(key)
        print(
            f"{number:,} trades, {entries:,} entries, {size:,} bytes: {size / entries:.0f} an entry, ", end=""
        )
        print(f"{size * 6 / 1e6:.0f} MB an hour")
    finally:
        server.stop()


def latency(settings: Mapping[str, str]) -> None:
    """Print how soon a subscriber of every market has a trade, and where the time goes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = stack.enter_context(exchange_running(MIX_OPTIONS, folder))
        port = free_port()
        system = System(folder, place, {**QUICK_START, **settings, "COLLECTOR_SERVE__PORT": str(port)})
        stack.enter_context(system.running())
        time.sleep(WARM_UP_S)
        system.settle()
        rivals = {name: _start_ccxt(place, *what) for name, what in _RIVALS.items()}
        events = asyncio.run(_followed(f"ws://127.0.0.1:{port}/v1/ws", SECONDS))
        steps: dict[str, Callable[[Mapping[str, float]], float]] = {
            "exchange to listener": lambda it: it["received_ms"] - it["exchange_ms"],
            "listener to counted": lambda it: it["ms"] - it["received_ms"],
            "counted to subscriber": lambda it: it["now_ms"] - it["ms"],
            "exchange to subscriber": lambda it: it["now_ms"] - it["exchange_ms"],
        }
        for name, step in steps.items():
            _print_lags(name, [step(event) for event in events])
        for name, rival in rivals.items():
            _print_lags(f"exchange to a loop over ccxt pro's watch_trades, {name}", _end_ccxt(rival))


def _print_lags(name: str, lags_ms: Sequence[float]) -> None:
    if lags_ms:
        found = ", ".join(
            f"p{share * 100:.0f} {percentile(lags_ms, share):.0f} ms" for share in (0.5, 0.9, 0.99)
        )
        print(f"{name}: {found} of {len(lags_ms):,} trades", flush=True)


async def _followed(url: str, seconds: float) -> list[dict[str, float]]:
    """Return the times of the trades that one who follows every market gets."""
    found = []
    async with connect(url, max_size=None, max_queue=None) as socket:
        await socket.send(json.dumps({"op": "subscribe", "channels": ["trade"]}))
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            event = msgspec.json.decode(await socket.recv())
            if event.get("channel") == "trade" and not event["data"]["late"]:
                data = event["data"]
                times = {name: data[name] for name in ("exchange_ms", "received_ms")}
                found.append({**times, "ms": event["ms"], "now_ms": time.time() * 1000})
    return found


def _start_ccxt(place: str, *what: str) -> subprocess.Popen[str] | None:
    """Start the loop of ccxt; return once it has its first trades, None where ccxt is not to be had."""
    try:
        command = [interpreter("ccxt"), str(_CCXT), place, ",".join(market_names()), str(SECONDS), *what]
    except (Unavailable, subprocess.SubprocessError) as error:
        print(f"ccxt: SKIPPED, {error}", flush=True)
        return None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _end_ccxt(process: subprocess.Popen[str] | None) -> list[float]:
    if process is None:
        return []
    try:
        output, _ = process.communicate(timeout=_LIMIT_S)
        found: list[float] = json.loads(output)
        return found
    finally:
        process.kill()


def subscribers(count: int) -> None:
    """Print what subscribers lost, doubled or got out of order, and what they cost."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        exchange, port, truth = free_port(), free_port(), folder / "truth.jsonl"
        options = ("--port", str(exchange), "--markets", str(MARKETS), "--rate", str(RATE))
        argv = ("-m", "collector", "simulate", *options, "--truth", str(truth))
        stack.enter_context(Process("exchange", argv, {}, folder))
        env = {
            **QUICK_START,
            "COLLECTOR_SERVE__PORT": str(port),
            "COLLECTOR_SERVE__CLIENTS_MAX": str(count + 10),
        }
        system = System(folder, f"127.0.0.1:{exchange}", env)
        stack.enter_context(system.running())
        time.sleep(WARM_UP_S)
        system.settle()
        alone = _cpu(system, lambda: time.sleep(SECONDS / 2))
        markets, dice = system.reader.markets(), random.Random(1)
        choices = [dice.sample(markets, min(PER_SUBSCRIBER, len(markets))) for _ in range(count)]
        found: list[Received] = []
        beside_them = _cpu(system, lambda: found.extend(all_received(port, choices, SECONDS)), SECONDS)
        _check(truth, choices, found)
    print("CPU alone:   " + ", ".join(f"{role} {share:.0%}" for role, share in alone.items()))
    print("CPU with them: " + ", ".join(f"{role} {share:.0%}" for role, share in beside_them.items()))
    _print_lags("exchange to these subscribers", [lag for each in found for lag in each.lags_ms])


def _cpu(system: System, work: Callable[[], object], seconds: float | None = None) -> dict[str, float]:
    """Return the share of a core that each role used while something was done, or of a time of it."""
    before, started_s = system.cpu_s(), time.monotonic()
    work()
    took_s = seconds or time.monotonic() - started_s
    return {role: (used - before.get(role, 0)) / took_s for role, used in sorted(system.cpu_s().items())}


def _check(truth: Path, choices: Sequence[Sequence[str]], found: Sequence[Received]) -> None:
    """Compare what each subscriber got with what the exchange made of its markets in its time."""
    made: dict[str, list[tuple[int, int]]] = {}
    for line in truth.read_text().splitlines():
        trade = json.loads(line)
        made.setdefault(trade["market"], []).append((trade["exchange_ms"], trade["id"]))
    expected = lost = doubled = swapped = 0
    for markets, it in zip(choices, found, strict=True):
        until_ms = it.until_ms - _UNDER_WAY_S * 1000
        wanted = {
            (name, number)
            for name in markets
            for ms, number in made.get(name, ())
            if it.since_ms <= ms < until_ms
        }
        got = [(market, number) for market, number, _ in it.trades]
        expected += len(wanted)
        lost += len(wanted.difference(got))
        doubled += len(got) - len(set(got))
        positions = [position for *_, position in it.trades]
        swapped += sum(one >= other for one, other in pairwise(positions))
    print(
        f"{len(found)} subscribers of {PER_SUBSCRIBER} markets for {SECONDS:g} s: {expected:,} trades due, "
        f"{lost} lost, {doubled} doubled, {swapped} out of order, {sum(it.notices for it in found)} notices"
    )


def cost(rounds: int) -> None:
    """Print the CPU of workers and Redis with the event stream over that without it."""
    off, on = "COLLECTOR_STORE__EVENTS_MAX=0", "COLLECTOR_STORE__EVENTS_MAX=1000000"
    found = beside(SECONDS / 3, rounds, (off, on))
    for role in ("ingest worker", "Redis", "server", "listener"):
        pairs = list(zip(_shares(found[on], (role,)), _shares(found[off], (role,)), strict=True))
        print(_ratio(role, pairs))
    both = ("ingest worker", "Redis")
    print(_ratio("both", list(zip(_shares(found[on], both), _shares(found[off], both), strict=True))))


def _shares(found: Beside, roles: Iterable[str]) -> list[float]:
    return [sum(cpu.get(role, 0.0) for role in roles) for cpu in found.cpu]


def _ratio(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    each = ", ".join(f"{on:.1%}/{off:.1%}" for on, off in pairs)
    return f"{name}: {median(on / off for on, off in pairs):.2f} times that without the event stream ({each})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "latency", "subscribers", "cost"))
    parser.add_argument("more", nargs="*", help="settings of `latency`; subscribers; rounds of `cost` (5)")
    chosen = parser.parse_args()
    print(describe(), flush=True)
    match chosen.what:
        case "memory":
            memory()
        case "latency":
            latency(dict(setting.split("=", 1) for setting in chosen.more))
        case "subscribers":
            subscribers(int(*chosen.more or (200,)))
        case "cost":
            cost(int(*chosen.more or (5,)))


if __name__ == "__main__":
    main()
