"""Several sockets, one stream: a frame that another socket brought first is not even parsed. Pure."""

from collector.model import Channel


class FeedArbiter:
    """Remember the last frames of all sockets, byte for byte, and the channel each belonged to.

    Only for frames that can't legitimately be equal: every frame of the current protocol carries a time or a
    trade id. Bounded: the last `kept` to `2 * kept` frames of the usual size.
    """

    _LONGEST = 16 << 10

    def __init__(self, kept: int = 2_000) -> None:
        self._kept = kept
        self._new: dict[bytes | str, Channel] = {}
        self._old: dict[bytes | str, Channel] = {}

    def channel_of_copy(self, raw: bytes | str) -> Channel | None:
        """Return the channel of an equal frame seen before, or None for a first copy."""
        return self._new.get(raw) or self._old.get(raw)

    def remember(self, raw: bytes | str, channel: Channel) -> None:
        """Keep a frame that was understood."""
        if len(raw) <= self._LONGEST:
            self._new[raw] = channel
        if len(self._new) >= self._kept:
            self._old, self._new = self._new, {}
