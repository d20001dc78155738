"""What differs between the exchange's two protocols."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from collector.simulator.events import Event
from collector.simulator.market import SimMarket
from collector.simulator.requests import Refused, Subscription


class Dialect(Protocol):
    """One protocol's words and manners."""

    path: str
    #: Sent to every new socket.
    greeting: tuple[bytes, ...]
    #: Sent after every good request.
    acknowledgement: tuple[bytes, ...]
    #: Whether a refusal ends the connection (code 1000).
    closes_on_refusal: bool
    #: Whether its frames are binary ones.
    binary: bool

    def parse(self, text: str, before: Subscription) -> Subscription:
        """Read a request; raises `Refused`."""
        ...

    def refusal(self, refused: Refused) -> bytes:
        """Write the error frame."""
        ...

    def live(self, events: Iterable[Event], subscription: Subscription, now_ms: int) -> list[bytes]:
        """Write what a subscription gets of `events`."""
        ...

    def snapshots(
        self, subscription: Subscription, markets: Mapping[str, SimMarket], now_ms: int
    ) -> list[bytes]:
        """Write what a subscription gets at its start."""
        ...
