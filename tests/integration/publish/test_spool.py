"""The spool: first in, first out, bounded, and whole again after a crash at any byte."""

import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.clock import ManualClock
from collector.errors import ConfigurationError, SpoolFull
from collector.publish import segment, spool
from collector.publish.spool import APART_MS, Spool, Times
from collector.util import atomic_file

PAYLOADS = [f"batch {number} ".encode() * (1 + number % 3) for number in range(12)]
RECORD_BYTES = len(segment.pack(PAYLOADS[0], 0))
ONE_FILE = 1 << 20
NOW_MS = 1_790_000_000_000


def opened(directory: Path, **changes) -> Spool:
    options = {
        "max_bytes": 8 * ONE_FILE,
        "segment_bytes": ONE_FILE,
        "fsync_interval_s": 0,
        "clock": ManualClock(),
    }
    return Spool(directory, **{**options, **changes})


def times_of(payload: bytes) -> Times:
    """Return the times of a payload that is a number of seconds; of 0 nothing is worth remembering."""
    second_ms = NOW_MS + int(payload) * 1_000
    return Times(second_ms, second_ms + 900, second_ms + 500 if int(payload) else 0)


def spoil(directory: Path, position: int) -> None:
    """Change one byte of the newest segment."""
    *_, path = sorted(directory.glob("*.spool"))
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def drained(held: Spool) -> list[bytes]:
    """Take everything out, as the publisher does."""
    payloads = []
    while (payload := held.peek()) is not None:
        payloads.append(payload)
        held.ack()
    return payloads


def crashed(held: Spool) -> None:
    """Let go of the directory as a killed process does: nothing is written any more."""
    for descriptor in (held._lock.fd, held._writer):
        if descriptor is not None:
            os.close(descriptor)


def left_behind(directory: Path, payloads: list[bytes], **changes) -> list[Path]:
    """Let a process put `payloads` down and be killed; return its segments."""
    held = opened(directory, **changes)
    for payload in payloads:
        held.append(payload)
    crashed(held)
    return sorted(directory.glob("*.spool"))


def is_subsequence(part: list[bytes], whole: list[bytes]) -> bool:
    rest = iter(whole)
    return all(payload in rest for payload in part)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


class TestQueue:
    def test_first_in_first_out(self, directory):
        """Payloads come back whole and in the order they went in, over several segments."""
        with opened(directory, segment_bytes=100) as held:
            for payload in PAYLOADS:
                held.append(payload)
            assert len(held) == len(PAYLOADS)
            assert len(list(directory.glob("*.spool"))) > 3
            assert drained(held) == PAYLOADS

    def test_peek_repeats_until_ack(self, directory):
        """A payload stays the oldest until it is acknowledged; without a peek, ack does nothing."""
        with opened(directory) as held:
            held.append(b"first")
            held.append(b"second")
            held.ack()
            assert [held.peek(), held.peek()] == [b"first", b"first"]
            held.ack()
            held.ack()
            assert held.peek() == b"second"
            assert len(held) == 1

    def test_empty_payload_is_a_payload(self, directory):
        """A payload of no bytes is kept like any other."""
        with opened(directory) as held:
            held.append(b"")
            assert drained(held) == [b""]

    def test_append_while_draining(self, directory):
        """New payloads may arrive between any two acknowledgements."""
        got = []
        with opened(directory, segment_bytes=60) as held:
            for payload in PAYLOADS:
                held.append(payload)
                held.append(payload + b"!")
                got.append(held.peek())
                held.ack()
            got += drained(held)
        assert got == [copy for payload in PAYLOADS for copy in (payload, payload + b"!")]

    def test_done_segments_are_deleted(self, directory):
        """Space comes back segment by segment, and nothing is left once all is acknowledged."""
        with opened(directory, segment_bytes=100) as held:
            for payload in PAYLOADS:
                held.append(payload)
            used = held.bytes_used
            for _ in range(len(PAYLOADS) // 2):
                held.peek()
                held.ack()
            assert 0 < held.bytes_pending <= held.bytes_used < used
            drained(held)
            assert (len(held), held.bytes_pending, held.bytes_used) == (0, 0, 0)
            assert list(directory.glob("*.spool")) == []

    def test_repr_is_a_window(self, directory):
        """`repr` says what waits and how full the spool is."""
        with opened(directory) as held:
            held.append(b"x")
            assert f"1 waiting, {held.bytes_used} of {8 * ONE_FILE} bytes" in repr(held)


class TestBound:
    def test_full_is_refused_and_says_how_full(self, directory):
        """At its bound the spool refuses loudly and keeps what it has."""
        with opened(directory, max_bytes=3 * RECORD_BYTES) as held:
            for payload in PAYLOADS[:2]:
                held.append(payload[: len(PAYLOADS[0])])
            with pytest.raises(
                SpoolFull, match=r"full \(0\.0 of 0\.0 MB, 2 batches waiting\).*SPOOL__MAX_MB"
            ):
                held.append(b"x" * 2 * RECORD_BYTES)
            assert len(held) == 2
            assert held.fill == pytest.approx(2 / 3)

    def test_room_comes_back(self, directory):
        """A full spool takes payloads again once one of its segments is acknowledged."""
        with opened(directory, max_bytes=16 * RECORD_BYTES) as held:
            for _ in range(16):
                held.append(PAYLOADS[0])
            with pytest.raises(SpoolFull):
                held.append(PAYLOADS[0])
            for _ in range(2):
                held.peek()
                held.ack()
            held.append(PAYLOADS[0])

    def test_what_was_recovered_counts(self, directory):
        """Segments of an earlier owner count towards the bound."""
        left_behind(directory, PAYLOADS[:1] * 4)
        with opened(directory, max_bytes=4 * RECORD_BYTES) as held, pytest.raises(SpoolFull):
            held.append(b"")

    @given(sizes=st.lists(st.integers(0, 300), max_size=40), max_bytes=st.integers(1, 2000))
    @settings(max_examples=60, deadline=None)
    def test_never_passed(self, sizes, max_bytes):
        """Whatever is appended, the files together stay within the bound and every refusal is an error."""
        with (
            tempfile.TemporaryDirectory() as name,
            opened(Path(name), max_bytes=max_bytes, segment_bytes=200) as held,
        ):
            for size in sizes:
                waiting = len(held)
                if held.bytes_used + len(segment.pack(b"x" * size, 0)) <= max_bytes:
                    held.append(b"x" * size)
                    assert len(held) == waiting + 1
                else:
                    with pytest.raises(SpoolFull):
                        held.append(b"x" * size)
                    assert len(held) == waiting
                on_disk = sum(path.stat().st_size for path in Path(name).glob("*.spool"))
                assert on_disk == held.bytes_used <= max_bytes


class TestOwner:
    def test_second_owner_is_refused(self, directory):
        """A directory in use is refused with a sentence that says what to do."""
        with (
            opened(directory),
            pytest.raises(ConfigurationError, match=r"running listener.*COLLECTOR_DATA_DIR"),
        ):
            opened(directory)

    def test_closing_hands_over(self, directory):
        """After `close`, also twice, another owner goes on where the first one was."""
        first = opened(directory)
        first.append(b"a")
        first.append(b"b")
        first.peek()
        first.ack()
        first.close()
        first.close()
        with opened(directory) as second:
            assert drained(second) == [b"b"]

    def test_unusable_directory(self, tmp_path):
        """A path that cannot be a directory is the user's to put right."""
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="unusable"):
            opened(tmp_path / "file" / "spool")

    def test_unreadable_segment(self, directory):
        """A segment that cannot be read at the start is an error, and the directory is free again."""
        directory.mkdir()
        (directory / "0000000001.spool").mkdir()
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"unusable \(Is a directory\)"):
                opened(directory)

    def test_foreign_files_are_left_alone(self, directory):
        """Files that are no segments are neither read nor deleted."""
        directory.mkdir()
        (directory / "notes.spool").write_text("mine")
        with opened(directory) as held:
            assert len(held) == 0
        assert (directory / "notes.spool").read_text() == "mine"


class TestRecovery:
    def test_torn_tail_at_every_byte(self, directory):
        """Cut anywhere, the whole records before the cut come back, and new ones follow them."""
        (path,) = left_behind(directory, PAYLOADS[:4])
        whole = path.read_bytes()
        ends = [record.end for record in segment.scan(whole)]
        for cut in range(len(whole) + 1):
            for old in directory.glob("*"):
                old.unlink()
            path.write_bytes(whole[:cut])
            sound = [payload for payload, end in zip(PAYLOADS, ends, strict=False) if end <= cut]
            with opened(directory) as held:
                damage = held.take_damage()
                assert held.take_damage() == []
                assert (cut in (0, *ends)) == (not damage)
                assert all(lost.torn and lost.offset + lost.size == cut for lost in damage)
                assert held.corrupt_records == 0
                assert held.bytes_used == sum(file.stat().st_size for file in directory.glob("*.spool"))
                held.append(b"new")
                assert [*sound, b"new"] == drained(held)

    def test_every_byte_flipped(self, directory):
        """One wrong byte anywhere costs the record it is in and no other; the loss is reported."""
        (path,) = left_behind(directory, PAYLOADS[:4])
        whole = path.read_bytes()
        ends = [record.end for record in segment.scan(whole)]
        for position, mask in itertools.product(range(len(whole)), (0x01, 0x80, 0xFF)):
            for old in directory.glob("*"):
                old.unlink()
            path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
            hit = sum(end <= position for end in ends)
            with opened(directory) as held:
                (lost,) = held.take_damage()
                assert lost.offset <= position < lost.offset + lost.size
                assert lost.torn == (hit == 3) != bool(held.corrupt_records)
                assert PAYLOADS[:hit] + PAYLOADS[hit + 1 : 4] == drained(held)

    @given(data=st.data())
    @settings(max_examples=150, deadline=None)
    def test_any_damage(self, data):
        """Whatever happens to the files, the spool opens and returns only what was put in, in order."""
        with tempfile.TemporaryDirectory() as name:
            left_behind(Path(name), PAYLOADS, segment_bytes=120)
            for path in sorted(Path(name).glob("*[rl]")):
                path.write_bytes(data.draw(damaged(path.read_bytes())))
            with opened(Path(name)) as held:
                before = len(held)
                got = drained(held)
                assert before == len(got)
                assert is_subsequence(got, PAYLOADS)

    @given(content=st.binary(max_size=300), cursor=st.binary(max_size=40))
    @settings(max_examples=150, deadline=None)
    def test_arbitrary_bytes(self, content, cursor):
        """Files of pure nonsense give an empty spool that works."""
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "0000000003.spool").write_bytes(content)
            (Path(name) / "cursor").write_bytes(cursor)
            with opened(Path(name)) as held:
                assert bool(content) == bool(held.take_damage())
                held.append(b"new")
                assert drained(held) == [b"new"]

    def test_zeros_of_the_file_system_are_a_torn_tail(self, directory):
        """A tail of zeros, as a power cut may leave it, is no record."""
        (path,) = left_behind(directory, PAYLOADS[:2])
        path.write_bytes(path.read_bytes() + bytes(4096))
        with opened(directory) as held:
            assert [lost.size for lost in held.take_damage()] == [4096]
            assert PAYLOADS[:2] == drained(held)

    def test_tail_of_an_older_segment_is_corruption(self, directory):
        """Only the newest segment can be torn; an older one was synced before it was left."""
        first, *_ = left_behind(directory, PAYLOADS, segment_bytes=100)
        first.write_bytes(first.read_bytes()[:-1])
        with opened(directory) as held:
            assert [lost.torn for lost in held.take_damage()] == [False]
            assert held.corrupt_records == 1

    def test_damage_says_when(self, directory):
        """The loss is bounded by the times of the sound records around it, and some more before it."""
        clock = ManualClock(now_ms=NOW_MS)
        held = opened(directory, clock=clock)
        for payload in PAYLOADS[:3]:
            held.append(payload)
            clock.advance(10)
        crashed(held)
        spoil(directory, RECORD_BYTES + 30)
        with opened(directory) as held:
            (lost,) = held.take_damage()
        assert (lost.from_ms, lost.to_ms) == (NOW_MS - APART_MS, NOW_MS + 20_000)

    @pytest.mark.parametrize(
        ("spoilt", "from_ms", "to_ms"),
        [(0, 5_000 - APART_MS, 9_000), (1, 5_000 - APART_MS, 9_000), (2, 6_000 - APART_MS, 9_500)],
    )
    def test_damage_is_bounded_by_what_the_payloads_are_of(self, directory, spoilt, from_ms, to_ms):
        """Their trades may be much older than their writing: batches wait while a broker does not answer."""
        held = opened(directory, clock=ManualClock(now_ms=NOW_MS + 9_000))
        for number in (5, 6, 7):
            held.append(b"%d" % number, times_of(b"%d" % number))
        held.sync()
        crashed(held)
        (path,) = directory.glob("*.spool")
        spoil(directory, (spoilt + 1) * (path.stat().st_size // 3) - 1)
        os.utime(path, ((NOW_MS + 9_500) / 1000,) * 2)
        with opened(directory, times_of=times_of) as held:
            (lost,) = held.take_damage()
        assert (lost.from_ms, lost.to_ms) == (NOW_MS + from_ms, NOW_MS + to_ms)

    def test_what_goes_bad_while_open_is_known_to_the_millisecond(self, directory):
        """Its times were noted when it was put down."""
        with opened(directory) as held:
            held.append(b"5", times_of(b"5"))
            spoil(directory, -1)
            assert held.peek() is None
            (lost,) = held.take_damage()
        assert (lost.from_ms, lost.to_ms) == times_of(b"5")[:2]

    def test_what_is_in_it_has_a_name_until_some_of_it_is_lost(self, directory):
        """By that name gaps are closed that its return fills."""
        with opened(directory) as held:
            held.append(b"5")
            name = held.id
        with opened(directory) as held:
            assert held.id == name
        spoil(directory, -1)
        with opened(directory) as held:
            assert held.id not in ("", name)
            other = held.id
            held.append(b"6")
            spoil(directory, -1)
            assert held.peek() is None
            assert held.id != other

    def test_the_oldest_that_waits(self, directory):
        """Of what nothing else remembers, whatever the order and whoever put it down."""
        with opened(directory) as held:
            assert held.oldest_mark_ms is None
            for payload in (b"6", b"5", b"7", b"0"):
                held.append(payload, times_of(payload))
            assert held.oldest_mark_ms == NOW_MS + 5_500
            held.peek()
            held.ack()
        with opened(directory, times_of=times_of) as held:
            assert held.oldest_mark_ms == NOW_MS + 5_500
            for oldest_ms in (NOW_MS + 7_500, None, None):
                held.peek()
                held.ack()
                assert held.oldest_mark_ms == oldest_ms

    def test_damage_before_the_cursor_is_no_loss(self, directory):
        """Bytes that go bad after they were acknowledged are not reported."""
        with opened(directory) as held:
            for payload in PAYLOADS[:3]:
                held.append(payload)
            for _ in range(2):
                held.peek()
                held.ack()
        (path,) = directory.glob("*.spool")
        content = bytearray(path.read_bytes())
        content[5] ^= 1
        path.write_bytes(content)
        with opened(directory) as held:
            assert (held.take_damage(), held.corrupt_records) == ([], 0)
            assert PAYLOADS[2:3] == drained(held)

    @pytest.mark.parametrize("cursor", [b"", b"1 2 3", b"garbage", b"9999999999 0 00000000", None])
    def test_lost_cursor_sends_again(self, directory, cursor):
        """Without a sound cursor all records come again: consumers are idempotent."""
        with opened(directory) as held:
            held.append(b"a")
            held.append(b"b")
            held.peek()
            held.ack()
        if cursor is None:
            (directory / "cursor").unlink()
        else:
            (directory / "cursor").write_bytes(cursor)
        with opened(directory) as held:
            assert drained(held) == [b"a", b"b"]

    def test_stale_cursor_hides_nothing(self, directory):
        """A cursor that outlives its segment never covers records written later."""
        for number in range(5):
            held = opened(directory)
            held.append(b"old %d" % number)
            held.append(b"older %d" % number)
            held.peek()
            held.ack()
            held.sync()
            drained(held)
            crashed(held)
        with opened(directory) as held:
            held.append(b"new")
        with opened(directory) as held:
            assert drained(held) == [b"new"]

    def test_going_bad_while_open(self, directory):
        """A record that rots, or a file that vanishes, after the start is dropped, counted and reported."""
        with opened(directory, segment_bytes=2 * RECORD_BYTES) as held:
            for payload in PAYLOADS[:1] * 4 + [b"last", b"of all"]:
                held.append(payload)
            first, second, _ = sorted(directory.glob("*.spool"))
            content = bytearray(first.read_bytes())
            content[-1] ^= 1
            first.write_bytes(content)
            second.unlink()
            assert [PAYLOADS[0], b"last", b"of all"] == drained(held)
            assert 3 == held.corrupt_records == len(held.take_damage())


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Draw what a bad disk makes of `content`: flips, a cut, a hole, a stretch that is there twice."""
    result = bytearray(content)
    for position in draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            result[position] ^= draw(st.integers(1, 255))
    start, end = sorted((draw(st.integers(0, len(result))), draw(st.integers(0, len(result)))))
    match draw(st.sampled_from(["as it is", "cut", "hole", "zeros"])):
        case "cut":
            del result[start:]
        case "hole":
            del result[start:end]
        case "zeros":
            result[start:end] = bytes(end - start)
    return bytes(result)


class TestDisk:
    def test_full_disk_leaves_no_half_record(self, directory):
        """When the kernel refuses in mid-record, the part is cut away and the next append works."""
        with opened(directory) as held:
            held.append(PAYLOADS[0])
            with file_size_limit(RECORD_BYTES + 10), pytest.raises(SpoolFull, match="File too large"):
                held.append(PAYLOADS[0])
            (path,) = directory.glob("*.spool")
            assert path.stat().st_size == RECORD_BYTES
            held.append(PAYLOADS[1])
            assert PAYLOADS[:2] == drained(held)

    def test_full_disk_never_stops_the_way_back(self, directory):
        """What waits is delivered even while nothing can be written: only the cursor is late."""
        with opened(directory) as held:
            for payload in PAYLOADS:
                held.append(payload)
            held.peek()
            held.ack()
            with file_size_limit(0):
                held.sync()
                assert PAYLOADS[1:] == drained(held)

    def test_part_that_cannot_be_cut_is_overwritten(self, directory, monkeypatch):
        """Even a disk that refuses to truncate leaves nothing wrong behind."""
        held = opened(directory)
        held.append(b"first")
        with monkeypatch.context() as patch:
            patch.setattr(spool.os, "ftruncate", refusing(errno.EIO))
            with file_size_limit(RECORD_BYTES), pytest.raises(SpoolFull):
                held.append(b"second, which is longer")
        held.append(b"3rd")
        crashed(held)
        with opened(directory) as held:
            assert drained(held) == [b"first", b"3rd"]

    @pytest.mark.parametrize("call", ["open", "pwrite", "fsync"])
    def test_refused_call_keeps_nothing(self, directory, monkeypatch, call):
        """Whichever call the disk refuses, the append is an error and the payload is not in the spool."""
        with opened(directory) as held:
            with monkeypatch.context() as patch:
                patch.setattr(spool.os, call, refusing(errno.ENOSPC))
                with pytest.raises(SpoolFull, match="No space left on device"):
                    held.append(b"refused")
            assert None is held.peek()
            held.append(b"taken")
            assert drained(held) == [b"taken"]

    def test_sync_and_read_errors_are_ours(self, directory, monkeypatch):
        """A disk that fails on sync or on reading raises the pipeline's error, and nothing is lost by it."""
        with opened(directory, fsync_interval_s=9) as held:
            held.append(b"kept")
            with monkeypatch.context() as patch:
                patch.setattr(spool.os, "fsync", refusing(errno.EIO))
                with pytest.raises(SpoolFull, match="Input/output error"):
                    held.sync()
            with monkeypatch.context() as patch:
                patch.setattr(Path, "open", refusing(errno.EIO))
                with pytest.raises(SpoolFull, match="Input/output error"):
                    held.peek()
            held.sync()
            assert drained(held) == [b"kept"]


class TestSync:
    def test_fsync_by_interval(self, directory, monkeypatch):
        """At most one fsync per interval, at the append or at the owner's `sync_if_due`."""
        clock = ManualClock()
        with opened(directory, fsync_interval_s=1, clock=clock) as held:
            held.append(b"opens the segment")
            synced = []
            monkeypatch.setattr(spool.os, "fsync", synced.append)
            for _ in range(24):
                clock.advance(0.125)
                held.append(b"x")
            assert len(synced) == 3
            held.append(b"y")
            held.sync_if_due()
            assert len(synced) == 3
            clock.advance(1)
            held.sync_if_due()
            assert len(synced) == 4
            held.sync()
            assert len(synced) == 4, "nothing new, nothing to do"

    @given(data=st.data())
    @settings(max_examples=150, deadline=None)
    def test_crash_between_any_two_calls(self, data):
        """Killed at any call, with any unsynced tail lost, every synced payload comes back in order."""
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            story = Story(
                Path(name), data.draw(st.lists(st.sampled_from("aaappsc"), min_size=1, max_size=40))
            )
            story.run(patch, crash_after=data.draw(st.integers(0, 80)))
            for path in Path(name).glob("*.spool"):
                synced = story.synced.get(path.stat().st_ino, 0)
                os.truncate(
                    path, data.draw(st.integers(min(synced, path.stat().st_size), path.stat().st_size))
                )
            with opened(Path(name)) as held:
                assert held.corrupt_records == 0
                got = drained(held)
            assert is_subsequence(got, story.appended)
            assert is_subsequence([p for p in story.durable if p not in story.acknowledged], got)

    @pytest.mark.server
    def test_killed_process(self, directory):
        """What a real process had synced before kill -9 is all there for the next one."""
        program = (
            "import sys; from pathlib import Path; from collector.clock import SystemClock;"
            "from collector.publish.spool import Spool;"
            f"held = Spool(Path({str(directory)!r}), max_bytes=1 << 24, segment_bytes=4096,"
            " fsync_interval_s=0, clock=SystemClock())\n"
            "for n in range(100_000): held.append(b'payload %d' % n); print(n, flush=True)"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        try:
            for _ in range(300):
                last = int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
            seen = process.communicate(timeout=10)[0].split()
        last = int(seen[-1]) if seen else last
        with opened(directory, max_bytes=1 << 24) as held:
            got = drained(held)
        assert got == [b"payload %d" % number for number in range(len(got))]
        assert len(got) > last


class Crash(BaseException):
    """The process ends here."""


class Story:
    """A spool's life up to a crash: what it was given, what became durable, what was acknowledged."""

    def __init__(self, directory: Path, steps: list[str]) -> None:
        self.directory = directory
        self.steps = steps
        self.appended: list[bytes] = []
        self.durable: list[bytes] = []
        self.acknowledged: set[bytes] = set()
        self.synced: dict[int, int] = {}  # bytes known to be on disk, by inode
        self.clock = ManualClock()

    def run(self, patch: pytest.MonkeyPatch, crash_after: int) -> None:
        """Do the steps: a = append, p = peek and ack, s = sync, c = the clock moves; crash at some call."""
        held = opened(self.directory, segment_bytes=90, fsync_interval_s=1, clock=self.clock)
        self.countdown = itertools.count(crash_after, -1)
        with patch.context() as patched:
            for module in (spool, atomic_file):
                patched.setattr(module, "os", self.fragile_os())
            for name in ("unlink", "replace", "write_bytes"):
                patched.setattr(Path, name, self.checked(getattr(Path, name)))
            try:
                for number, step in enumerate(self.steps):
                    self.step(held, step, b"payload %d" % number)
            except Crash:
                pass
        crashed(held)

    def step(self, held: Spool, step: str, payload: bytes) -> None:
        match step:
            case "a":
                self.appended.append(payload)
                held.append(payload)
            case "p":
                oldest = held.peek()
                if oldest is not None:
                    self.acknowledged.add(oldest)
                held.ack()
            case "s":
                held.sync()
                self.durable = list(self.appended)
            case "c":
                self.clock.advance(0.5)

    def fragile_os(self) -> SimpleNamespace:
        """Return `os` whose calls end the process once the countdown is over, a write in the middle."""

        def pwrite(descriptor: int, view: memoryview, offset: int) -> int:
            if next(self.countdown) <= 0:
                os.pwrite(descriptor, view[: len(view) // 2], offset)
                raise Crash
            return os.pwrite(descriptor, view, offset)

        def fsync(descriptor: int) -> None:
            self.check()
            self.synced[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

        names = {name: getattr(os, name) for name in dir(os)}
        special = {"pwrite": pwrite, "fsync": fsync, "open": self.checked(os.open)}
        return SimpleNamespace(**{**names, **special})

    def checked(self, call: Callable) -> Callable:
        """Return `call` with the end of the process possible right before it."""
        return lambda *args, **named: (self.check(), call(*args, **named))[1]

    def check(self) -> None:
        if next(self.countdown) <= 0:
            raise Crash


def refusing(code: int) -> Callable:
    """Return a call that the disk refuses."""

    def call(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return call


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the kernel refuse to make any file of this process larger than `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
