"""Redis behind TLS and behind an ACL: every part of the system passes with what the guide grants."""

import asyncio
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from pydantic import SecretStr

from collector.batch import Kind, encode, make
from collector.errors import BrokerUnavailable
from collector.host.redis_client import connect
from collector.model import Side, Trade
from collector.publish.revoke import Revoker
from collector.settings import RedisSettings, Settings
from collector.store.read import Reader
from tests.acceptance.deploy.servers import PASSWORD, Server
from tests.acceptance.scenarios.processes import Process, clean_environment
from tests.acceptance.scenarios.waits import until

pytestmark = pytest.mark.server

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
NOW_MS = 1_790_000_040_000
QUEUES = "trade,orderbook,ticker,analysis"
#: Publishes a batch and asks for an analysis, as the listener and `collector analyze` do.
CLIENT = """
import sys
from collector.batch import TradeBatch, decode
from collector.publish.publisher import envelope_of
from collector.listener.app import connect_redis
from collector.publish.sender import Sender
from collector.settings import current
sender = Sender(connect_redis(current()), 30)
sender.send(envelope_of(decode(sys.argv[1], TradeBatch), 1))
sender.limit_rates({"tasks.analysis.vwap": "40/s"})
"""
FILES = {"tls_ca_file": "ca.crt", "tls_cert_file": "client.crt", "tls_key_file": "client.key"}
ASK = "from collector.broker.ask import ask; print(ask('vwap', 'KRW-BTC', '15m', timeout_s=20)['vwap'])"


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A certificate authority of our own, and what it signed for the server and for us."""
    folder = tmp_path / "tls"
    folder.mkdir()
    usual = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(folder, "req", "-x509", *usual, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=our CA")
    for name in ("server", "client"):
        openssl(
            folder, "req", *usual[:3], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
    return folder


class TlsDoor:
    """Speaks TLS, asks for a certificate, and hands on to a plain server: the bundled Valkey has no TLS."""

    def __init__(self, certificates: Path, target_port: int) -> None:
        self._context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt")
        )
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close in the turns of the loop that follow

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "redis", ("port {port}", f'requirepass "{PASSWORD}"')).start()
    yield server
    server.end()


@pytest.fixture
def tls_port(server: Server, certificates: Path) -> Iterator[int]:
    door = TlsDoor(certificates, server.port)
    yield door.port
    door.close()


def run(env: dict[str, str], folder: Path, program: str, *arguments: str) -> str:
    argv = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def work_through(env: dict[str, str], folder: Path, reader: Reader) -> None:
    """Let a worker take a batch and answer a question, over the way that `env` describes."""
    full = {**clean_environment(), "COLLECTOR_DATA_DIR": str(folder), **env}
    trade = Trade("KRW-BTC", 17, Decimal("161000000"), Decimal("0.5"), Side.BUY, NOW_MS, NOW_MS + 5)
    text = encode(make(Kind.TRADE, [trade], listener="secured", now_ms=NOW_MS))
    argv = ("-m", "celery", "-A", "tasks", "worker", "-n", "w@%h", "-Q", QUEUES, "-c", "1", "-l", "INFO")
    with Process("worker", argv, {**full, "REMAP_SIGTERM": "SIGQUIT"}, folder) as worker:
        worker.wait_until(lambda: reader.workers())
        run(full, folder, CLIENT, text)
        until(lambda: reader.counters().get("trades_counted"), 20, "the trade is stored", worker.output)
        assert run(full, folder, ASK).strip() == "161000000"
        assert reader.candles("KRW-BTC")[0].base_volume == Decimal("0.5")


@pytest.mark.timeout(120)
def test_everything_works_over_tls(tls_port: int, certificates: Path, tmp_path: Path) -> None:
    """Listener's sender, worker, analysis and reader reach a Redis that speaks TLS alone."""
    url = f"rediss://:pass%2Fword%3A1@127.0.0.1:{tls_port}/0"
    files = {name: str(certificates / file) for name, file in FILES.items()}
    settings = Settings(redis_url=SecretStr(url), redis=RedisSettings(**files))
    env = {f"COLLECTOR_REDIS__{name.upper()}": file for name, file in files.items()}
    with connect(url, settings) as client:
        work_through({"REDIS_URL": url, **env}, tmp_path, Reader(client, settings))


def test_a_server_nobody_vouches_for_is_refused(tls_port: int) -> None:
    """Without our authority's file the connection fails: TLS is never taken unchecked."""
    url = f"rediss://:pass%2Fword%3A1@127.0.0.1:{tls_port}/0"
    with (
        connect(url, Settings()) as client,
        pytest.raises(BrokerUnavailable, match="certificate verify failed"),
    ):
        Reader(client, Settings()).markets()


@pytest.mark.timeout(120)
def test_the_documented_acl_is_enough(server: Server, tmp_path: Path) -> None:
    """The user of `docs/grow.md` does everything the system does, and Redis logs no refusal."""
    page = (ROOT / "docs/grow.md").read_text()
    rule = re.search(r"^ +ACL SETUSER collector ((?:.*\\\n)*.*)", page, re.MULTILINE)
    assert rule is not None
    words = rule[1].replace("\\\n", " ").replace("SECRET", "collector-secret").split()
    url = f"redis://collector:collector-secret@127.0.0.1:{server.port}/0"
    with server.client() as admin, connect(url, Settings()) as client:
        admin.execute_command("ACL", "SETUSER", "collector", *words)
        work_through({"REDIS_URL": url}, tmp_path, Reader(client, Settings()))
        client.lpush("ticker", '{"headers": {"id": "late"}}')
        assert Revoker(client).revoke("ticker", ["late"]) == (["late"], 0)
        assert [(row["reason"], row["object"]) for row in admin.acl_log()] == []
        for forbidden in (("CONFIG", "GET", "*"), ("SET", "somebody-else", 1), ("FLUSHALL",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden)
