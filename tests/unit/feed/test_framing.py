"""Frames cut out of a stream are those that were put in, however it is cut; all else is passed on whole."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from collector.feed.framing import Split, split_frames

MAX_BYTES = 1 << 17
CONTROL = (Opcode.PING, Opcode.PONG, Opcode.CLOSE)


def wire(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=mask)


payloads = st.one_of(
    st.binary(max_size=130),
    st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]).map(lambda size: b"x" * size),
)
frames = st.one_of(
    st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), payloads),
    st.tuples(st.just(Opcode.PING), st.binary(max_size=125)),
)


@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 300_000), max_size=6))
def test_however_a_stream_is_cut_the_frames_are_the_same(sent: list[tuple[Opcode, bytes]], cuts) -> None:
    """Data in order, control frames whole, nothing left over."""
    stream = b"".join(wire(opcode, payload) for opcode, payload in sent)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    rest, data, control, start = b"", [], [], 0
    for end in ends:
        split = split_frames(rest + stream[start:end], MAX_BYTES)
        assert not split.strange
        data += split.frames
        control += split.control
        rest, start = split.rest, end
    assert rest == b""
    assert data == [payload for opcode, payload in sent if opcode is not Opcode.PING]
    assert control == [wire(opcode, payload) for opcode, payload in sent if opcode is Opcode.PING]


def test_what_is_no_usual_frame_is_strange_from_there_on() -> None:
    """A fragment, a masked frame, an extension's bit, an unknown opcode, a frame that is too large."""
    good = wire(Opcode.TEXT, b"good")
    strange = (
        wire(Opcode.TEXT, b"half", fin=False),
        wire(Opcode.CONT, b"rest"),
        wire(Opcode.TEXT, b"masked", mask=True),
        wire(Opcode.BINARY, b"y" * 200, mask=True),
        bytes([0xC1, 0x01]) + b"c",
        bytes([0x83, 0x01]) + b"?",
        bytes([0x89, 126, 0, 126]) + b"p" * 126,
        wire(Opcode.BINARY, b"z" * (MAX_BYTES + 1)),
    )
    for frame in strange:
        assert split_frames(good + frame + good, MAX_BYTES) == Split([b"good"], [], b"", frame + good)


def test_a_frame_that_is_too_large_is_told_by_its_header() -> None:
    """Nobody waits for a gigabyte to come."""
    header = bytes([0x82, 127]) + (1 << 30).to_bytes(8, "big")
    assert split_frames(header, MAX_BYTES).strange == header


def test_an_unfinished_header_waits() -> None:
    """One byte, or a length that has not come in full, is the beginning of a frame."""
    whole = wire(Opcode.BINARY, b"x" * 70_000)
    for size in range(1, 10):
        assert split_frames(whole[:size], MAX_BYTES) == Split([], [], whole[:size], b"")
