"""An exchange at a chosen pace: `python -m benchmarks.flood`, a process of its own.

Frames are made as they are due, so books and tickers always carry the present time, and no trade repeats.
What can't be sent in time, because the machine has other work, is left out: caught up in a burst it would
wait in the socket, and everything behind it would be as old.
Each trade goes to the truth file, in the form of the simulator's. The load lasts for `--seconds`; then trades
stop, books and tickers go on at `--after` times their pace.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TextIO

from benchmarks.frames import Maker, market_names
from benchmarks.server import FrameServer, wrap

TICK_S = 0.005
LATE_S = 0.25
ASK_BID = {"buy": "BID", "sell": "ASK"}  # who took
#: Prepared bodies per market: none repeats the one before.
BODIES = 20
NOW_MS = 1_000_000_000_000  # its digits are replaced by the present time


@dataclass(frozen=True)
class Pace:
    """Frames a second, for how long, and what is left of books and tickers afterwards."""

    trades: float
    books: float
    tickers: float
    seconds: float
    after: float

    def due(self, per_s: float, elapsed_s: float, after: float) -> int:
        """Return how many frames of a kind are due after `elapsed_s`."""
        return int(per_s * (min(elapsed_s, self.seconds) + after * max(0.0, elapsed_s - self.seconds)))


class Flood(FrameServer):
    """Serves `pace` to whoever subscribes last; there is to be one listener with one socket."""

    def __init__(self, markets: int, pace: Pace, truth: TextIO) -> None:
        super().__init__([], market_names(markets), pace=lambda _: 0)
        self._names = market_names(markets)
        self._load = pace
        self._truth = truth
        self._random = random.Random(1)
        self._books = _bodies(markets, lambda maker: _in_ms(maker.book()))
        self._tickers = _in_turn(_bodies(markets, Maker.ticker), market_names(markets))
        self._made = [0, 0, 0]
        self._book_us = 0
        self._newest: asyncio.StreamWriter | None = None

    async def _send_paced(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        now_s = asyncio.get_running_loop().time
        self.started_s = self.started_s or now_s()
        self._newest = writer
        while writer is self._newest:
            piece = self._due(now_s() - self.started_s)
            if piece:
                writer.write(piece)
                await writer.drain()
            await asyncio.sleep(TICK_S)

    def _due(self, elapsed_s: float) -> bytes:
        load, now_ms = self._load, int(time.time() * 1000)
        trades, books, tickers = (
            load.due(load.trades, elapsed_s, 0),
            load.due(load.books, elapsed_s, load.after),
            load.due(load.tickers, elapsed_s, load.after),
        )
        self._made = [
            max(made, due - round(per_s * LATE_S))
            for made, due, per_s in zip(
                self._made,
                (trades, books, tickers),
                (load.trades, load.books, load.tickers),
                strict=True,
            )
        ]
        frames = [self._trade(number, now_ms) for number in range(self._made[0], trades)]
        frames += [self._book(now_ms) for _ in range(self._made[1], books)]
        now = b"%d" % now_ms
        frames += [next(self._tickers).replace(b"%d" % NOW_MS, now) for _ in range(self._made[2], tickers)]
        self._made = [trades, books, tickers]
        return b"".join(map(wrap, frames))

    def _book(self, now_ms: int) -> bytes:
        """Return the next book; no two carry the same microsecond."""
        self._book_us = max(now_ms * 1000, self._book_us + 1)
        return next(self._books).replace(b'"timestamp":%d' % NOW_MS, b'"timestamp":%d' % self._book_us)

    def _trade(self, number: int, now_ms: int) -> bytes:
        draw = self._random
        row: dict[str, Any] = {
            "market": draw.choice(self._names),
            "exchange_ms": now_ms,
            "id": (now_ms << 20) + number,
            "price": str(draw.randint(1000, 99999)),
            "volume": f"{draw.uniform(0.0001, 2):.8f}",
            "side": draw.choice(("buy", "sell")),
        }
        self._truth.write(json.dumps(row) + "\n")
        return (
            f'{{"type":"trade","code":"{row["market"]}","trade_price":{row["price"]},'
            f'"trade_volume":{row["volume"]},"ask_bid":"{ASK_BID[row["side"]]}",'
            '"prev_closing_price":48450,"change":"RISE","change_price":520,"trade_date":"2026-09-23",'
            f'"trade_time":"12:18:33","trade_timestamp":{now_ms},"sequential_id":{row["id"]},'
            f'"timestamp":{now_ms},"stream_type":"REALTIME"}}'
        ).encode()


def _bodies(markets: int, make: Callable[[Maker], bytes]) -> Iterator[bytes]:
    """Return an endless round over prepared frames whose time is `NOW_MS`."""
    maker = Maker(markets, start_ms=NOW_MS, rate_per_ms=1e12)
    return cycle([make(maker) for _ in range(markets * BODIES)])


def _in_turn(tickers: Iterator[bytes], names: Sequence[str]) -> Iterator[bytes]:
    """Give the prepared tickers to the markets in turn: none is older than the others where it comes from."""
    for name, ticker in zip(cycle(names), tickers, strict=False):
        head, _, tail = ticker.partition(b'"code":"')
        yield head + b'"code":"' + name.encode() + tail[tail.index(b'"') :]


def _in_ms(book: bytes) -> bytes:
    """Cut the microseconds off the time of a prepared book."""
    head, _, tail = book.partition(b'"timestamp":')
    return head + b'"timestamp":%d' % NOW_MS + tail[tail.index(b",") :]


async def _serve(markets: int, pace: Pace, truth: Path) -> None:
    with closing(truth.open("w", buffering=1)) as file:
        async with Flood(markets, pace, file) as server:
            print(f"port {server.port}", flush=True)
            await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=100)
    for name in ("trades", "books", "tickers", "seconds", "after"):
        parser.add_argument(f"--{name}", type=float, default=0)
    parser.add_argument("--truth", type=Path, required=True)
    chosen = parser.parse_args()
    pace = Pace(chosen.trades, chosen.books, chosen.tickers, chosen.seconds, chosen.after)
    asyncio.run(_serve(chosen.markets, pace, chosen.truth))


if __name__ == "__main__":
    main()
