"""`collector check`: settings without secrets, and a line for each thing the collector needs."""

import json
import re
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr
from websockets.utils import accept_key

from collector.cli.check import setting_rows
from collector.cli.probes import CheckState, probe_folder, probe_redis, probe_rest, probe_websocket
from collector.settings import ExchangeSettings, Settings, variable_names

from .conftest import Run

CLOSED = "127.0.0.1:1"
MARKETS = json.dumps([{"market": "KRW-BTC", "korean_name": "비트코인", "english_name": "Bitcoin"}]).encode()


class _Exchange(BaseHTTPRequestHandler):
    late_s = 0

    def do_GET(self) -> None:
        if "Upgrade" in self.headers:
            self._shake_hands()
            return
        self.send_response_only(200)
        self.send_header("Date", formatdate(usegmt=True, timeval=time.time() - self.late_s))
        self.send_header("Content-Length", str(len(MARKETS)))
        self.end_headers()
        self.wfile.write(MARKETS)

    def _shake_hands(self) -> None:
        """Open a WebSocket, and close it as the client does."""
        self.protocol_version = "HTTP/1.1"
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.connection.recv(100)
        self.wfile.write(b"\x88\x02\x03\xe8")
        self.close_connection = True

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def exchange() -> Iterator[str]:
    """A server on loopback that lists one market; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Exchange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def at(address: str) -> Settings:
    exchange = ExchangeSettings(rest_url=f"http://{address}", websocket_url=f"ws://{address}/websocket/v1")
    return Settings(exchange=exchange)


def test_every_setting_is_shown_and_no_secret(settings: Settings) -> None:
    """One row per variable, in order; the password of Redis is three stars."""
    secret = settings.model_copy(update={"redis_url": SecretStr("redis://:hunter2@host/0"), "redundancy": 3})
    rows = list(setting_rows(secret))
    assert [row.variable for row in rows] == [name for name, _ in variable_names()]
    assert "hunter2" not in str(rows)
    by_name = {row.variable: row for row in rows}
    assert by_name["REDIS_URL"].value == "redis://:***@host/0"
    assert (by_name["COLLECTOR_REDUNDANCY"].value, by_name["COLLECTOR_REDUNDANCY"].is_default) == ("3", False)
    assert (by_name["COLLECTOR_MARKETS"].value, by_name["COLLECTOR_MARKETS"].is_default) == ("KRW-*", True)
    assert all(row.description for row in rows)


def test_private_redis_is_well(settings: Settings) -> None:
    """Reachable, bounded, no eviction, append-only: as `up` starts it."""
    findings = {finding.name: finding for finding in probe_redis(settings)}
    assert list(findings) == ["redis", "redis memory", "redis persistence"]
    assert {finding.state for finding in findings.values()} == {CheckState.OK}
    assert "***" in findings["redis"].detail


@pytest.mark.parametrize(
    ("policy", "maxmemory", "state", "said"),
    [
        ("allkeys-lru", "256mb", CheckState.FAILED, "may throw batches away"),
        ("noeviction", "0", CheckState.WARNING, "CONFIG SET maxmemory"),
        ("noeviction", "1mb", CheckState.WARNING, "nearly full"),
        ("noeviction", "3mb", CheckState.WARNING, "3.1 MB hold minutes at the most"),
    ],
)
def test_dangerous_memory_is_said(
    settings: Settings, redis_url: str, policy: str, maxmemory: str, state: CheckState, said: str
) -> None:
    """An evicting Redis loses batches, an unbounded one fills the machine, a full one stops us."""
    with redis.Redis.from_url(redis_url) as client:
        before = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "maxmemory")}
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", maxmemory)
        try:
            finding = next(found for found in probe_redis(settings) if found.name == "redis memory")
        finally:
            for name, value in before.items():
                client.config_set(name, value)
    assert finding.state is state
    assert said in finding.detail


def test_missing_append_only_file_is_said(settings: Settings, redis_url: str) -> None:
    """Whatever is in memory alone is lost when it ends."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("appendonly", "no")
        try:
            finding = next(found for found in probe_redis(settings) if found.name == "redis persistence")
        finally:
            client.config_set("appendonly", "yes")
    assert finding.state is CheckState.WARNING
    assert "appendonly yes" in finding.detail


@pytest.mark.server
def test_redis_that_is_away_has_failed(tmp_path: Path) -> None:
    """A given address must answer; no address is well: `up` starts a server."""
    away = probe_redis(Settings(redis_url=SecretStr(f"redis://{CLOSED}/0")))
    assert [finding.state for finding in away] == [CheckState.FAILED]
    none = probe_redis(Settings(data_dir=tmp_path))
    assert [finding.state for finding in none] == [CheckState.OK]
    assert "`collector up` starts a private server" in none[0].detail


def test_folder_that_is_a_file_has_failed(tmp_path: Path) -> None:
    """A data folder must be one that can be written."""
    assert probe_folder(Settings(data_dir=tmp_path / "not" / "yet"))[0].state in (
        CheckState.OK,
        CheckState.WARNING,
    )
    (tmp_path / "file").touch()
    finding = probe_folder(Settings(data_dir=tmp_path / "file"))[0]
    assert finding.state is CheckState.FAILED
    assert "set COLLECTOR_DATA_DIR" in finding.detail


@pytest.mark.server
def test_reachable_exchange_is_well(exchange: str) -> None:
    """It lists its markets, its socket opens, its clock is ours."""
    findings = [*probe_rest(at(exchange)), *probe_websocket(at(exchange))]
    assert [(finding.name, finding.state) for finding in findings] == [
        ("exchange REST", CheckState.OK),
        ("clock", CheckState.OK),
        ("exchange WebSocket", CheckState.OK),
    ]
    assert "markets listed: 1" in findings[0].detail


@pytest.mark.server
def test_a_server_without_websockets_has_failed(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers must be a socket of the exchange, not just any port."""
    monkeypatch.delattr(_Exchange, "_shake_hands")
    (finding,) = probe_websocket(at(exchange))
    assert finding.state is CheckState.FAILED


def test_a_proxy_that_can_not_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, once for each way."""
    monkeypatch.setenv("ALL_PROXY", "socks://proxy:1080")
    findings = [*probe_rest(at("exchange.test")), *probe_websocket(at("exchange.test"))]
    failed = [finding for finding in findings if finding.state is CheckState.FAILED]
    assert [finding.detail.split(":")[0] for finding in failed] == ["ALL_PROXY", "ALL_PROXY"]


@pytest.mark.server
def test_wrong_clock_is_a_warning(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is ahead by as much as theirs is late."""
    monkeypatch.setattr(_Exchange, "late_s", 90)
    clock = probe_rest(at(exchange))[1]
    assert clock.state is CheckState.WARNING
    assert "1 min 30 s ahead of the exchange" in clock.detail or "1 min 29 s ahead" in clock.detail


@pytest.mark.server
def test_exchange_that_is_away_has_failed() -> None:
    """Both ways to it are tried."""
    findings = [*probe_rest(at(CLOSED)), *probe_websocket(at(CLOSED))]
    assert [finding.state for finding in findings] == [
        CheckState.FAILED,
        CheckState.WARNING,
        CheckState.FAILED,
    ]


def test_exit_code_tells(
    run: Run, redis_in_force: str, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 where all that is needed is there, 1 where not; as a table and as JSON."""
    monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", f"http://{exchange}")
    monkeypatch.setenv("COLLECTOR_EXCHANGE__WEBSOCKET_URL", f"ws://{exchange}")
    well = run("check", "--json")
    assert (well.code, list(well.json)) == (0, ["ok", "checks", "settings"])
    monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", f"http://{CLOSED}")
    ill = run("check")
    assert ill.code == 1
    assert "failed" in ill.out
    assert "COLLECTOR_EXCHANGE__REST_URL" in ill.out


def test_checks_come_before_the_settings_that_are_set(
    run: Run, redis_in_force: str, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new user sees five checks, and of 80 settings what was changed; `--all` has each, at every width."""
    monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", f"http://{exchange}")
    monkeypatch.setenv("COLLECTOR_EXCHANGE__WEBSOCKET_URL", f"ws://{exchange}")
    monkeypatch.setenv("COLUMNS", "80")
    out = run("check").out
    checks, settings = out.split("\n\n")
    assert checks.startswith("Checks: ")
    found = re.findall(r"^ (?:ok|warning|failed) +(.*?)  ", checks, re.MULTILINE)
    assert {"redis", "data folder", "exchange REST", "exchange WebSocket", "clock"} <= set(found)
    every = len(list(variable_names()))
    assert settings.startswith(f"Settings: 4 of {every} differ from the defaults (--all shows every one)")
    names = [line.split()[0] for line in settings.splitlines() if "COLLECTOR_" in line or "REDIS_" in line]
    assert names == [
        "REDIS_URL",
        "COLLECTOR_DATA_DIR",
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL",
        "COLLECTOR_EXCHANGE__REST_URL",
    ]
    for width in (80, 100, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        out = run("check", "--all").out
        assert max(map(len, out.splitlines())) <= width
        listed = {line.split()[0] for line in out.splitlines() if line.strip()}
        assert {name for name, _ in variable_names()} <= listed
