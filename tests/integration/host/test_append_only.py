"""A private Redis comes up after a power cut: a damaged end of its file is cut off, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host.append_only import AppendOnlyState, Found, read
from collector.host.redis_server import PrivateRedis
from collector.settings import RedisSettings, Settings

KEYS = 50


def written(*words: str) -> bytes:
    """Return a command as the server writes it."""
    parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
    return "".join(parts).encode()


SOUND = (
    b"#TS:1790000000\r\n" + written("SELECT", "0") + written("SET", "k", "v\r\n") + written("SET", "한", "글")
)
TRANSACTION = written("MULTI") + written("SET", "a", "1") + written("EXEC")


@pytest.mark.parametrize(
    ("data", "state", "sound"),
    [
        (b"", AppendOnlyState.WHOLE, b""),
        (SOUND + TRANSACTION, AppendOnlyState.WHOLE, SOUND + TRANSACTION),
        (SOUND + b"\0" * 4096, AppendOnlyState.DAMAGED, SOUND),
        (SOUND + TRANSACTION[:-6], AppendOnlyState.SHORT, SOUND),
        (SOUND + TRANSACTION[:20] + b"\0" * 64, AppendOnlyState.DAMAGED, SOUND),
        (
            SOUND + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\nabc\0\0\0\0\0\0\0\0\0\0",
            AppendOnlyState.DAMAGED,
            SOUND,
        ),
        (SOUND + b"*3\r\n$3\r\nSE", AppendOnlyState.SHORT, SOUND),
        (SOUND + b"*3\r", AppendOnlyState.SHORT, SOUND),
        (SOUND + b"#TS:17", AppendOnlyState.SHORT, SOUND),
        (SOUND + b"*x\r\n", AppendOnlyState.DAMAGED, SOUND),
        (SOUND + b"\xff" * 20, AppendOnlyState.DAMAGED, SOUND),
    ],
)
def test_what_of_a_file_is_sound(data: bytes, state: AppendOnlyState, sound: bytes) -> None:
    """Whole commands and whole transactions; an unfinished end is told from a damaged one."""
    assert read(data) == Found(state, len(sound))


@given(st.integers(0, len(SOUND + TRANSACTION)))
def test_a_file_cut_anywhere_is_short_and_never_damaged(length: int) -> None:
    """That is the server's own business."""
    assert read((SOUND + TRANSACTION)[:length]).state is not AppendOnlyState.DAMAGED


@given(st.binary(max_size=300))
def test_any_bytes_are_read(tail: bytes) -> None:
    """Whatever stands there, what was sound before stays sound."""
    assert read(SOUND + tail).sound_bytes >= len(SOUND)


Spoil = Callable[[Path], None]


@pytest.fixture
def private(tmp_path: Path) -> Settings:
    """A data folder whose server has stored some keys and stopped."""
    settings = Settings(data_dir=tmp_path / "data", redis=RedisSettings(max_memory_mb=64))
    with PrivateRedis(settings) as server, redis.Redis.from_url(server.url) as client:
        for number in range(KEYS):
            client.set(f"key{number}", "x" * 100)
    return settings


def newest(settings: Settings) -> Path:
    (path,) = (settings.data_dir / "redis" / "appendonlydir").glob("*.incr.aof")
    return path


def kept(settings: Settings) -> int:
    """Return how many keys a server over that folder has."""
    with PrivateRedis(settings) as server, redis.Redis.from_url(server.url) as client:
        return client.dbsize()


@pytest.mark.server
@pytest.mark.parametrize(
    "end", [b"\0" * 4096, b"\0", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\0\0\0\0\0\0", b"\xff" * 40]
)
def test_a_damaged_end_is_cut_off_kept_and_said(
    private: Settings, end: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts with all that was stored before; the line names the file and how much."""
    path = newest(private)
    before = path.read_bytes()
    path.write_bytes(before + end)
    assert kept(private) == KEYS
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"the last {len(end)} bytes of {path} are damaged")
    (copy,) = path.parent.glob("*.cut")
    assert copy.read_bytes() == end
    assert kept(private) == KEYS


@pytest.mark.server
def test_a_file_that_ends_in_the_middle_of_a_command_is_the_servers_business(private: Settings) -> None:
    """It cuts it off by itself."""
    path = newest(private)
    path.write_bytes(path.read_bytes()[:-20])
    assert kept(private) == KEYS - 1
    assert list(path.parent.glob("*.cut")) == []


@pytest.mark.server
def test_damage_in_the_middle_is_one_line_and_nothing_is_cut(private: Settings) -> None:
    """More than an end would be lost: somebody has to decide."""
    path = newest(private)
    data = bytearray(path.read_bytes())
    data[1000:1100] = b"\0" * 100
    path.write_bytes(data + b"\0")
    with pytest.raises(ConfigurationError, match=r"is damaged at byte \d+ of \d+: put a copy in its place"):
        PrivateRedis(private).start()
    assert path.read_bytes() == bytes(data) + b"\0"
    path.write_bytes(data)  # it ends well: the server itself refuses it
    with pytest.raises(BrokerUnavailable, match=r"damaged: put a copy in their place, or move them away"):
        PrivateRedis(private).start()
