"""One socket's life as a table, and what its frames mean. Pure: no socket, no clock.

Rules of this file: everything that changes a connection's state is in `TRANSITIONS`, and this file does not
know how bytes travel. A connection waits, dials, subscribes, streams, and on any loss waits again; the
exchange acknowledges nothing, so only the first data frame proves a subscription.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum

from collector.feed.arbitration import FeedArbiter
from collector.feed.watchdog import Rhythm, Stall, Watchdog
from collector.model import BookChange, Channel, EncodedBook, OrderBook, Ticker, Trade
from collector.protocol.codec import Codec, Rejected, Repeat, ServerError, Status, Subscription
from collector.settings import ConnectionSettings
from collector.stream.book import BookBuilder


class SessionState(StrEnum):
    """Where a connection is."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    SUBSCRIBED = "subscribed"
    STREAMING = "streaming"
    STOPPED = "stopped"
    GAVE_UP = "gave_up"


class Input(StrEnum):
    """What can happen to a connection."""

    DIAL = "dial"
    OPENED = "opened"
    DATA = "data"
    LOST = "lost"
    GIVE_UP = "give_up"
    STOP = "stop"


TRANSITIONS: dict[SessionState, dict[Input, SessionState]] = {
    SessionState.WAITING: {
        Input.DIAL: SessionState.CONNECTING,
        Input.GIVE_UP: SessionState.GAVE_UP,
        Input.STOP: SessionState.STOPPED,
    },
    SessionState.CONNECTING: {
        Input.OPENED: SessionState.SUBSCRIBED,
        Input.LOST: SessionState.WAITING,
        Input.STOP: SessionState.STOPPED,
    },
    SessionState.SUBSCRIBED: {
        Input.DATA: SessionState.STREAMING,
        Input.LOST: SessionState.WAITING,
        Input.STOP: SessionState.STOPPED,
    },
    SessionState.STREAMING: {
        Input.DATA: SessionState.STREAMING,
        Input.LOST: SessionState.WAITING,
        Input.STOP: SessionState.STOPPED,
    },
    SessionState.STOPPED: {Input.STOP: SessionState.STOPPED},
    SessionState.GAVE_UP: {Input.STOP: SessionState.STOPPED},
}


def advance(state: SessionState, happened: Input) -> SessionState:
    """Return the next state.

    Raises:
        ValueError: nothing of the kind can happen in `state`.
    """
    try:
        return TRANSITIONS[state][happened]
    except KeyError:
        raise ValueError(f"{happened} cannot happen to a connection that is {state}") from None


def diagram() -> str:
    """Draw `TRANSITIONS` as a Mermaid state diagram; the documentation shows this."""
    lines = ["stateDiagram-v2", f"    [*] --> {SessionState.WAITING}"]
    for state, row in TRANSITIONS.items():
        lines += [
            f"    {state} --> {target}: {happened}" for happened, target in row.items() if target != state
        ]
    return "\n".join(lines)


#: How the codec counts fields that messages can do without.
TOLERATED = "tolerated:"
#: More names of markets than any exchange lists are no names.
_REFUSED_MARKETS_MAX = 4_096
#: Whole order books are asked for again at most this often.
ASK_INTERVAL_S = 5.0
_CHANNELS: dict[type, Channel] = {
    Trade: Channel.TRADE,
    Ticker: Channel.TICKER,
    OrderBook: Channel.ORDERBOOK,
    EncodedBook: Channel.ORDERBOOK,
    BookChange: Channel.ORDERBOOK,
}

MarketEvent = Trade | Ticker | OrderBook | EncodedBook


class Session:
    """The frames of one open socket, from its subscription to its end."""

    def __init__(
        self,
        codec: Codec,
        subscription: Subscription,
        rhythms: dict[Channel, Rhythm],
        settings: ConnectionSettings,
        now_s: float,
        *,
        arbiter: FeedArbiter | None = None,
        books: BookBuilder | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        #: Refused messages since the last look, newest last, for the log and the dead letters.
        self.rejections: list[Rejected] = []
        #: Markets of which trades were refused since the last look; None is one whose market can't be read.
        self.refused_trades: set[str | None] = set()
        #: The exchange's reason for the coming close, if it gave one.
        self.server_error: ServerError | None = None
        #: The stall the socket was given up for, if it was.
        self.stall: Stall | None = None
        self.first_data_s: float | None = None
        self.last_data_s: float | None = None
        self._codec = codec
        self._markets = subscription.markets
        self._rhythms = rhythms
        self._watchdog = Watchdog(subscription.channels, rhythms, settings, now_s)
        self._arbiter = arbiter
        self._books = books
        self._asked_s = now_s
        self._heard_s: dict[Channel, float] = {}

    def on_frames(
        self, frames: Iterable[bytes | str], received_ms: int, now_s: float
    ) -> list[MarketEvent] | None:
        """Understand frames that came together; return their events, or None if none was market data."""
        events: list[MarketEvent] = []
        is_data = False
        for raw in frames:
            found = self.on_frame(raw, received_ms, now_s)
            if found is not None:
                is_data = True
                events += found
        return events if is_data else None

    def on_frame(self, raw: bytes | str, received_ms: int, now_s: float) -> Sequence[MarketEvent] | None:
        """Understand one frame; return the events it carries, or None if it was not market data.

        A copy or a repeat is market data without events; a keepalive or garbage is not.
        """
        self.counts["frames"] += 1
        if self._arbiter is not None:
            channel = self._arbiter.channel_of_copy(raw)
            if channel is not None:
                self.counts["frame_copies"] += 1
                self._heard(channel, now_s)
                return ()
        events: list[MarketEvent] | None = None
        for message in self._codec.decode(raw, received_ms):
            channel = _CHANNELS.get(type(message))
            if channel is not None:
                events = [] if events is None else events
                self._heard(channel, now_s)
                self._take(message, raw, channel, events)  # type: ignore[arg-type]
            elif isinstance(message, Repeat):
                events = [] if events is None else events
                self._heard(message.channel, now_s)
                self.counts["books_repeated"] += 1
            else:
                self._on_control(message)
        return events

    def _take(
        self, event: MarketEvent | BookChange, raw: bytes | str, channel: Channel, events: list[MarketEvent]
    ) -> None:
        if self._arbiter is not None:
            self._arbiter.remember(raw, channel)
        whole = event if self._books is None else self._whole(event, self._books)
        if whole is not None and not isinstance(whole, BookChange):
            events.append(whole)

    def check(self, now_s: float) -> Stall | None:
        """Return the stall to reconnect for, or None."""
        return self._watchdog.check(now_s)

    def on_stall(self, stall: Stall) -> None:
        """Take note that the socket is given up for `stall`."""
        self.counts[f"stalls:{stall.channel}"] += 1
        self.stall = stall
        if self.first_data_s is not None:  # a socket without any data is no measure of a channel's interval
            self._rhythms[stall.channel].called_a_stall()

    def healthy_since(self, now_s: float) -> float:
        """Return for how many seconds data has been flowing; the silence since the last does not count."""
        if self.first_data_s is None or self.last_data_s is None:
            return 0.0
        return min(self.last_data_s, now_s) - self.first_data_s

    def requests(self, now_s: float) -> list[str]:
        """Return texts that should be sent now: order books to ask for again.

        All are asked for, not the missing alone: a request may replace the one before of its type.
        """
        if self._books is None or not self._books.missing or now_s - self._asked_s < ASK_INTERVAL_S:
            return []
        self._asked_s = now_s
        self.counts["books_asked_again"] += len(self._books.missing)
        return self._codec.ask_for_books(self._markets)

    def totals(self) -> Counter[str]:
        """Return all counts, among them what was odd as `surprise:…`, and what was done without."""
        total = Counter(dict(self.counts))  # a copy in one step: this is asked for by another thread too
        for odd in (self._codec.surprises, self._books.surprises if self._books else {}):
            for name, count in dict(odd).items():
                total[name if name.startswith(TOLERATED) else f"surprise:{name}"] += count
        return total

    def _whole(self, event: MarketEvent | BookChange, books: BookBuilder) -> MarketEvent | None:
        if isinstance(event, BookChange):
            return books.change(event)
        return books.replace(event) if isinstance(event, OrderBook) else event

    def _heard(self, channel: Channel, now_s: float) -> None:
        if self.first_data_s is None:
            self.first_data_s = now_s
        self.last_data_s = now_s
        if self._heard_s.get(channel) != now_s:  # frames that came together are one sign of life
            self._heard_s[channel] = now_s
            self._watchdog.heard(channel, now_s)

    def _on_control(self, message: object) -> None:
        if isinstance(message, Rejected):
            self.counts[f"rejected:{message.reason}"] += 1
            self.rejections.append(message)
            del self.rejections[:-100]
            if message.channel is Channel.TRADE:
                known = len(self.refused_trades) < _REFUSED_MARKETS_MAX
                self.refused_trades.add(message.market if known else None)
        elif isinstance(message, ServerError):
            self.counts["server_errors"] += 1
            self.server_error = message
        elif isinstance(message, Status):
            self.counts["statuses"] += 1
