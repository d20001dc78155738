"""Recorded sessions: what is written is read back, what is cut says so, digits stay as printed."""

import contextlib
import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.recording import (
    CutRecording,
    Frame,
    Limits,
    RecordingWriter,
    RotatingWriter,
    open_recording,
)

SHARED = Path(os.environ.get("SHARED_DIR") or Path(__file__).resolve().parents[4] / "shared") / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"recorded data is not at {SHARED}")

MS = 1_790_133_505_546
UPBIT = "cryptofeed-upbit-2021-04-05/UPBIT-d78752.0.gz"
LEGACY = "cryptofeed-bithumb-legacy-2021-06-02/BITHUMB.ws.1.0"
TRADE_ORDER = ["ty", "cd", "tp", "tv", "ab", "pcp", "c", "cp", "tdt", "ttm", "ttms", "sid", "tms", "st"]
frames = st.lists(
    st.builds(
        Frame,
        st.integers(0, 2**53),
        st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)),
        st.just(True),
        st.integers(1, 9),
    )
)


def write(path: Path, written: list[Frame], protocol: str = "current") -> Path:
    with RecordingWriter(path, protocol, "wss://example.invalid/websocket/v1", MS) as writer:
        for frame in written:
            writer.append(frame)
    return path


def collect(path: Path) -> tuple[list[Frame], CutRecording | None]:
    """Read all frames and the cut, if there is one."""
    got: list[Frame] = []
    try:
        got.extend(open_recording(path))
    except CutRecording as cut:
        return got, cut
    return got, None


numbers = itertools.count()


@given(frames)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, written: list[Frame]) -> None:
    """Any bytes, any connection, any time survive the round trip, in order."""
    path = tmp_path / f"{next(numbers)}.zst"
    assert written == list(open_recording(write(path, written)))


def test_text_frames_stay_text_frames(tmp_path: Path) -> None:
    """The binary flag of a frame is kept."""
    written = [Frame(MS * 1000, b'{"status":"UP"}', binary=False), Frame(MS * 1000 + 1, b"{}", binary=True)]
    assert written == list(open_recording(write(tmp_path / "r.zst", written)))


def test_the_header_tells_the_protocol(tmp_path: Path) -> None:
    """A legacy session is known as one."""
    assert open_recording(write(tmp_path / "r.zst", [], "legacy")).protocol == "legacy"


def test_a_recording_can_be_read_twice(tmp_path: Path) -> None:
    """Each iteration starts from the beginning."""
    recording = open_recording(write(tmp_path / "r.zst", [Frame(1, b"{}")]))
    assert list(recording) == list(recording)


def test_a_file_cut_anywhere_gives_a_prefix_or_is_refused(tmp_path: Path) -> None:
    """After a cut at any byte, what is delivered is a prefix of what was written, and the cut is said."""
    written = [Frame(MS * 1000 + i, json.dumps({"i": i, "x": "y" * (i % 90)}).encode()) for i in range(500)]
    whole = write(tmp_path / "whole.zst", written).read_bytes()
    cut = tmp_path / "cut.zst"
    for at in random.Random(1).sample(range(len(whole)), 60):
        cut.write_bytes(whole[:at])
        try:
            got, error = collect(cut)
        except ConfigurationError:
            assert at < 200  # not even the header is left
            continue
        assert error is not None
        assert written[: len(got)] == got
        assert error.frames == len(got)


@pytest.mark.server
def test_an_unfinished_file_is_readable_up_to_its_last_flush(tmp_path: Path) -> None:
    """A process killed while it records leaves its part, readable up to the last flush."""
    script = (
        "import sys,time,pathlib\n"
        "from collector.recording import *\n"
        "w = RecordingWriter(pathlib.Path(sys.argv[1]), 'current', 'ws://x', 1)\n"
        "for i in range(1500): w.append(Frame(i, b'{}'))\n"
        "w.flush(); w.append(Frame(9999, b'{}')); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "r.zst")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    got, error = collect(tmp_path / "r.zst.part")
    assert list(range(1500)) == [frame.received_us for frame in got]
    assert error is not None
    assert not (tmp_path / "r.zst").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Neither a recording nor the part of an earlier one is replaced."""
    write(tmp_path / "a.zst", [])
    (tmp_path / "b.zst.part").touch()
    for name in ("a.zst", "b.zst"):
        with pytest.raises(ConfigurationError, match="exists already"):
            RecordingWriter(tmp_path / name, "current", "ws://x", 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"hello\n",
        b"{}\n",
        b"[1,2]\n",
        b"[" * 100_000,
        b"\x00\xff" * 100,
        b"\x28\xb5\x2f\xfdgarbage",
        b"\x1f\x8bgarbage",
        b"x" * (17 << 20),
        b'{"raw": 5}\n',
    ],
    ids=str,
)
def test_what_is_not_a_recording_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    """Junk of many kinds gets one clear line."""
    path = tmp_path / "junk"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a recording"):
        open_recording(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    """What can't be opened is named with the reason."""
    with pytest.raises(ConfigurationError, match="No such file"):
        open_recording(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="directory"):
        open_recording(tmp_path)


def rotate(path: Path, written: list[Frame], limits: Limits) -> list[str]:
    """Write with rotation; return the names in the folder."""
    with RotatingWriter(path, "current", "wss://example.invalid/websocket/v1", MS, limits) as writer:
        for frame in written:
            writer.append(frame)
    return sorted(file.name for file in path.parent.iterdir())


@given(frames, st.integers(1, 3))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_recording_in_several_files_is_one_recording(
    tmp_path: Path, written: list[Frame], seconds: int
) -> None:
    """Read through its index it has every frame once, in order, wherever it was cut into files."""
    path = tmp_path / str(next(numbers)) / "session.zst"
    path.parent.mkdir()
    rotate(path, written, Limits(max_s=seconds * 1e9))
    assert list(open_recording(path)) == written


def test_files_are_cut_by_time_and_by_size(tmp_path: Path) -> None:
    """Ten seconds at most in a file, or so many bytes; the index says what each holds."""
    written = [Frame(MS * 1000 + n * 1_000_000, b"%d" % n) for n in range(25)]
    names = rotate(tmp_path / "t.zst", written, Limits(max_s=10))
    assert names == ["t.0001.zst", "t.0002.zst", "t.0003.zst", "t.zst"]
    rows = [json.loads(line) for line in (tmp_path / "t.zst").read_text().splitlines()[1:]]
    assert [row["frames"] for row in rows] == [10, 10, 5]
    assert [row["first_us"] for row in rows] == [written[n].received_us for n in (0, 10, 20)]
    assert [row["bytes"] for row in rows] == [(tmp_path / row["file"]).stat().st_size for row in rows]

    (tmp_path / "size").mkdir()
    noise = [Frame(n, random.Random(n).randbytes(2_000)) for n in range(4_000)]
    rotate(tmp_path / "size" / "s.zst", noise, Limits(max_bytes=2_000_000))
    sizes = [file.stat().st_size for file in (tmp_path / "size").glob("s.0*")]
    assert len(sizes) >= 3
    assert max(sizes) < 5_500_000
    assert list(open_recording(tmp_path / "size" / "s.zst")) == noise


def test_only_files_of_the_asked_stretch_are_opened(tmp_path: Path) -> None:
    """The index leads to them: the others may even be gone."""
    written = [Frame(n * 1_000_000, b"%d" % n) for n in range(30)]
    rotate(tmp_path / "t.zst", written, Limits(max_s=10))
    (tmp_path / "t.0001.zst").unlink()
    assert list(open_recording(tmp_path / "t.zst", from_us=12_000_000)) == written[10:]
    assert list(open_recording(tmp_path / "t.zst", 12_000_000, 15_000_000)) == written[10:20]
    with pytest.raises(ConfigurationError, match=r"t\.0001\.zst.*No such file"):
        open_recording(tmp_path / "t.zst")


@pytest.mark.server
def test_a_killed_rotation_leaves_the_whole_files_in_the_index(tmp_path: Path) -> None:
    """What was complete is indexed; the running file stays as a part of its own."""
    script = (
        "import sys,time,pathlib\n"
        "from collector.recording import *\n"
        "w = RotatingWriter(pathlib.Path(sys.argv[1]), 'current', 'ws://x', 1, Limits(max_s=10))\n"
        "for i in range(25): w.append(Frame(i * 1_000_000, b'{}'))\n"
        "w._writer.flush(); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "r.zst")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert len(list(open_recording(tmp_path / "r.zst"))) == 20
    assert len(collect(tmp_path / "r.0003.zst.part")[0]) == 5


def test_the_bytes_read_add_up_to_the_size(tmp_path: Path) -> None:
    """A progress bar ends at its end, of one file and of several."""
    written = [Frame(n * 1_000_000, b"%d" % n * 50) for n in range(30)]
    rotate(tmp_path / "t.zst", written, Limits(max_s=10))
    recording, seen = open_recording(tmp_path / "t.zst"), []
    assert list(recording.frames(seen.append)) == written
    assert sum(seen) == recording.size > 0


@pytest.mark.parametrize("damage", [b'{"file":3}\n', b"x\n", b'{"file":"\xfe"}\n'])
def test_a_damaged_index_is_one_line(tmp_path: Path, damage: bytes) -> None:
    """So is one of a version to come."""
    rotate(tmp_path / "t.zst", [Frame(1, b"{}")], Limits(max_s=10))
    text = (tmp_path / "t.zst").read_bytes()
    (tmp_path / "t.zst").write_bytes(text + damage)
    with pytest.raises(ConfigurationError, match="is damaged"):
        open_recording(tmp_path / "t.zst")
    (tmp_path / "t.zst").write_bytes(text.replace(b'"version":1', b'"version":2'))
    with pytest.raises(ConfigurationError, match="version 2"):
        open_recording(tmp_path / "t.zst")


def test_bytes_that_are_no_text_are_no_recording(tmp_path: Path) -> None:
    """Neither an index nor a session: one line that names the file and what makes a recording."""
    (tmp_path / "r").write_bytes(b'{"format":"b\xc6\x9b\xfe","version":1}\n')
    with pytest.raises(ConfigurationError) as refused:
        open_recording(tmp_path / "r")
    advice = "is not a recording: make one with `collector record FILE`"
    assert str(refused.value) == f"{tmp_path / 'r'} {advice}"


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A file of a version to come is not guessed at."""
    header = {"format": "bithumb-recording", "version": 2, "protocol": "current", "started_ms": 1, "url": ""}
    (tmp_path / "r").write_text(json.dumps(header) + "\n")
    with pytest.raises(ConfigurationError, match="version 2"):
        open_recording(tmp_path / "r")


@given(st.binary(max_size=300))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_crash_the_reader(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, the answer is frames or one of our errors."""
    heads = (b"", b"\x28\xb5\x2f\xfd", b"price,quantity,type,timestamp\n", b'1622591002.2: {"a":1}\n')
    for number, head in enumerate(heads):
        path = tmp_path / str(number)
        path.write_bytes(head + content)
        with contextlib.suppress(ConfigurationError):
            list(open_recording(path))


@pytest.mark.parametrize("size", ["1e999999", "1E-999999", "1e99", "9" * 70, "1" + "0" * 70 + ".1"])
def test_a_polled_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    """A size out of all bounds ends the recording with a clear line, not with the memory."""
    (tmp_path / "r").write_text(
        f"price,quantity,type,timestamp\n100,{size},0,2024-04-13 10:00:01\n99,0.1,0,2024-04-13 10:00:01\n"
    )
    with pytest.raises(ConfigurationError, match=r"a row is|no sizes"):
        list(open_recording(tmp_path / "r"))


@pytest.mark.parametrize("received_us", [-1, 1 << 54, 10**30])
def test_a_time_that_cannot_be_one_is_refused(tmp_path: Path, received_us: int) -> None:
    """A frame from before 1970 or from the far future ends the recording with a clear line."""
    header = {"format": "bithumb-recording", "version": 1, "protocol": "current", "started_ms": 1, "url": ""}
    (tmp_path / "r").write_text(f'{json.dumps(header)}\n[{received_us},1,"t","{{}}"]\n')
    with pytest.raises(ConfigurationError, match="a line is not a frame"):
        list(open_recording(tmp_path / "r"))


@needs_shared
def test_the_legacy_capture_has_its_98_frames() -> None:
    """The older socket's capture is delivered verbatim, in text frames."""
    recording = open_recording(SHARED / LEGACY)
    got = list(recording)
    lines = (SHARED / LEGACY).read_text().splitlines()
    texts = [line.partition(": ")[2] for line in lines if line[:1].isdigit()]
    assert recording.protocol == "legacy"
    assert texts == [frame.raw.decode() for frame in got]
    assert len(got) == 98
    assert got[0].received_us == 1622591002293640


@needs_shared
def test_upbit_frames_get_bithumb_words_and_keep_every_digit() -> None:
    """Parsed exactly, the re-shaped frames hold the same numbers under Bithumb's names and clocks."""
    got = list(open_recording(SHARED / UPBIT))
    with gzip.open(SHARED / UPBIT, "rt") as file:
        lines = [line.partition(": b'")[2].rstrip()[:-1] for line in file if ": b'" in line[:25]]
    assert len(got) == len(lines) == 1733
    for frame, line in zip(got, lines, strict=True):
        ours, theirs = (json.loads(text, parse_float=str) for text in (frame.raw, line))
        if theirs["ty"] == "orderbook":
            assert ours == {**theirs, "tms": theirs["tms"] * 1000, "lv": 1}
            assert list(ours) == ["ty", "cd", "tas", "tbs", "obu", "lv", "tms", "st"]
        else:
            assert theirs["tp"] == ours["tp"]
            assert {k: v for k, v in theirs.items() if k not in {"td", "ttm"}}.items() <= ours.items()
            kst = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(theirs["ttms"] / 1000 + 9 * 3600))
            assert kst == f"{ours['tdt']} {ours['ttm']}"
            assert list(ours) == TRADE_ORDER


@needs_shared
@pytest.mark.parametrize(
    ("name", "books"),
    [("orderbook-2024-04-13-bithumb-BTC.csv.gz", 6813), ("orderbook-2024-04-15-bithumb-BTC.csv.gz", 3429)],
)
def test_polled_books_become_frames(name: str, books: int) -> None:
    """Every poll is one book whose totals are the exact sums, times from Korean wall seconds."""
    got = [
        json.loads(frame.raw, parse_float=Decimal)
        for frame in open_recording(SHARED / "bithumb-rest-book-top5" / name)
    ]
    assert len(got) == books
    for book in got:
        asks = [unit["ask_size"] for unit in book["orderbook_units"]]
        assert book["total_ask_size"] == sum(asks)
    assert all(a["timestamp"] < b["timestamp"] for a, b in itertools.pairwise(got))


@needs_shared
def test_polled_sizes_are_verbatim_and_the_short_book_is_padded() -> None:
    """Sizes keep their fifteen decimals; the last book, cut in the source, has its short side padded."""
    got = list(open_recording(SHARED / "bithumb-rest-book-top5" / "orderbook-2024-04-13-bithumb-BTC.csv.gz"))
    assert b'"ask_size":0.064200000000000,"bid_size":0.363700000000000}' in got[0].raw
    assert b'"timestamp":1712934001000000' in got[0].raw
    assert b'{"ask_price":0,"bid_price":99073000,"ask_size":0,"bid_size":0.000100000000000}' in got[-1].raw


@needs_shared
@pytest.mark.parametrize(
    ("name", "protocol", "count"),
    [
        ("bithumb-current-observed-frames.jsonl", "current", 11),
        ("bithumb-current-vendor-doc-examples.jsonl", "current", 8),
        ("bithumb-legacy-observed-frames.jsonl", "legacy", 6),
    ],
)
def test_example_frames_come_as_they_are(name: str, protocol: str, count: int) -> None:
    """Every `raw` is a frame, complete or not."""
    recording = open_recording(SHARED / name)
    raws = [json.loads(line)["raw"] for line in (SHARED / name).read_text().splitlines()]
    assert raws == [frame.raw.decode() for frame in recording]
    assert (protocol, count) == (recording.protocol, len(raws))


@needs_shared
def test_a_capture_of_rest_replies_alone_is_refused() -> None:
    """A file without a single frame has nothing to play."""
    with pytest.raises(ConfigurationError, match="not a recording"):
        open_recording(SHARED / "cryptofeed-bithumb-legacy-2021-06-02" / "BITHUMB.0")


@needs_shared
@pytest.mark.parametrize(
    "name", [LEGACY, UPBIT, "bithumb-rest-book-top5/orderbook-2024-04-15-bithumb-BTC.csv.gz"]
)
def test_foreign_files_cut_anywhere_give_a_prefix(tmp_path: Path, name: str) -> None:
    """Plain or compressed, a cut foreign file delivers a prefix of its frames (a book may be short)."""
    source = SHARED / name
    content = gzip.decompress(source.read_bytes()) if name.endswith(".gz") else source.read_bytes()
    content = content[:60_000]
    (tmp_path / "whole").write_bytes(content[: content.rindex(b"\n") + 1])
    whole = list(open_recording(tmp_path / "whole"))
    rng = random.Random(2)
    for at in rng.sample(range(5_000, len(content)), 25):
        for path, data in (
            (tmp_path / "plain", content[:at]),
            (tmp_path / "gz", gzip.compress(content)[: at // 4]),
        ):
            path.write_bytes(data)
            got, _ = collect(path)
            assert whole[: max(0, len(got) - 1)] == got[:-1]


@needs_shared
def test_a_frame_cut_in_the_middle_is_not_delivered(tmp_path: Path) -> None:
    """A capture that stops inside a frame, even right after a quote, says so."""
    content = (SHARED / LEGACY).read_bytes()
    end = content.index(b'"orderType":"ask"') + len(b'"orderType":"ask"')
    (tmp_path / "cut").write_bytes(content[:end])
    got, error = collect(tmp_path / "cut")
    assert len(got) == 3
    assert error is not None
    assert "3 whole frames" in str(error)
