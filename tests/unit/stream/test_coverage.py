"""What no socket covered is inside a reported hole, in the exchange's own time; never too short."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.stream.coverage import LAG_MS, Coverage, EndedOutage, Outage
from collector.stream.exchange_time import ExchangeTime
from tests.samples.events import T0


class Bench:
    """A coverage, told of data with times; a host that sleeps takes none of its seconds for it."""

    def __init__(self, clock_is_wrong_by_ms: int = 0) -> None:
        self.time = ExchangeTime(T0 + clock_is_wrong_by_ms, 0.0)
        self.coverage = Coverage(self.time)
        self.slept_s = 0.0
        self.holes: list[EndedOutage] = []

    def data(self, connection: int, *moments: float, age_s: float = 0.0) -> None:
        """Let a socket bring data at these moments, seconds after `T0`, made `age_s` before."""
        for moment in moments:
            now_s, ms = moment - self.slept_s, T0 + round((moment - age_s) * 1000)
            if not self.coverage.is_usual(connection):
                self.coverage.on_data(connection, now_s)
            if self.time.saw(ms, now_s):
                self.coverage.newest_ms = max(ms, self.coverage.newest_ms or 0)
            self.holes += self.coverage.ended(now_s)

    def lost(self, connection: int, reason: str = "disconnected") -> None:
        self.coverage.on_disconnected(connection, reason)

    def spans(self) -> list[tuple[float | None, float, str]]:
        """Return the holes in seconds after `T0`."""
        return [
            (None if it.from_ms is None else (it.from_ms - T0) / 1000, (it.to_ms - T0) / 1000, it.reason)
            for it in self.holes
        ]


def ticking(from_s: float, to_s: float, step_s: float = 0.1) -> list[float]:
    return [round(from_s + step_s * number, 3) for number in range(round((to_s - from_s) / step_s) + 1)]


def after_a_start() -> Bench:
    """Two sockets that have streamed for five seconds."""
    bench = Bench()
    for moment in ticking(0.0, 5.0):
        bench.data(0, moment)
        bench.data(1, moment)
    assert bench.spans() == [(None, 0.0, "start")]
    bench.holes.clear()
    return bench


def test_the_time_up_to_the_first_data_is_a_hole() -> None:
    """A listener knows nothing of what was before its first frame; a failed connection changes nothing."""
    bench = Bench()
    bench.lost(0, "connect_failed")
    assert bench.coverage.outage() == Outage(None, "start")
    assert bench.coverage.covered_until_ms(0.0) is None
    bench.data(0, 2.0, 2.1)
    assert bench.coverage.outage() == Outage(None, "start")
    bench.data(0, *ticking(2.2, 3.0))
    assert bench.spans() == [(None, 2.0, "start")]
    assert bench.coverage.outage() is None
    assert bench.coverage.covered_until_ms(3.0) == T0 + 3000 - LAG_MS


def test_a_cut_is_a_hole_however_short() -> None:
    """From shortly before the newest data to the first after it; later failures do not rename it."""
    bench = after_a_start()
    bench.lost(0)
    assert bench.coverage.outage() is None
    bench.lost(1, "server_error")
    bench.lost(1, "connect_failed")
    assert bench.coverage.outage() == Outage(T0 + 4000, "server_error")
    assert bench.coverage.covered_until_ms(99.0) == T0 + 4000
    bench.data(0, *ticking(5.3, 6.0))
    assert bench.spans() == [(4.0, 5.3, "server_error")]


def test_a_cut_of_one_of_two_sockets_is_no_hole() -> None:
    """The other covers it, as soon as it brings anything; before and after."""
    bench = after_a_start()
    bench.lost(0)
    bench.data(1, *ticking(5.1, 20.0))
    bench.data(0, 20.05)
    bench.data(1, *ticking(20.1, 21.0))
    assert bench.spans() == []


def test_a_socket_that_brings_nothing_does_not_vouch_for_the_time_until_another_is_back() -> None:
    """One is cut; the other is connected and silent, so it may have stalled."""
    bench = after_a_start()
    bench.lost(0)
    bench.data(0, 5.4)
    bench.data(1, *ticking(5.5, 7.0))
    assert bench.spans() == [(4.0, 5.4, "disconnected")]


def test_both_given_up_one_after_the_other_are_one_hole() -> None:
    """Since the last data of any, whichever was first."""
    bench = after_a_start()
    bench.lost(0, "stalled")
    bench.lost(1, "stalled")
    bench.data(1, *ticking(9.0, 10.0))
    bench.data(0, *ticking(9.1, 10.0))
    assert bench.spans() == [(4.0, 9.0, "stalled")]


def test_a_host_that_slept_has_a_hole_as_long_as_the_exchange_says() -> None:
    """Its monotonic clock stood still, its sockets were dropped on waking."""
    bench = after_a_start()
    bench.slept_s = 7_200.0
    bench.lost(0)
    bench.lost(1)
    bench.data(0, *ticking(7_205.5, 7_207.0))
    assert bench.spans() == [(4.0, 7_205.5, "disconnected")]


def test_a_hole_is_told_once_the_time_is_known() -> None:
    """The host started two days behind; the first events bring old trades, and only then new ones."""
    bench = Bench(clock_is_wrong_by_ms=-2 * 86_400_000)
    bench.data(0, 0.1, age_s=3_600)
    bench.data(0, 0.2, age_s=700)
    assert bench.spans() == []
    bench.data(0, *ticking(0.3, 1.0))
    assert bench.spans() == [(None, 0.1, "start")]


def test_a_subscription_that_brings_only_old_data_ends_its_hole_too() -> None:
    """A market that stood still: its snapshot is an hour old, and nothing newer comes."""
    bench = Bench()
    bench.data(0, 0.5, age_s=3_600)
    assert bench.coverage.ended(9.0) == []
    assert bench.coverage.ended(11.0) == [EndedOutage(None, T0 + 500, "start", 0.5)]


@dataclass
class Socket:
    """One connection's life: stretches [from, to) in which it delivers, each ended by a cut."""

    stretches: list[tuple[float, float]] = field(default_factory=list)

    def hears(self, moment: float) -> bool:
        return any(start <= moment < end for start, end in self.stretches)


@st.composite
def sockets(draw: st.DrawFn) -> Socket:
    """A life of some stretches; the last one, at the end, is good."""
    socket, now = Socket(), draw(st.floats(0, 3))
    for _ in range(draw(st.integers(0, 4))):
        end = now + draw(st.floats(0.5, 20))
        socket.stretches.append((now, end))
        now = end + draw(st.floats(0.2, 12))
    socket.stretches.append((now, now + 60))
    return socket


@settings(max_examples=120, deadline=None)
@given(st.lists(sockets(), min_size=1, max_size=3), st.floats(0.05, 0.4), st.integers(0, 1000))
def test_every_lost_event_is_inside_a_hole(all_sockets: list[Socket], pace_s: float, seed: int) -> None:
    """Cuts of any length, one at a time or together; what one socket heard needs no hole."""
    end_s = max(socket.stretches[-1][0] for socket in all_sockets) + 5
    dice, events = Random(seed), [0.01]
    while events[-1] < end_s:
        events.append(events[-1] + pace_s * dice.uniform(0.2, 1.8))
    bench, heard = Bench(), set()
    cuts = [(end, number) for number, it in enumerate(all_sockets) for _, end in it.stretches]
    for moment, cut in sorted([(event, -1) for event in events] + cuts):
        if cut >= 0:
            bench.lost(cut)
            continue
        for number, socket in enumerate(all_sockets):
            if socket.hears(moment):
                bench.data(number, moment)
                heard.add(moment)
    for lost in set(events) - heard:
        ms = T0 + round(lost * 1000)
        assert any((hole.from_ms or 0) <= ms <= hole.to_ms for hole in bench.holes), (lost, bench.spans())
    assert len(bench.holes) <= 1 + len(cuts)
