"""A socket's life as a table, and what its frames mean."""

import itertools

import pytest

from collector.feed.arbitration import FeedArbiter
from collector.feed.session import ASK_INTERVAL_S, TRANSITIONS, Input, Session, SessionState, advance, diagram
from collector.feed.watchdog import Stall, new_rhythms
from collector.model import Channel, EncodedBook, OrderBook, Ticker, Trade
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.protocol.legacy import LegacyCodec
from collector.settings import ConnectionSettings
from collector.stream.book import BookBuilder
from tests.samples import legacy_frames
from tests.samples.frames import BOOK, RECEIVED_MS, TICKER, TRADE, wire

SETTINGS = ConnectionSettings()
ALL = Subscription(("KRW-BTC", "KRW-ETH"), tuple(Channel))


def session(arbiter: FeedArbiter | None = None) -> Session:
    return Session(CurrentCodec(), ALL, new_rhythms(SETTINGS), SETTINGS, 0.0, arbiter=arbiter)


def test_every_state_is_in_the_table_and_every_target_too() -> None:
    """Nothing leads out of the table."""
    assert set(SessionState) == set(TRANSITIONS)
    assert {target for row in TRANSITIONS.values() for target in row.values()} <= set(SessionState)


def test_what_is_not_in_the_table_raises_and_changes_nothing() -> None:
    """All 36 combinations: allowed ones lead where the table says, the others name both sides."""
    for state, happened in itertools.product(SessionState, Input):
        if happened in TRANSITIONS[state]:
            assert advance(state, happened) is TRANSITIONS[state][happened]
            continue
        before = {known: dict(row) for known, row in TRANSITIONS.items()}
        with pytest.raises(ValueError, match=f"{happened} cannot happen to a connection that is {state}"):
            advance(state, happened)
        assert before == TRANSITIONS


def test_every_state_is_reached_and_every_live_one_can_stop_and_be_lost() -> None:
    """A walk from WAITING sees all; STOP leads out of everything."""
    reached = {SessionState.WAITING}
    for _ in SessionState:
        reached |= {target for state in reached for target in TRANSITIONS[state].values()}
    assert set(SessionState) == reached
    assert all(advance(state, Input.STOP) is SessionState.STOPPED for state in SessionState)
    for state in (SessionState.CONNECTING, SessionState.SUBSCRIBED, SessionState.STREAMING):
        assert advance(state, Input.LOST) is SessionState.WAITING


def test_the_diagram_is_drawn_from_the_table() -> None:
    """Every arrow that goes somewhere is in the picture."""
    arrows = sum(state is not target for state, row in TRANSITIONS.items() for target in row.values())
    assert arrows + 2 == len(diagram().splitlines())
    assert "    streaming --> waiting: lost" in diagram().splitlines()


def test_data_frames_give_their_events() -> None:
    """One frame, one event; the first of all is noted."""
    it = session()
    for number, (frame, kind) in enumerate(((TRADE, Trade), (TICKER, Ticker), (BOOK, EncodedBook)), 1):
        (event,) = it.on_frame(wire(frame).encode(), RECEIVED_MS, float(number)) or ()
        assert type(event) is kind
    assert (it.first_data_s, it.last_data_s) == (1.0, 3.0)
    assert it.counts == {"frames": 3}


@pytest.mark.parametrize(
    ("expected", "raw"),
    [
        ("statuses", '{"status":"UP"}'),
        ("server_errors", '{"error":{"name":"INVALID_PARAM","message":"x"}}'),
        ("rejected:not_json", "garbage"),
        ("rejected:unknown_type", '{"type":"candle"}'),
    ],
)
def test_what_is_no_data_is_counted_and_keeps_nothing_alive(expected: str, raw: str) -> None:
    """Keepalives and garbage return None: they vouch for nothing."""
    it = session()
    assert it.on_frame(raw, RECEIVED_MS, 1.0) is None
    assert it.counts == {"frames": 1, expected: 1}
    assert it.last_data_s is None
    assert it.check(SETTINGS.first_message_timeout_s + 1) is not None


def test_the_servers_reason_is_kept_for_the_close_that_follows() -> None:
    """An error frame is always followed by a close."""
    it = session()
    it.on_frame('{"error":{"name":"NO_TICKET","message":"x"}}', RECEIVED_MS, 1.0)
    assert it.server_error is not None
    assert it.server_error.name == "NO_TICKET"


def test_a_repeat_is_data_without_an_event() -> None:
    """It proves a live channel."""
    it = session()
    it.on_frame(wire(BOOK).encode(), RECEIVED_MS, 1.0)
    later = wire(BOOK, timestamp="1790133514164033").encode()
    assert it.on_frame(later, RECEIVED_MS, 2.0) == []
    assert (it.last_data_s, it.counts["books_repeated"]) == (2.0, 1)


def test_the_second_copy_of_a_frame_is_data_without_an_event() -> None:
    """It keeps its own socket alive and is not parsed."""
    shared = FeedArbiter()
    one, two = session(shared), session(shared)
    raw = wire(TRADE).encode()
    assert len(one.on_frame(raw, RECEIVED_MS, 1.0) or ()) == 1
    assert two.on_frame(raw, RECEIVED_MS, 1.1) == ()
    assert (two.counts["frame_copies"], two.last_data_s) == (1, 1.1)


def test_garbage_is_never_a_copy() -> None:
    """A refused frame is refused on every socket."""
    shared = FeedArbiter()
    for it in (session(shared), session(shared)):
        assert it.on_frame("garbage", RECEIVED_MS, 1.0) is None
        assert it.counts["rejected:not_json"] == 1


def test_rejections_are_bounded() -> None:
    """The newest hundred are kept until somebody looks."""
    it = session()
    for number in range(250):
        it.on_frame(f"garbage {number}", RECEIVED_MS, 1.0)
    assert len(it.rejections) == 100
    assert it.rejections[-1].raw == b"garbage 249"
    assert it.counts["rejected:not_json"] == 250


def test_health_is_flowing_data_not_an_open_socket() -> None:
    """A snapshot and then silence is not health."""
    it = session()
    assert it.healthy_since(100.0) == 0
    it.on_frame(wire(TRADE).encode(), RECEIVED_MS, 1.0)
    assert it.healthy_since(100.0) == 0
    it.on_frame(wire(TICKER).encode(), RECEIVED_MS, 12.0)
    assert it.healthy_since(100.0) == 11.0


def test_a_stall_makes_the_channel_more_patient_only_if_the_socket_ever_spoke() -> None:
    """Silence from birth is the socket's fault."""
    stall = Stall(Channel.TRADE, 20.0, 15.0)
    rhythms = new_rhythms(SETTINGS)
    it = Session(CurrentCodec(), ALL, rhythms, SETTINGS, 0.0)
    it.on_stall(stall)
    assert rhythms[Channel.TRADE].patience == 1
    it.on_frame(wire(TRADE).encode(), RECEIVED_MS, 1.0)
    it.on_stall(stall)
    assert rhythms[Channel.TRADE].patience == 2
    assert (it.stall, it.counts["stalls:trade"]) == (stall, 2)


def test_totals_name_what_was_odd() -> None:
    """Unknown fields and unsorted books are surprises."""
    it = session()
    it.on_frame(wire(TRADE, x="1"), RECEIVED_MS, 1.0)
    assert it.totals() == {"frames": 1, "surprise:unknown_field:trade.x": 1}


class TestLegacyBooks:
    """Books from changes: asked for again, bounded in pace."""

    @staticmethod
    def session() -> Session:
        return Session(LegacyCodec(), ALL, new_rhythms(SETTINGS), SETTINGS, 0.0, books=BookBuilder())

    def test_a_change_before_its_book_is_data_and_asks_for_the_book(self) -> None:
        """All markets are asked for: a request may replace the one before."""
        it = self.session()
        assert it.on_frame(legacy_frames.depth(), legacy_frames.RECEIVED_MS, 1.0) == []
        assert it.last_data_s == 1.0
        assert it.requests(1.0) == []
        (text,) = it.requests(ASK_INTERVAL_S + 0.1)
        assert '"orderbooksnapshot"' in text
        assert "BTC_KRW" in text
        assert "ETH_KRW" in text
        assert it.requests(ASK_INTERVAL_S + 1) == []
        assert it.counts["books_asked_again"] == 1

    def test_a_book_in_step_gives_whole_books(self) -> None:
        """Whole book first, then one whole book per change; nothing is asked for."""
        it = self.session()
        (whole,) = it.on_frame(legacy_frames.snapshot(), legacy_frames.RECEIVED_MS, 1.0) or ()
        (changed,) = it.on_frame(legacy_frames.depth(), legacy_frames.RECEIVED_MS, 2.0) or ()
        assert isinstance(whole, OrderBook)
        assert isinstance(changed, OrderBook)
        assert str(changed.bids[0][1]) == "0.5"
        assert it.requests(100.0) == []
        assert it.totals()["frames"] == 2
