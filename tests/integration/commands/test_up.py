"""What `collector up` and `collector demo` look at before they start anything."""

import socket
from pathlib import Path

import pytest

from collector.cli.up import DEMO_MARK, all_roles, clear_demo, up
from collector.errors import ConfigurationError
from collector.host.redis_server import PrivateRedis, is_owned
from collector.settings import RedisSettings, Settings

pytestmark = pytest.mark.server


@pytest.fixture
def private(tmp_path: Path) -> Settings:
    """Settings without `REDIS_URL`, in a folder of their own."""
    return Settings(data_dir=tmp_path / "data", redis=RedisSettings(max_memory_mb=64))


def test_flowers_port_in_use_is_said_before_anything_starts(private: Settings) -> None:
    """No Flower that starts again for ever, no half of a system."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* choose another with --flower-port"):
            all_roles(private, workers=1, flower_port=port).__enter__()
    assert not private.data_dir.exists()


def test_a_running_demo_keeps_its_data(private: Settings) -> None:
    """Another demo, or `up`, in the same folder is refused; once it has ended its data may go."""
    with PrivateRedis(private):
        (private.data_dir / DEMO_MARK).touch()
        assert is_owned(private.data_dir)
        with pytest.raises(ConfigurationError, match="a demo is running"):
            clear_demo(private.data_dir)
        assert (private.data_dir / "redis" / "server.json").exists()
    assert not is_owned(private.data_dir)
    clear_demo(private.data_dir)
    assert not (private.data_dir / "redis").exists()


def test_looking_at_a_folder_takes_nothing(private: Settings) -> None:
    """Asking who owns a folder makes no file and leaves no lock behind."""
    assert not is_owned(private.data_dir)
    assert not private.data_dir.exists()
    with PrivateRedis(private):
        pass
    assert not is_owned(private.data_dir)
    with PrivateRedis(private) as server:
        assert server.answers()


def test_a_proxy_that_can_not_be_used_is_said_before_anything_starts(
    private: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No listener that is started again for ever."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.corp.kr:3128")
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY has no scheme"):
        up(private, workers=1, flower_port=None)
    assert not private.data_dir.exists()
