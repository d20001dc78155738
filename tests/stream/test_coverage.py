"""What no socket covered is inside a reported hole: a bit too long is fine, too short never."""

import itertools
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.stream.coverage import Coverage, ExchangeTime, Hole

START_S = 1000.0


def heard(coverage: Coverage, connection: int, *moments: float) -> list[Hole]:
    return [hole for moment in moments if (hole := coverage.on_data(connection, START_S + moment))]


def spans(holes: list[Hole]) -> list[tuple[float, float, str]]:
    return [(round(it.from_s - START_S, 3), round(it.to_s - START_S, 3), it.reason) for it in holes]


def ticking(from_s: float, to_s: float, step_s: float = 0.1) -> list[float]:
    return [from_s + step_s * number for number in range(round((to_s - from_s) / step_s) + 1)]


def test_the_time_up_to_the_first_data_is_a_hole() -> None:
    """A listener knows nothing of what was before its first frame."""
    assert spans(heard(Coverage(START_S), 0, 2.0, 2.1)) == [(0.0, 2.0, "start")]


def test_a_start_that_fails_at_first_is_still_a_start() -> None:
    """The reason decides where the backfill begins: at the last stored trade."""
    coverage = Coverage(START_S)
    coverage.on_lost(0, "connect_failed")
    coverage.on_lost(0, "disconnected")
    assert spans(heard(coverage, 0, 9.0)) == [(0.0, 9.0, "start")]


def test_a_cut_is_a_hole_however_short() -> None:
    """From the last frame before it to the first after it; later failures do not rename it."""
    coverage = Coverage(START_S)
    heard(coverage, 0, *ticking(0.1, 5.0))
    coverage.on_lost(0, "disconnected")
    coverage.on_lost(0, "connect_failed")
    assert spans(heard(coverage, 0, 5.3)) == [(5.0, 5.3, "disconnected")]


def test_a_cut_of_one_of_two_sockets_is_no_hole() -> None:
    """The other covers it."""
    coverage = Coverage(START_S)
    for moment in ticking(0.1, 5.0):
        heard(coverage, 0, moment)
        heard(coverage, 1, moment)
    coverage.on_lost(0, "disconnected")
    assert heard(coverage, 1, *ticking(5.1, 20.0)) == []
    assert heard(coverage, 0, 20.05) == []
    assert heard(coverage, 1, *ticking(20.1, 21.0)) == []


def test_a_silent_stall_of_all_sockets_is_a_hole() -> None:
    """They stay connected and say nothing for much longer than usual."""
    coverage = Coverage(START_S)
    heard(coverage, 0, *ticking(0.1, 10.0))
    assert spans(heard(coverage, 0, 16.0, 16.1)) == [(10.0, 16.0, "stalled")]


def test_a_stalled_socket_does_not_vouch_after_the_other_is_cut() -> None:
    """One stalls at 10, the other is cut at 15; when the first comes back, 15 to 20 is unknown."""
    coverage = Coverage(START_S)
    for moment in ticking(0.1, 10.0):
        heard(coverage, 0, moment)
        heard(coverage, 1, moment)
    heard(coverage, 1, *ticking(10.1, 15.0))
    coverage.on_lost(1, "disconnected")
    assert [span[:2] for span in spans(heard(coverage, 0, 20.0))] == [(15.0, 20.0)]


def test_a_young_socket_does_not_vouch_for_what_was_before_it() -> None:
    """One stalls at 5 and is silent for good; two that connect at 6 cover nothing before 6."""
    coverage = Coverage(START_S)
    heard(coverage, 0, *ticking(0.1, 5.0))
    holes = [
        hole for moment in ticking(6.0, 15.0) for number in (1, 2) for hole in heard(coverage, number, moment)
    ]
    assert len(holes) == 1
    assert holes[0].from_s == pytest.approx(START_S + 5.0)
    assert holes[0].to_s >= START_S + 6.0


def test_usual_silence_is_no_hole() -> None:
    """A stream with a frame every five seconds is quiet, not stalled, once it is known."""
    coverage = Coverage(START_S)
    holes = heard(coverage, 0, *ticking(0.5, 300.0, 5.0))
    assert len(holes) <= 5
    assert heard(coverage, 0, *ticking(305.5, 600.0, 5.0)) == []


def test_a_silence_for_which_sockets_are_given_up_is_never_vouched_for() -> None:
    """One socket is given up after 1.5 s; the other's data come a moment before it is given up, too."""
    coverage = Coverage(START_S, stall_min_s=1.5)
    for moment in ticking(0.1, 5.0):
        heard(coverage, 0, moment)
        heard(coverage, 1, moment)
    coverage.on_lost(1, "stalled")
    assert spans(heard(coverage, 0, 6.8)) == [(5.0, 6.8, "stalled")]
    assert heard(coverage, 1, 6.9) == []


def test_one_stall_does_not_hide_the_next() -> None:
    """Twenty seconds after a stall of 40 s, one of 10 s is seen too."""
    coverage = Coverage(START_S)
    heard(coverage, 0, *ticking(0.1, 10.0))
    assert len(heard(coverage, 0, 50.0)) == 1
    heard(coverage, 0, *ticking(50.1, 70.0))
    assert spans(heard(coverage, 0, 80.0)) == [(70.0, 80.0, "stalled")]


# A model to compare with: the market speaks at `events`; a socket hears what falls into its good stretches.


@dataclass
class Socket:
    """One connection's life: stretches [from, to) in which it delivers, each ended by a cut or a stall."""

    stretches: list[tuple[float, float, bool]] = field(default_factory=list)

    def hears(self, moment: float) -> bool:
        return any(start <= moment < end for start, end, _ in self.stretches)

    def stalls(self) -> list[tuple[float, float]]:
        """Stretches in which it stayed connected and delivered nothing."""
        pairs = itertools.pairwise(self.stretches)
        return [(end, start) for (_, end, is_cut), (start, _, _) in pairs if not is_cut]


@st.composite
def sockets(draw: st.DrawFn) -> Socket:
    """A life of some stretches; the last one, at the end, is good."""
    socket, now = Socket(), draw(st.floats(0, 3))
    for _ in range(draw(st.integers(0, 4))):
        end = now + draw(st.floats(0.5, 20))
        socket.stretches.append((now, end, draw(st.booleans())))
        now = end + draw(st.floats(0.2, 12))
    socket.stretches.append((now, now + 60, True))
    return socket


@settings(max_examples=120, deadline=None)
@given(st.lists(sockets(), min_size=1, max_size=3), st.floats(0.05, 0.4), st.integers(0, 1000))
def test_every_lost_event_is_inside_a_hole(all_sockets: list[Socket], pace_s: float, seed: int) -> None:
    """Cuts of any length, and stalls longer than the limit in force."""
    end_s = max(socket.stretches[-1][0] for socket in all_sockets) + 5
    events = market(pace_s, end_s, seed)
    coverage, holes, limits_s = Coverage(START_S), [], [3.0]
    heard_any = set()
    cuts = [
        (end, number) for number, it in enumerate(all_sockets) for _, end, is_cut in it.stretches if is_cut
    ]
    for moment, cut in sorted([(event, -1) for event in events] + cuts):
        if cut >= 0:
            coverage.on_lost(cut, "disconnected")
            continue
        for number, socket in enumerate(all_sockets):
            if socket.hears(moment):
                limits_s.append(coverage.limit_s)
                hole = coverage.on_data(number, START_S + moment)
                holes += [hole] if hole else []
                heard_any.add(moment)
    bridged = [
        stall
        for socket in all_sockets
        for stall in socket.stalls()
        if silence_s(socket, stall, events) <= max(limits_s)
    ]
    for lost in set(events) - heard_any:
        covered = any(hole.from_s <= START_S + lost <= hole.to_s for hole in holes)
        assert covered or any(start <= lost <= end for start, end in bridged), (lost, spans(holes))


def market(pace_s: float, end_s: float, seed: int) -> list[float]:
    """Moments of events, about `pace_s` apart."""
    random, moments = Random(seed), [0.01]
    while moments[-1] < end_s:
        moments.append(moments[-1] + pace_s * random.uniform(0.2, 1.8))
    return moments


def silence_s(socket: Socket, stall: tuple[float, float], events: list[float]) -> float:
    """How long the socket was silent around a stall."""
    heard_events = [event for event in events if socket.hears(event)]
    before = max((event for event in heard_events if event < stall[0]), default=stall[0])
    return min((event for event in heard_events if event >= stall[1]), default=float("inf")) - before


# The exchange's clock


def test_the_exchange_time_runs_on_with_monotonic_time() -> None:
    """A jump of our clock changes nothing."""
    time = ExchangeTime(1_000_000, 10.0)
    assert time.at(12.5) == 1_002_500
    time.saw(1_000_300, 11.0)
    assert (time.at(11.0), time.at(12.0), time.at(10.0)) == (1_000_300, 1_001_300, 999_300)


def test_the_newest_event_sets_the_exchange_time() -> None:
    """Older ones (snapshots of quiet markets) do not set it back."""
    time = ExchangeTime(1_000_000, 0.0)
    time.saw(999_000, 1.0)
    time.saw(500_000, 1.1)
    assert time.at(1.9) == 999_900


def test_the_old_trades_of_snapshots_are_not_the_time() -> None:
    """A quiet market's last trade is hours old, and nothing newer may come for long."""
    now_ms = 100_000_000
    time = ExchangeTime(now_ms, 0.0)
    for age_ms in (7_200_000, 600_000, 3_600_000):
        time.saw(now_ms - age_ms, 0.0)
    assert time.at(60.0) == now_ms + 60_000
    time.saw(now_ms + 59_800, 60.0)
    assert time.at(60.0) == now_ms + 59_800


def test_one_event_from_the_future_is_not_believed() -> None:
    """A single broken time must not move all gaps; two that agree mean that our clock is wrong."""
    hour_ms = 3_600_000
    time = ExchangeTime(10 * hour_ms, 0.0)
    time.saw(10 * hour_ms, 0.0)
    time.saw(30 * hour_ms, 1.0)
    assert 10 * hour_ms + 2000 == time.at(2.0)
    time.saw(30 * hour_ms + 1500, 2.5)
    assert 30 * hour_ms + 2000 == time.at(3.0)


@pytest.mark.parametrize("wrong_ms", [-3_600_000, 3_600_000])
def test_a_wrong_clock_of_ours_is_overruled(wrong_ms: int) -> None:
    """After two events the exchange's time holds."""
    true_ms = 100_000_000
    time = ExchangeTime(true_ms + wrong_ms, 0.0)
    for second in range(3):
        time.saw(true_ms + second * 1000, float(second))
    assert true_ms + 5000 == time.at(5.0)
