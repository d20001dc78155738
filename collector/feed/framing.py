"""Whole WebSocket data frames cut out of a stream of bytes (RFC 6455, section 5.2). Pure.

Only what the exchange sends in the ordinary case is understood here: unmasked, unfragmented frames without
extensions. Everything else is passed on as it is, so that no rule of the protocol has to be written twice.
"""

from typing import NamedTuple

#: First byte of a whole text or binary frame; of a close, ping or pong.
_DATA = frozenset({0x81, 0x82})
_CONTROL = frozenset({0x88, 0x89, 0x8A})
#: Second byte: a payload of this many bytes or fewer has no further length field.
_SHORT, _LENGTH_16, _LENGTH_64 = 125, 126, 127


class Split(NamedTuple):
    """A stretch of the stream, taken apart."""

    #: Payloads of data frames.
    frames: list[bytes]
    #: Close, ping and pong frames, each with its header.
    control: list[bytes]
    #: The beginning of a frame whose end has not come yet.
    rest: bytes
    #: From the first frame on that is none of the above: all that follows.
    strange: bytes


def split_frames(data: bytes, max_bytes: int) -> Split:
    """Take apart `data`, which starts at a frame.

    Args:
        max_bytes: a longer payload is strange.
    """
    frames: list[bytes] = []
    control: list[bytes] = []
    place, end = 0, len(data)
    while end - place >= 2:
        kind, length = data[place], data[place + 1]
        start = place + 2
        if kind in _DATA and length <= _LENGTH_64:
            if length > _SHORT:
                start += 2 if length == _LENGTH_16 else 8
                if start > end:
                    break
                length = int.from_bytes(data[place + 2 : start], "big")
                if length > max_bytes:
                    return Split(frames, control, b"", data[place:])
            stop = start + length
            if stop > end:
                break
            frames.append(data[start:stop])
        elif kind in _CONTROL and length <= _SHORT:
            stop = start + length
            if stop > end:
                break
            control.append(data[place:stop])
        else:
            return Split(frames, control, b"", data[place:])
        place = stop
    return Split(frames, control, data[place:], b"")
