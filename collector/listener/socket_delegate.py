"""What the connections of a listener need from it: sessions, and a place for what their frames carried.

Everything here runs in the event loop; `ended` may be copied by any thread.
"""

from collections import Counter
from collections.abc import Sequence

from collector.feed.connection import Connection
from collector.feed.session import MarketEvent, Session
from collector.listener.gap_tracker import GapTracker
from collector.listener.market_list import MarketList
from collector.listener.pipeline import EventPipeline
from collector.listener.rejections import RejectionLog
from collector.listener.sessions import SessionFactory
from collector.protocol.codec import Subscription
from collector.protocol.current import is_snapshot
from collector.settings import Settings
from collector.stream.refused import RefusedTrades


class SocketDelegate:
    """Connects the connection group with the pipeline (`ConnectionDelegate`)."""

    def __init__(
        self,
        settings: Settings,
        markets: MarketList,
        pipeline: EventPipeline,
        gap_tracker: GapTracker,
        rejections: RejectionLog,
    ) -> None:
        #: Counts of sessions that have ended.
        self.ended: Counter[str] = Counter()
        self._settings = settings
        self._markets = markets
        self._pipeline = pipeline
        self._gap_tracker = gap_tracker
        self._rejections = rejections
        self._refused = RefusedTrades()
        self._sessions = SessionFactory(settings.exchange, settings.connection, settings.redundancy)

    def new_session(self, connection: Connection, now_s: float) -> Session:  # noqa: ARG002 - the delegate's protocol
        """Make the session of a socket that has just opened."""
        return self._sessions.new(self._subscription(), now_s)

    def subscribe_texts(self) -> list[str]:
        """Return what a socket sends first."""
        return self._sessions.subscribe_texts(self._subscription())

    def on_frames(
        self,
        connection: Connection,
        events: Sequence[MarketEvent] | None,
        frames: Sequence[bytes],
        received_ms: int,
    ) -> None:
        """Take frames that came together, and what they carried."""
        if events is not None:
            has_snapshots = any(map(is_snapshot, frames))
            self._pipeline.process(connection.number, events, has_snapshots=has_snapshots)
        session = connection.session
        if session is not None and session.rejections:
            self._rejections.note(session, received_ms)
            self._open_refused(session)

    def on_disconnected(self, connection: Connection, reason: str) -> None:
        """Take note that a socket is gone."""
        self._pipeline.coverage.on_disconnected(connection.number, reason)
        if connection.session is not None:
            self.ended.update(connection.session.totals())
            connection.session = None

    def on_date(self, server_ms: int) -> None:
        """Take the time that the exchange's servers name."""
        self._pipeline.exchange_time.hint(server_ms, self._pipeline.now_s())

    def _subscription(self) -> Subscription:
        return Subscription(self._markets.markets, self._settings.channels)

    def _open_refused(self, session: Session) -> None:
        """Open gaps for the trades among what a session refused."""
        now_ms = self._pipeline.exchange_ms()
        for gap in self._refused.on_refused(session.refused_trades, self._markets.markets, now_ms):
            self._gap_tracker.open(gap.market, gap.from_ms, gap.to_ms, "refused")
        session.refused_trades.clear()
