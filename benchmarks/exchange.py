"""An exchange for whole-system runs: `python -m benchmarks.exchange`, a process of its own.

`burst`: trades made beforehand, sent at a pace to whoever subscribes. `mix`: the exchange's measured mix,
made as it is due so that every frame carries the time at which it is sent; all sockets get the same bytes,
but for those that ask for trades alone.
The turnover in its tickers is that of its trades, and REST has the same trades: nothing is found missing.
"""

import argparse
import asyncio
import json
import re
import time
from collections import deque
from decimal import Decimal
from itertools import cycle
from random import Random
from urllib.parse import parse_qs, urlsplit

from benchmarks.frames import MARKETS, Maker, market_names
from benchmarks.server import FrameServer, wrap

TICK_S = 0.001
#: Facts sheet 1.5 and 1.11: of the live books of a busy market 39 to 54 % repeat the one before.
REPEATS = 0.45
#: Prepared books and tickers per market.
BODIES = 8
_THEN_MS = 1_000_000_000_000  # its digits are replaced by the present time
_OLD_MS = 600_000
_KEPT = 400  # rows of a market that REST shows
_TOTAL = b'"acc_trade_price":14330306973.41015,'  # of every ticker; replaced


class Mix(FrameServer):
    """Books, trades and tickers a second over all markets, for as long as somebody listens."""

    def __init__(self, books: float, trades: float, tickers: float, markets: int) -> None:
        super().__init__([], market_names(markets), pace=lambda _: 0)
        self._per_s = (books, trades, tickers)
        self._made = [0, 0, 0]
        self._random = Random(2)
        #: Sockets, each with whether it asked for trades alone.
        self._writers: dict[asyncio.StreamWriter, bool] = {}
        self._us = 0
        maker = Maker(markets, _THEN_MS, rate_per_ms=1e12)
        self._books = [[maker.book(name) for _ in range(BODIES)] for name in market_names(markets)]
        self._tickers = cycle([maker.ticker() for _ in range(markets * BODIES)])
        #: By market: turnover of its trades, time of the last.
        self._totals = {name: (Decimal(0), _THEN_MS) for name in market_names(markets)}
        #: By market: rows of REST, newest first; one is older than any listener.
        old_ms = time.time_ns() // 1_000_000 - _OLD_MS
        self._rows = {name: deque([self._row(maker.trade(old_ms), name)], _KEPT) for name in self._totals}
        self._trades = maker
        self._at = [0] * markets

    async def run(self) -> None:
        """Send what is due, for ever."""
        started_s = time.monotonic()
        while True:
            everything, trades = self._due(time.monotonic() - started_s)
            for writer, has_trades_alone in self._writers.items():
                writer.write(trades if has_trades_alone else everything)
            await asyncio.sleep(TICK_S)

    async def _send_paced(self, writer: asyncio.StreamWriter, subscription: bytes) -> None:
        kinds = {entry["type"] for entry in json.loads(subscription) if "type" in entry}
        self._writers[writer] = kinds == {"trade"}
        try:
            await writer.wait_closed()
        finally:
            del self._writers[writer]

    def _due(self, elapsed_s: float) -> tuple[bytes, bytes]:
        due = [int(per_s * elapsed_s) for per_s in self._per_s]
        books, trades, tickers = (now - before for now, before in zip(due, self._made, strict=True))
        self._made = due
        now_ms = time.time_ns() // 1_000_000
        now = b"%d" % now_ms
        made = b"".join(wrap(self._trade(now_ms)) for _ in range(trades))
        states = [self._book(now_ms) for _ in range(books)]
        states += [self._ticker(next(self._tickers), now) for _ in range(tickers)]
        return made + b"".join(map(wrap, states)), made

    def _trade(self, now_ms: int) -> bytes:
        frame = self._trades.trade(now_ms)
        fields = json.loads(frame, parse_float=Decimal)
        name = fields["code"]
        self._rows[name].appendleft(self._row(frame, name))
        total = self._totals[name][0] + fields["trade_price"] * fields["trade_volume"]
        self._totals[name] = total, now_ms
        return frame

    def _row(self, frame: bytes, name: str) -> bytes:
        """Return a trade as REST has it, whose fields are named as the socket's but for the market."""
        return re.sub(rb'"code":"[^"]*"', b'"market":"%b"' % name.encode(), frame)

    def _rest(self, target: str) -> bytes:
        if not target.startswith("/v1/trades/ticks"):
            return super()._rest(target)
        (name,) = parse_qs(urlsplit(target).query)["market"]
        return b"[%b]" % b",".join(self._rows[name])

    def _ticker(self, frame: bytes, now: bytes) -> bytes:
        total, last_ms = self._totals[frame.split(b'"', 8)[7].decode()]
        frame = frame.replace(_TOTAL, b'"acc_trade_price":%b,' % str(total).encode())
        frame = frame.replace(b'"trade_timestamp":%d' % _THEN_MS, b'"trade_timestamp":%d' % last_ms)
        return frame.replace(b"%d" % _THEN_MS, now)

    def _book(self, now_ms: int) -> bytes:
        """Return a book of some market, the same as its last one now and then; no two carry the same time."""
        market = self._random.randrange(len(self._books))
        if self._random.random() >= REPEATS:
            self._at[market] = (self._at[market] + 1) % BODIES
        self._us = max(now_ms * 1000, self._us + 1)
        body = self._books[market][self._at[market]]
        return body[: body.rindex(b'"timestamp":')] + b'"timestamp":%d,"stream_type":"REALTIME"}' % self._us


async def burst(rate: float, count: int) -> None:
    """Serve `count` trades of all markets at `rate` a second."""
    maker = Maker(MARKETS, time.time_ns() // 1_000_000, rate_per_ms=rate / 1000)
    frames = [maker.trade() for _ in range(count)]
    async with FrameServer(frames, market_names(), pace=lambda elapsed_s: int(elapsed_s * rate)) as server:
        print(f"port {server.port}", flush=True)
        await asyncio.Event().wait()


async def mix(books: float, trades: float, tickers: float) -> None:
    """Serve the mix."""
    server = Mix(books, trades, tickers, MARKETS)
    async with server:
        print(f"port {server.port}", flush=True)
        await server.run()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("burst", "mix"))
    for name in ("rate", "books", "trades", "tickers"):
        parser.add_argument(f"--{name}", type=float, default=0)
    parser.add_argument("--count", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.kind == "burst":
        asyncio.run(burst(chosen.rate, chosen.count))
    else:
        asyncio.run(mix(chosen.books, chosen.trades, chosen.tickers))


if __name__ == "__main__":
    main()
