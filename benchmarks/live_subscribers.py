"""The subscribers of `benchmarks.live`: WebSocket clients of `collector serve`, in processes of their own."""

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context

from msgspec import Struct, field
from msgspec.json import Decoder
from websockets.asyncio.client import connect

#: Clients of one process.
_TOGETHER = 250


class Received(Struct):
    """What one subscriber got.

    Attributes:
        since_ms: when it was told that it is subscribed, epoch ms: every trade since then is for it.
        until_ms: when it left.
        trades: market, id and position in the event stream of each, in the order in which they came.
        lags_ms: from the exchange's time to its arrival, of each that no backfill brought.
        notices: how often something was announced as not coming.
    """

    since_ms: float = 0.0
    until_ms: float = 0.0
    trades: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    lags_ms: list[float] = field(default_factory=list)
    notices: int = 0


class _Data(Struct):
    id: int = 0
    exchange_ms: int = 0
    late: bool = False


class _Message(Struct):
    op: str = ""
    id: str = ""
    channel: str = ""
    market: str | None = None
    data: _Data = field(default_factory=_Data)


_decode = Decoder(_Message).decode


def all_received(port: int, choices: Sequence[Sequence[str]], seconds: float) -> list[Received]:
    """Follow trades for so long, a subscriber for each choice of markets; return what each got."""
    parts = [choices[start : start + _TOGETHER] for start in range(0, len(choices), _TOGETHER)]
    with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn")) as processes:
        found = processes.map(_part, [port] * len(parts), parts, [seconds] * len(parts))
        return list(chain.from_iterable(found))


def _part(port: int, choices: Sequence[Sequence[str]], seconds: float) -> list[Received]:
    return asyncio.run(_together(f"ws://127.0.0.1:{port}/v1/ws", choices, seconds))


async def _together(url: str, choices: Sequence[Sequence[str]], seconds: float) -> list[Received]:
    found = [Received() for _ in choices]
    await asyncio.gather(*(_follow(url, *each, seconds) for each in zip(choices, found, strict=True)))
    return found


async def _follow(url: str, markets: Sequence[str], found: Received, seconds: float) -> None:
    subscription = {"op": "subscribe", "channels": ["trade"], "markets": [*markets]}
    async with connect(url, max_size=None, max_queue=None, open_timeout=60) as socket:
        await socket.send(json.dumps(subscription))
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    message = _decode(await socket.recv())
            except TimeoutError:
                break
            now_ms = time.time() * 1000
            if message.op == "subscribed":
                found.since_ms = now_ms
            elif message.channel == "trade":
                position = tuple(int(part) for part in message.id.split("-"))
                found.trades.append((str(message.market), message.data.id, position))
                if not message.data.late:
                    found.lags_ms.append(now_ms - message.data.exchange_ms)
            elif message.channel == "notice":
                found.notices += 1
        found.until_ms = time.time() * 1000
