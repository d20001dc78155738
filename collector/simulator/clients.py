"""Everybody who is connected: what is sent to whom, who is dropped and why."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from collector.simulator.client import Client
from collector.simulator.dialect import Dialect
from collector.simulator.fault_injector import FaultInjector
from collector.simulator.faults import Fault
from collector.simulator.options import SimulatorOptions
from collector.simulator.requests import Refused, Subscription
from collector.simulator.source import Step
from collector.simulator.wire import Payload

#: At full speed a recording waits for sockets that have this much unread.
ROOM_BYTES = 1 << 20
FAULT_ERROR = Refused("INTERNAL_ERROR", "서버 오류입니다.")
GOING_AWAY = 1001

Snapshots = Callable[[Dialect, Subscription], Sequence[Payload]]


class Clients:
    """The open sockets, oldest first. Counts `frames`, `slow_cuts`, `idle_cuts`, `fault_<name>`."""

    def __init__(self, options: SimulatorOptions, injector: FaultInjector, counters: Counter[str]) -> None:
        self._options = options
        self._injector = injector
        self._counters = counters
        self._clients: dict[int, Client] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def clients(self) -> tuple[Client, ...]:
        """The open sockets, oldest first."""
        return tuple(self._clients.values())

    @property
    def subscribed(self) -> int:
        """How many sockets have a request in force."""
        return sum(bool(client.subscription.streams) for client in self._clients.values())

    @property
    def has_room(self) -> bool:
        """Whether every socket keeps up."""
        return all(client.waiting_bytes < ROOM_BYTES for client in self._clients.values())

    def enter(self, client: Client) -> None:
        """Add a socket."""
        self._clients[client.number] = client

    def leave(self, client: Client) -> None:
        """Remove a socket that is gone."""
        self._clients.pop(client.number, None)
        self._injector.forget(client.number)

    def publish(self, step: Step, now: float, now_s: float) -> None:
        """Send each socket what it asked for; the same request gets the same bytes."""
        written: dict[tuple[str, Subscription], list[Payload]] = {}
        for client in self.clients:
            key = client.dialect.path, client.subscription
            if key not in written:
                written[key] = step.frames(client.dialect, client.subscription)
            self.send(client, written[key], now, now_s)

    def send(self, client: Client, payloads: Sequence[Payload], now: float, now_s: float) -> None:
        """Hand frames to a socket; one that does not read is dropped, so that it delays nobody."""
        if client.waiting_bytes > self._options.client_buffer_bytes:
            self._cut(client, "slow_cuts")
            return
        oldest = self._is_oldest(client)
        payloads = self._injector.distort(client.number, payloads, now_s, is_oldest=oldest)
        before = client.frames
        client.send(payloads, now)
        self._counters["frames"] += client.frames - before
        for fault in self._injector.cut_every:
            if fault.hits(oldest) and client.frames >= fault.amount:
                self._cut(client, "fault_cut-every")

    def look_after(self, snapshots: Snapshots, now: float, now_s: float) -> None:
        """Do what is due: requests that take effect, keepalives, the end of idle sockets."""
        for client in self.clients:
            while request := client.next_effective(now):
                self.send(client, snapshots(client.dialect, request), now, now_s)
            self.send(client, client.up_due(now), now, now_s)
            if client.is_open and client.is_idle(now):
                self._cut(client, "idle_cuts")

    def strike(self, fault: Fault, now: float) -> None:
        """Let a fault happen to the sockets it is aimed at."""
        for client in [client for client in self.clients if fault.hits(self._is_oldest(client))]:
            if fault.name == "cut":
                self._cut(client, "fault_cut")
            else:
                self._dismiss(client, fault.name, now)

    async def wait_closed(self) -> None:
        """Wait until the closes that faults began are done."""
        await asyncio.gather(*self._farewells, return_exceptions=True)

    def _is_oldest(self, client: Client) -> bool:
        return next(iter(self._clients), None) == client.number

    def _dismiss(self, client: Client, name: str, now: float) -> None:
        """Close with a handshake, in the case of `error` after saying so."""
        self._counters[f"fault_{name}"] += 1
        if name == "error":
            client.send((client.dialect.refusal(FAULT_ERROR),), now)
        self._clients.pop(client.number, None)
        code = 1000 if name == "error" else GOING_AWAY
        farewell = asyncio.get_running_loop().create_task(client.close(code))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    def _cut(self, client: Client, reason: str) -> None:
        """Drop a connection; it leaves the audience at once, so that `one` means the next."""
        self._counters[reason] += 1
        self._clients.pop(client.number, None)
        client.cut()
