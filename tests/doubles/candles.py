"""The simulator's REST calls over its market model, with a history that ends now."""

import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from collector.model import Channel, Gap, Side, Trade
from collector.simulator import rest
from collector.simulator.events import SimTrade
from collector.simulator.fixed import plain
from collector.simulator.model import MarketModel, Pace

BTC = "KRW-BTC"
MINUTES = 260
MINUTE_MS = 60_000


class Exchange:
    """Serves `/v1/…` on a free loopback port while entered."""

    def __init__(self) -> None:
        now_us = time.time_ns() // 1000
        start_us = now_us - MINUTES * 60_000_000
        self._model = MarketModel(3, Pace(rate=0.3, books_per_trade=0, tickers_per_trade=0), 4, start_us)
        self._now_ms = now_us // 1000
        self.trades: list[Trade] = []
        for second in range(MINUTES * 60):
            events = self._model.advance(start_us + (second + 1) * 1_000_000)
            self.trades += [_trade(event) for event in events if isinstance(event, SimTrade)]
        self._asked: list[str] = []
        #: Calls for candles that are answered before all others fail; None: all are answered.
        self.candle_calls_left: int | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def settled(self, market: str) -> list[Trade]:
        """Return the trades of `market` in minutes that are over by now."""
        running_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
        return [trade for trade in self.trades if trade.market == market and trade.minute_ms < running_ms]

    def pages(self, market: str) -> int:
        """Return how many pages of candles were asked for."""
        return sum("/candles/minutes/1" in target and market in target for target in self._asked)

    @staticmethod
    def another(market: str, minute_ms: int) -> Trade:
        """Return a trade the exchange knows nothing of."""
        return Trade(market, 5, Decimal(1), Decimal(1), Side.BUY, minute_ms + 30_000, minute_ms + 30_001)

    @staticmethod
    def gap(market: str, minute_ms: int) -> Gap:
        """Return a known loss within a minute."""
        return Gap(market, Channel.TRADE, minute_ms, minute_ms + 59_999, "disconnected")

    def __enter__(self) -> "Exchange":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answers(self, target: str) -> bool:
        if self.candle_calls_left is None or "/candles/" not in target:
            return True
        self.candle_calls_left -= 1
        return self.candle_calls_left >= 0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exchange._asked.append(self.path)
                if not exchange._answers(self.path):
                    self.send_error(503)
                    return
                reply = rest.answer(self.path, exchange._model.markets, exchange._now_ms)
                body = reply.body.encode()
                self.send_response(reply.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        return Handler


def _trade(made: SimTrade) -> Trade:
    side = Side.BUY if made.buy else Side.SELL
    price, volume = Decimal(plain(made.price)), Decimal(plain(made.volume))
    return Trade(made.market, made.id, price, volume, side, made.ms, made.ms + 50)
