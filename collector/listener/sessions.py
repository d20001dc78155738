"""Sessions for sockets, live or recorded: codec, arbitration between sockets, and the rhythm of channels."""

from collector.feed.arbitration import FeedArbiter
from collector.feed.session import Session
from collector.feed.watchdog import new_rhythms
from collector.protocol.choice import new_codec
from collector.protocol.codec import Subscription
from collector.protocol.repeats import RepeatedBooks
from collector.settings import ConnectionSettings, ExchangeSettings
from collector.stream.book import BookBuilder


class SessionFactory:
    """Makes the sessions of one listener; what they share is here.

    Args:
        redundancy: sockets with the same subscription; above 1 copies of a frame are not parsed again.
    """

    def __init__(self, exchange: ExchangeSettings, connection: ConnectionSettings, redundancy: int) -> None:
        self._exchange = exchange
        self._connection = connection
        self._rhythms = new_rhythms(connection)
        is_current = exchange.protocol == "current"
        self._arbiter = FeedArbiter() if is_current and redundancy > 1 else None
        self._repeats = RepeatedBooks()

    def new(self, subscription: Subscription, now_s: float) -> Session:
        """Make the session of a socket that opens at `now_s`."""
        return Session(
            new_codec(self._exchange, self._repeats),
            subscription,
            self._rhythms,
            self._connection,
            now_s,
            arbiter=self._arbiter,
            books=BookBuilder() if self._exchange.protocol == "legacy" else None,
        )

    def subscribe_texts(self, subscription: Subscription) -> list[str]:
        """Return what a socket sends first."""
        return new_codec(self._exchange).subscribe(subscription)
