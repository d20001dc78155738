"""Recordings are played verbatim, at the speed asked for, and their trades are in REST afterwards."""

import asyncio
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.errors import ConfigurationError
from collector.recording import Frame, RecordingWriter, open_recording
from collector.simulator import Simulator, SimulatorOptions

Listen = Callable[..., Any]
SHARED = Path(os.environ.get("SHARED_DIR") or Path(__file__).resolve().parents[4] / "shared") / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"recorded data is not at {SHARED}")
UPBIT = SHARED / "cryptofeed-upbit-2021-04-05" / "UPBIT-d78752.0.gz"
LEGACY = SHARED / "cryptofeed-bithumb-legacy-2021-06-02" / "BITHUMB.ws.1.0"
MS = 1_790_133_505_546


def trade(i: int, code: str = "KRW-BTC") -> bytes:
    return (
        f'{{"type":"trade","code":"{code}","trade_price":116208000,"trade_volume":0.0009,"ask_bid":"BID",'
        f'"trade_timestamp":{MS + i},"sequential_id":{1000 + i},"timestamp":{MS + i},'
        '"stream_type":"REALTIME"}'
    ).encode()


def record(path: Path, count: int, step_ms: int = 1) -> Path:
    with RecordingWriter(path, "current", "ws://x", MS) as writer:
        for i in range(count):
            writer.append(Frame((MS + i * step_ms) * 1000, trade(i), binary=i % 2 == 0))
    return path


def playing(path: Path, **options: Any) -> SimulatorOptions:
    return SimulatorOptions(
        **{"recording": path, "speed": 0, "snapshot_delay_s": 0.0, "tick_s": 0.005, **options}
    )


async def finished(exchange: Simulator) -> None:
    async with asyncio.timeout(20):
        while not exchange.finished:  # noqa: ASYNC110 - the simulator has no event for its tests
            await asyncio.sleep(0.01)


async def test_frames_come_verbatim_and_in_order(listen: Listen, tmp_path: Path) -> None:
    """At full speed every frame arrives, byte for byte, text as text; then the socket idles."""
    path = record(tmp_path / "r.zst", 3_000)
    async with Simulator(playing(path)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", codes=["KRW-BTC"])
        raws = [await listener.next_raw() for _ in range(3_000)]
        assert [trade(i) if i % 2 == 0 else trade(i).decode() for i in range(3_000)] == raws
        await finished(exchange)
        assert await listener.during(0.2) == []
        assert exchange.trades_made == 3_000


async def test_the_clock_of_the_recording_is_kept_or_scaled(listen: Listen, tmp_path: Path) -> None:
    """A minute of recording at 120 times the speed takes half a second."""
    path = record(tmp_path / "r.zst", 200, step_ms=300)
    async with Simulator(playing(path, speed=120)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", codes=["KRW-BTC"])
        begun = time.monotonic()
        for _ in range(200):
            await listener.next_raw()
        assert 0.4 < time.monotonic() - begun < 30


async def test_it_waits_for_its_audience(listen: Listen, tmp_path: Path) -> None:
    """Nothing is played before as many sockets as asked for have subscribed; then all get everything."""
    path = record(tmp_path / "r.zst", 500)
    async with (
        Simulator(playing(path, recording_sockets=2)) as exchange,
        listen(exchange.websocket_url) as one,
        listen(exchange.websocket_url) as two,
    ):
        await one.ask("trade")
        assert await one.during(0.2) == []
        await two.ask("trade")
        await asyncio.gather(*(each.until(lambda got: len(got) == 500) for each in (one, two)))
        assert await asyncio.gather(one.during(0.1), two.during(0.1)) == [[], []]


async def test_it_can_loop(listen: Listen, tmp_path: Path) -> None:
    """After the end it begins again."""
    path = record(tmp_path / "r.zst", 20)
    async with Simulator(playing(path, loop=True)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade")
        ids = [frame["sequential_id"] for frame in await listener.until(lambda got: len(got) >= 50)]
        assert [1000 + i % 20 for i in range(50)] == ids
        assert not exchange.finished


async def test_only_what_was_asked_for(listen: Listen, tmp_path: Path) -> None:
    """Other channels and markets of the recording stay away."""
    path = record(tmp_path / "r.zst", 20)
    async with Simulator(playing(path)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", codes=["KRW-ETH"])
        assert await listener.during(0.3) == []
        await finished(exchange)


async def test_played_trades_are_in_rest(listen: Listen, tmp_path: Path) -> None:
    """A hole in what was heard can be filled from REST, under the other number."""
    path, truth = record(tmp_path / "r.zst", 300), tmp_path / "truth.jsonl"
    async with Simulator(playing(path, truth=truth)) as exchange:
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("trade")
            await finished(exchange)
        async with httpx.AsyncClient(base_url=exchange.rest_url) as client:
            markets = (await client.get("/v1/market/all")).json()
            rows = (await client.get("/v1/trades/ticks?market=KRW-BTC&count=500")).json()
    assert [row["market"] for row in markets] == ["KRW-BTC"]
    assert [MS + i for i in reversed(range(300))] == [row["timestamp"] for row in rows]
    assert [1000 + i for i in range(300)] == [
        json.loads(line)["id"] for line in truth.read_text().splitlines()
    ]


async def test_a_cut_recording_is_played_up_to_the_cut(
    listen: Listen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is whole is played, and that is the end; one line says so at the start."""
    whole = record(tmp_path / "r.zst", 5_000).read_bytes()
    (tmp_path / "cut.zst").write_bytes(whole[: len(whole) - 20])
    async with (
        Simulator(playing(tmp_path / "cut.zst")) as exchange,
        listen(exchange.websocket_url) as listener,
    ):
        await listener.ask("trade")
        await finished(exchange)
        assert 0 < exchange.trades_made <= 5_000
    (said,) = caplog.messages
    assert re.search(r"cut\.zst is cut: \d+ whole frames, .* what is whole is played", said)


def test_a_recording_cut_before_its_first_frame_says_that_it_is_cut(tmp_path: Path) -> None:
    """Not that it is about no market."""
    with RecordingWriter(tmp_path / "r.zst", "current", "ws://x", MS):
        head = (tmp_path / "r.zst.part").read_bytes()
    (tmp_path / "cut.zst").write_bytes(head)
    with pytest.raises(ConfigurationError, match="is cut: 0 whole frames"):
        Simulator(playing(tmp_path / "cut.zst"))


async def test_what_is_not_a_recording_is_refused(tmp_path: Path) -> None:
    """One line, before anything listens; the same for a recording without any market."""
    (tmp_path / "junk").write_text("hello\n")
    with pytest.raises(ConfigurationError, match="not a recording"):
        Simulator(playing(tmp_path / "junk"))
    with pytest.raises(ConfigurationError, match="no frames"):
        Simulator(playing(record(tmp_path / "empty.zst", 0)))


@needs_shared
async def test_the_upbit_capture_is_played_whole(listen: Listen) -> None:
    """All 1,733 frames of nine markets, as the reader re-shapes them."""
    expected = [frame.raw for frame in open_recording(UPBIT)]
    codes = sorted({json.loads(raw)["cd"] for raw in expected})
    async with Simulator(playing(UPBIT)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", "orderbook", codes=codes)
        assert expected == [await listener.next_raw() for _ in expected]
        await finished(exchange)
        assert exchange.trades_made == 672


@needs_shared
async def test_the_legacy_capture_is_played_on_the_older_socket(listen: Listen) -> None:
    """Statuses are the server's own; the 95 data frames come as recorded; 7 trades."""
    expected = [frame.raw.decode() for frame in open_recording(LEGACY) if b'"status"' not in frame.raw]
    symbols = ["GOM2_KRW", "CON_KRW", "ETH_BTC", "BNB_KRW", "CHZ_KRW", "ANV_KRW", "RNT_KRW"]
    async with Simulator(playing(LEGACY)) as exchange:
        async with listen(exchange.websocket_url) as other, listen(exchange.legacy_websocket_url) as listener:
            for channel in ("transaction", "orderbookdepth"):
                await listener.socket.send(json.dumps({"type": channel, "symbols": symbols}))
            frames = [await listener.next_raw() for _ in range(98)]
            await other.ask("trade", codes=["KRW-GOM2"])
            assert await other.during(0.2) == []
            await finished(exchange)
        assert expected == [raw for raw in frames if '"status"' not in raw]
        assert exchange.trades_made == 7
