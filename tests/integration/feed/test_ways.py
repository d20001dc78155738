"""REST, socket and `check` behind real proxies and with a company's certificates: all go the same way."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collector.cli.probes import CheckState, probe_rest, probe_websocket
from collector.clock import SystemClock
from collector.errors import ConnectFailed, RestError
from collector.feed.connection import open_socket
from collector.feed.rest_client import RestClient
from collector.settings import ExchangeSettings, Settings
from collector.simulator import Simulator, SimulatorOptions
from collector.util import network
from collector.util.network import way_to
from tests.doubles.proxies import HOST, Served, http_proxy, socks_proxy, tls_door

pytestmark = pytest.mark.server

CREDENTIALS = "trader:hunter2"


@pytest.fixture(autouse=True)
def _no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("http", "https", "all", "no", "ws", "wss"):
        for name in (f"{kind}_proxy", f"{kind}_proxy".upper()):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def exchange() -> AsyncIterator[Simulator]:
    """A simulated exchange on loopback."""
    async with Simulator(SimulatorOptions(markets=2, rate=0)) as running:
        yield running


def named(port: int, secure: str = "") -> Settings:
    """Return settings for an exchange with a public name."""
    urls = {
        "rest_url": f"http{secure}://{HOST}:{port}",
        "websocket_url": f"ws{secure}://{HOST}:{port}/websocket/v1",
    }
    return Settings(exchange=ExchangeSettings(**urls))


async def use_both(settings: Settings) -> None:
    """Ask REST for the markets, and open a socket; then let `check` do the same."""
    async with RestClient(settings.exchange, SystemClock()) as rest:
        assert len(await rest.markets()) == 2
    url = settings.exchange.websocket_url
    async with await open_socket(url, way_to(url), settings.connection):
        pass
    findings = [
        finding
        for probe in (probe_rest, probe_websocket)
        for finding in await asyncio.to_thread(probe, settings)
    ]
    assert [finding.state for finding in findings] == [CheckState.OK] * 3, findings


async def test_an_http_proxy_that_asks_for_a_password(
    exchange: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the proxy knows the exchange; `check` names it, without the password."""
    async with http_proxy(CREDENTIALS) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}")
        settings = named(exchange.port)
        await use_both(settings)
        (finding,) = await asyncio.to_thread(probe_websocket, settings)
        assert finding.detail.endswith(f"(through the proxy 127.0.0.1:{proxy.port} of HTTP_PROXY)")
    assert f"CONNECT {HOST}:{exchange.port}" in proxy.asked
    assert f"GET http://{HOST}:{exchange.port}/v1/market/all?isDetails=true" in proxy.asked


async def test_a_socks_proxy(exchange: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks the name up."""
    async with socks_proxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.port}")
        await use_both(named(exchange.port))
    assert set(proxy.asked) == {f"SOCKS5 {HOST}:{exchange.port}"}


async def test_a_proxy_that_refuses_is_named_in_the_error(
    exchange: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password of the proxy does not read as a fault of the exchange."""
    async with http_proxy(CREDENTIALS) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://me:wrong@127.0.0.1:{proxy.port}")
        settings = named(exchange.port)
        url = settings.exchange.websocket_url
        with pytest.raises(ConnectFailed, match=r"407 .*of ALL_PROXY\)$"):
            await open_socket(url, way_to(url), settings.connection)
    async with RestClient(settings.exchange, SystemClock()) as rest:
        with pytest.raises(RestError, match=r"of ALL_PROXY\)$"):
            await rest.markets()


async def test_loopback_goes_past_every_proxy(exchange: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Demo, simulator and tests work behind a proxy that nobody excepted them from."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    urls = ExchangeSettings(rest_url=exchange.rest_url, websocket_url=exchange.websocket_url)
    await use_both(Settings(exchange=urls))


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a company's root certificate, and what it signed for the exchange's name."""
    folder = tmp_path_factory.mktemp("company")
    (folder / "names").write_text(f"subjectAltName=DNS:{HOST}\n")
    new = ("-newkey", "rsa:2048", "-nodes")
    for words in (
        ("req", "-x509", *new, "-days", "2", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Company"),
        ("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={HOST}"),
        ("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", "2", "-extfile", "names", "-out", "server.crt"),
    ):  # fmt: skip
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True)
    return folder


@pytest.fixture
def fresh_trust() -> Iterator[None]:
    """The TLS settings are made anew, now and afterwards."""
    network.tls_context.cache_clear()
    yield
    network.tls_context.cache_clear()


@asynccontextmanager
async def behind_tls(
    company: Path, exchange: Simulator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """Serve the exchange with TLS, to be reached through a proxy."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(company / "server.crt", company / "server.key")
    async with tls_door(context, exchange.port) as door, http_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        yield door


@pytest.mark.usefixtures("fresh_trust")
async def test_what_the_system_trusts_rest_and_socket_trust(
    company: Path, exchange: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One store for both: a company's root certificate in it is believed by both."""
    monkeypatch.setenv("SSL_CERT_FILE", str(company / "ca.crt"))
    async with behind_tls(company, exchange, monkeypatch) as door:
        await use_both(named(door.port, "s"))


@pytest.mark.usefixtures("fresh_trust")
async def test_what_the_system_does_not_trust_neither_trusts(
    company: Path, exchange: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both refuse, and say that it is the certificate."""
    async with behind_tls(company, exchange, monkeypatch) as door:
        settings = named(door.port, "s")
        async with RestClient(settings.exchange, SystemClock()) as rest:
            with pytest.raises(RestError, match="certificate verify failed"):
                await rest.markets()
        url = settings.exchange.websocket_url
        with pytest.raises(ConnectFailed, match="certificate verify failed"):
            await open_socket(url, way_to(url), settings.connection)
