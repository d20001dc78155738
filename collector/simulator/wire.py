"""Server-side WebSocket frames as bytes, so that a tick's worth of messages is one write per socket.

A server's data frame is its header and the payload, unmasked (RFC 6455 section 5.2); `websockets` would spend
a call chain and a system call on each.
"""

from collections.abc import Iterable

#: One message: `bytes` goes out as a binary frame, `str` as a text frame.
Payload = bytes | str

_FIN_TEXT, _FIN_BINARY = 0x81, 0x82


def data_frames(payloads: Iterable[Payload]) -> bytes:
    """Return the frames that carry `payloads`, one after the other."""
    parts: list[bytes] = []
    for payload in payloads:
        opcode, body = (_FIN_BINARY, payload) if isinstance(payload, bytes) else (_FIN_TEXT, payload.encode())
        parts += (_header(opcode, len(body)), body)
    return b"".join(parts)


def _header(opcode: int, length: int) -> bytes:
    if length < 126:
        return bytes((opcode, length))
    if length < 1 << 16:
        return bytes((opcode, 126)) + length.to_bytes(2)
    return bytes((opcode, 127)) + length.to_bytes(8)
