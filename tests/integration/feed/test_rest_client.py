"""REST calls: bounded in time, size and number, whatever the server does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest

from collector.clock import SystemClock
from collector.errors import RestError, RestLimited, RestRefused
from collector.feed import rest_client
from collector.feed.rest_client import RestClient
from collector.settings import ExchangeSettings
from collector.simulator import Simulator, SimulatorOptions

pytestmark = pytest.mark.server

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client(answer: Answer, **changes: float) -> AsyncIterator[RestClient]:
    """A client of a server that sends what `answer` writes to every request."""

    serving = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with suppress(ConnectionError), closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = ExchangeSettings(rest_url=f"http://127.0.0.1:{port}", **{"rest_timeout_s": 0.5, **changes})
    async with RestClient(settings, SystemClock()) as it:
        yield it
    server.close()
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


def reply(status: str, body: bytes, headers: str = "") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return answer


MARKETS = json.dumps([{"market": "KRW-BTC"}]).encode()


async def test_a_good_reply() -> None:
    """The market list."""
    async with client(reply("200 OK", MARKETS)) as it:
        assert await it.markets() == ("KRW-BTC",)


async def test_names_that_are_no_codes_are_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """What can't be collected is not left out in silence."""
    odd = json.dumps([{"market": "KRW-BTC"}, {"market": "KRW-A:B"}, {"market": "KRW-\u202eX"}]).encode()
    async with client(reply("200 OK", odd)) as it:
        for _ in range(2):
            assert await it.markets() == ("KRW-BTC",)
        assert it.refused_markets == ("'KRW-A:B'", r"'KRW-\u202eX'")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("2 of the listed markets can't be collected")
    assert said.endswith(r"'KRW-A:B', 'KRW-\u202eX'")


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("HTTP 503", reply("503 Service Unavailable", b"maintenance")),
        ("HTTP 302", reply("302 Found", b"", "Location: http://127.0.0.1:1/\r\n")),
        ("HTTP 414", reply("414 URI Too Long", b"")),
        ("404 Code not found", reply("200 OK", b'{"error":{"name":404,"message":"Code not found"}}')),
        ("not JSON", reply("200 OK", b"<html>")),
        ("not JSON", reply("200 OK", b"[1,", "Content-Encoding: identity\r\n")),
        ("market/all", reply("200 OK", b"not zipped", "Content-Encoding: gzip\r\n")),
        ("market/all", reply("200 OK", b"short", "Content-Length: 100\r\n")),
        ("market/all", reply("nonsense", b"")),
    ],
)
async def test_bad_replies_are_one_kind_of_error(expected: str, answer: Answer) -> None:
    """With the reason in it."""
    async with client(answer) as it:
        with pytest.raises(RestError, match=expected) as failure:
            await it.markets()
        assert "\n" not in str(failure.value)
        with pytest.raises(RestError):
            await it.trades("KRW-BTC", cursor=1)


async def test_a_server_that_drips_is_cut_off() -> None:
    """Each byte within the limit of a wait, the whole never ending: the call as a whole has a limit."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with client(drip) as it:
        with pytest.raises(RestError, match=r"no reply in 0\.5 s"):
            await it.markets()


async def test_an_endless_reply_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the bound is not read."""
    monkeypatch.setattr(rest_client, "_MAX_BODY_BYTES", 100_000)
    async with client(reply("200 OK", b" " * 200_000)) as it:
        with pytest.raises(RestError, match="larger than 100000 bytes"):
            await it.markets()


async def test_nobody_there() -> None:
    """One line with the address."""
    settings = ExchangeSettings(rest_url="http://127.0.0.1:1")
    async with RestClient(settings, SystemClock()) as it:
        with pytest.raises(RestError, match=r"127\.0\.0\.1:1/v1/market/all"):
            await it.markets()


async def test_calls_keep_to_the_budget() -> None:
    """Ten calls a second: six take half a second."""
    async with client(reply("200 OK", MARKETS), rest_requests_per_s=10) as it:
        started = time.monotonic()
        await asyncio.gather(*(it.markets() for _ in range(6)))
        assert time.monotonic() - started >= 0.49


LIMIT_ERROR = b'{"error":{"name":"too_many_requests","message":"slow down"}}'


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ("429", reply("429 Too Many Requests", b"")),
        ("error", reply("200 OK", LIMIT_ERROR)),
        ("error", reply("403 Forbidden", LIMIT_ERROR)),
        ("remaining", reply("200 OK", MARKETS, "X-RateLimit-Remaining: 0\r\n")),
    ],
)
async def test_over_the_limit_all_calls_rest(
    how: str, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever form it has: the next calls wait, those that waited for their turn too; it is logged once."""
    # A turn every half second: a reply is read before the next call even on a slow machine.
    async with client(answer, rest_blocked_s=0.8, rest_requests_per_s=2, rest_timeout_s=10) as it:
        started = time.monotonic()
        kinds = [it.markets(), it.markets(), it.trades("KRW-BTC"), it.candles("KRW-BTC", 0)]
        replies = await asyncio.gather(*kinds, return_exceptions=True)
        took_s = time.monotonic() - started
    limited = sum(isinstance(each, RestLimited) for each in replies)
    assert limited == (0 if how == "remaining" else 4)
    assert it.counts == {"rest_calls": 4, f"rest_limited:{how}": 4}
    assert caplog.text.count("REST limit is reached") == 4  # each after the pause of the one before
    assert took_s >= 3 * 0.8


async def test_a_limit_that_two_calls_meet_is_one_pause(caplog: pytest.LogCaptureFixture) -> None:
    """Both were on their way when the first was refused."""

    both = asyncio.Barrier(2)

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await both.wait()
        await reply("429 Too Many Requests", b"")(writer)

    async with client(slowly, rest_blocked_s=30, rest_requests_per_s=100, rest_timeout_s=10) as it:
        await asyncio.gather(it.markets(), it.markets(), return_exceptions=True)
    assert it.counts["rest_limited:429"] == 2
    assert caplog.text.count("REST limit is reached") == 1


async def test_what_remains_does_no_harm_while_something_does() -> None:
    """One left, none told, nonsense: the next call goes at once."""
    for header in ("X-RateLimit-Remaining: 1\r\n", "", "X-RateLimit-Remaining: ?\r\n"):
        async with client(reply("200 OK", MARKETS, header), rest_blocked_s=30) as it:
            async with asyncio.timeout(2):
                await it.markets()
                await it.markets()


@pytest.mark.parametrize(
    ("status", "refused"), [("400 Bad Request", True), ("404 Not Found", True), ("408 Timeout", False)]
)
async def test_a_refusal_is_told_from_a_failure(status: str, refused: bool) -> None:
    """What repeating can't help, as far as the status tells."""
    async with client(reply(status, b"")) as it:
        with pytest.raises(RestError) as failure:
            await it.markets()
        assert isinstance(failure.value, RestRefused) is refused


async def test_the_simulators_limit_is_respected_too() -> None:
    """An unknown market is refused with HTTP 200; the page of a known one is read."""
    async with Simulator(SimulatorOptions(markets=2, rate=0)) as exchange:
        exchange.make_trades(50)
        async with RestClient(ExchangeSettings(rest_url=exchange.rest_url), SystemClock()) as it:
            markets = await it.markets()
            pages = [await it.trades(market) for market in markets]
            with pytest.raises(RestError, match="Code not found"):
                await it.trades("KRW-NOPE")
    assert sum(len(page.trades) for page in pages) == 50
    assert all(page.rejected == 0 for page in pages)
