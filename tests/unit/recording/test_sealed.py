"""One wrong bit in a recording is an error, never another trade; one missing byte is a cut."""

import io
import random
from functools import cache
from pathlib import Path

import pytest

from collector.errors import ConfigurationError
from collector.recording import CutRecording, Frame, RecordingWriter, open_recording, sealed
from collector.util.compression import zstd

MS = 1_790_133_505_546


@cache
def frames(count: int) -> list[Frame]:
    """Trades that differ in a digit here and there, as those of a calm market do."""
    rng = random.Random(7)
    text = '{"type":"trade","code":"KRW-BTC","trade_price":%d,"trade_volume":%.8f,"sequential_id":%d}'
    return [
        Frame((MS + n) * 1000, (text % (rng.randrange(10**8), rng.random(), MS + n)).encode(), True, 1)
        for n in range(count)
    ]


def recorded(path: Path, count: int) -> bytes:
    with RecordingWriter(path, "current", "wss://example.invalid", MS) as writer:
        for frame in frames(count):
            writer.append(frame)
    return path.read_bytes()


@pytest.fixture
def in_small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "FRAME_BYTES", 1_000)


@pytest.mark.usefixtures("in_small_frames")
def test_no_single_bit_makes_another_trade(tmp_path: Path) -> None:
    """Whichever bit is flipped: an error, or a bit that means nothing, and never what was not recorded."""
    path = tmp_path / "r.zst"
    data = recorded(path, 12)
    assert data.count(sealed.MAGIC) >= 3
    outcomes = [spoiled(path, data, bit) for bit in range(0, len(data) * 8, 3)]
    assert outcomes.count("another") == 0
    assert outcomes.count("same") < len(outcomes) / 50, "unused bits of zstd's headers"


def spoiled(path: Path, data: bytes, bit: int) -> str:
    """Return how the recording with one bit flipped is read."""
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    got, is_refused = read(path)
    if got != frames(12)[: len(got)]:
        return "another"
    return "refused" if is_refused else "same" if len(got) == 12 else "another"


def read(path: Path) -> tuple[list[Frame], bool]:
    """Return what can be read, and whether reading ended with an error."""
    got: list[Frame] = []
    try:
        got.extend(open_recording(path))
    except (ConfigurationError, CutRecording):
        return got, True
    return got, False


@pytest.mark.usefixtures("in_small_frames")
def test_every_missing_byte_is_a_cut(tmp_path: Path) -> None:
    """However little is missing, also where a zstd frame ends; what is whole is read."""
    path = tmp_path / "r.zst"
    data = recorded(path, 12)
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        got, is_refused = read(path)
        assert got == frames(12)[: len(got)]
        # Between its first line and the mark behind it a file can't be told from an empty one of old.
        assert is_refused or length == data.index(sealed.BEGINS)


def test_it_is_plain_zstd_for_all_others(tmp_path: Path) -> None:
    """The lines are those of the form, whoever decompresses them."""
    data = recorded(tmp_path / "r.zst", 3)
    lines = zstd.ZstdFile(io.BytesIO(data)).read().splitlines()
    assert lines[0].startswith(b'{"format":"bithumb-recording","version":1')
    assert len(lines) == 4


def test_recordings_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """One zstd frame without a checksum; a cut is told as before."""
    recorded(tmp_path / "new.zst", 50)
    content = zstd.ZstdFile(tmp_path / "new.zst").read()
    old = tmp_path / "old.zst"
    with zstd.ZstdFile(old, "w") as file:
        for line in content.splitlines(keepends=True):
            file.write(line)
            file.flush(1)
    assert list(open_recording(old)) == frames(50)
    old.write_bytes(old.read_bytes()[:-30])
    with pytest.raises(CutRecording, match="49 whole frames, then it breaks off"):
        list(open_recording(old))


def test_several_frames_and_foreign_marks_are_read(tmp_path: Path) -> None:
    """As other programs write them."""
    recorded(tmp_path / "new.zst", 4)
    lines = zstd.ZstdFile(tmp_path / "new.zst").read().splitlines(keepends=True)
    foreign = b"\x50\x2a\x4d\x18\x04\x00\x00\x00seek"
    other = tmp_path / "other.zst"
    other.write_bytes(foreign.join(map(zstd.compress, lines)) + foreign)
    assert list(open_recording(other)) == frames(4)


def test_a_large_recording_is_no_larger_for_it(tmp_path: Path) -> None:
    """A checksum for each megabyte: less than a hundredth."""
    data = recorded(tmp_path / "r.zst", 30_000)
    content = zstd.ZstdFile(io.BytesIO(data)).read()
    assert len(content) > 3 * sealed.FRAME_BYTES
    plain = tmp_path / "plain.zst"
    with zstd.ZstdFile(plain, "w") as file:
        for line in content.splitlines(keepends=True):
            file.write(line)
            if file.tell() % 1000 == 0:
                file.flush(1)
    assert len(data) < 1.05 * plain.stat().st_size
