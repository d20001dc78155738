"""Applies the fault schedule to frames and handshakes. It decides; audience and server act."""

import random
from collections.abc import Sequence

from collector.simulator.events import SimTrade
from collector.simulator.faults import KINDS, Fault, Shape
from collector.simulator.wire import Payload

#: Junk of every kind a parser can meet. None of it is a frame of the exchange.
GARBAGE: tuple[Payload, ...] = (
    b"",
    b"\xff\xfe\x00\x80",
    b"not json",
    b"{",
    b"[]",
    b"null",
    b"42",
    b'"text"',
    b"{}",
    b'{"type":"trade"}',
    b'{"type":"nonsense","code":"KRW-BTC"}',
    b'{"type":["trade"],"code":{"KRW":"BTC"}}',
    b'{"type":"trade","code":"KRW-BTC","trade_price":-1,"trade_volume":1,"ask_bid":"BID","trade_timestamp":1,'
    b'"sequential_id":1,"timestamp":1,"stream_type":"REALTIME"}',
    b'{"type":"trade","code":"KRW-BTC","trade_price":NaN,"trade_volume":0,"ask_bid":"MAYBE",'
    b'"trade_timestamp":99999999999999999999,"sequential_id":-5,"timestamp":0,"stream_type":"REALTIME"}',
    b'{"type":"orderbook","code":"KRW-BTC","orderbook_units":[{"ask_price":"x"}],"timestamp":1e999}',
    b'{"type":"ticker","code":null,"trade_price":null}',
    b'{"type":"transaction","content":{"list":[{"symbol":"BTC_KRW","contPrice":"-1"}]}}',
    b"[" * 2_000,
    b'{"a":' * 500,
    b'{"type":"trade","code":"' + b"K" * 100_000 + b'"}',
    "텍스트 프레임",
)


#: Shares of trades, not of frames.
HIDING = ("leave-out", "vanish")


class FaultInjector:
    """The schedule in force: one per simulator, dice seeded, times in seconds since its start."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._rng = random.Random(f"faults {seed}")
        self._moments: list[Fault] = []
        self._due_s: list[float] = []
        self._spans: list[Fault] = []
        self._shares: list[Fault] = []
        self._hiding: list[Fault] = []
        self._held: dict[int, list[Payload]] = {}
        self.cut_every: list[Fault] = []
        self.add(faults)

    def add(self, faults: Sequence[Fault]) -> None:
        """Put more faults into the schedule."""
        for fault in faults:
            match KINDS[fault.name][0]:
                case Shape.MOMENT:
                    self._moments.append(fault)
                    self._due_s.append(fault.start_s)
                case Shape.SPAN:
                    self._spans.append(fault)
                case Shape.SHARE:
                    (self._hiding if fault.name in HIDING else self._shares).append(fault)
            if fault.name == "cut-every":
                self.cut_every.append(fault)

    def moments(self, now_s: float) -> list[Fault]:
        """Return the faults whose moment has come; each moment once."""
        due = []
        for i, fault in enumerate(self._moments):
            if now_s >= self._due_s[i]:
                due.append(fault)
                self._due_s[i] = self._due_s[i] + fault.period_s if fault.period_s else float("inf")
        return due

    def is_on(self, name: str, now_s: float, *, is_oldest: bool = True) -> bool:
        """Whether a span called `name` is in force for a socket."""
        return any(
            fault.name == name and fault.hits(is_oldest) and fault.is_on(now_s) for fault in self._spans
        )

    def named(self, name: str, now_s: float) -> frozenset[str]:
        """Return the arguments of the spans called `name` that are in force."""
        return frozenset(fault.argument for fault in self._spans if fault.name == name and fault.is_on(now_s))

    def hidden(self, trades: Sequence[SimTrade], now_s: float) -> dict[str, list[SimTrade]]:
        """Return those of `trades` that are hidden from somebody, by the name of the fault."""
        found: dict[str, list[SimTrade]] = {}
        for fault in self._hiding:
            if fault.is_on(now_s):
                hit = [made for made in trades if self._rng.random() < fault.amount]
                found.setdefault(fault.name, []).extend(hit)
        return found

    def distort(
        self, client: int, payloads: Sequence[Payload], now_s: float, *, is_oldest: bool
    ) -> Sequence[Payload]:
        """Return what a socket really gets of `payloads`: the same object where nothing is wrong."""
        if not self._spans and not self._shares:
            return payloads
        if self.is_on("stall", now_s, is_oldest=is_oldest) or self.is_on("maintenance", now_s):
            return ()
        for fault in self._spans:
            if fault.name == "silent-channel" and fault.hits(is_oldest) and fault.is_on(now_s):
                payloads = [each for each in payloads if channel_of(each) != fault.argument]
        for fault in self._shares:
            if fault.hits(is_oldest) and fault.is_on(now_s):
                payloads = self._spoil(fault, client, payloads)
        return payloads

    def forget(self, client: int) -> None:
        """A socket is gone, and with it what was held back for it."""
        self._held.pop(client, None)

    def _spoil(self, fault: Fault, client: int, payloads: Sequence[Payload]) -> list[Payload]:
        hit = [self._rng.random() < fault.amount for _ in payloads]
        if fault.name == "shuffle":
            return self._shuffle(client, payloads, hit)
        spoilt: list[Payload] = []
        for payload, is_hit in zip(payloads, hit, strict=True):
            if is_hit and fault.name == "garbage":
                spoilt.append(self._rng.choice(GARBAGE))
            elif is_hit and fault.name == "duplicate":
                spoilt.append(payload)
            if not (is_hit and fault.name == "lose"):
                spoilt.append(payload)
        return spoilt

    def _shuffle(self, client: int, payloads: Sequence[Payload], hit: Sequence[bool]) -> list[Payload]:
        """Hold the hit frames back; put those held before anywhere among the others."""
        mixed = [payload for payload, is_hit in zip(payloads, hit, strict=True) if not is_hit]
        for late in self._held.get(client, ()):
            mixed.insert(self._rng.randint(0, len(mixed)), late)
        self._held[client] = [payload for payload, is_hit in zip(payloads, hit, strict=True) if is_hit]
        return mixed


def channel_of(payload: Payload) -> str:
    """Return the channel a frame names first, or nothing."""
    head = payload[:60] if isinstance(payload, str) else payload[:60].decode(errors="replace")
    parts = head.split('"', 4)
    return parts[3] if len(parts) > 4 and parts[1] in ("type", "ty") else ""
