"""The state of everything, read again and again; what `collector top` shows."""

from dataclasses import replace

from collector.cli.render.top import View, growth
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable
from collector.store.read import MarketRow, Reader

#: How often the states of the markets at the exchange are read: they change once in days.
STATES_S = 15.0


class Watcher:
    """Read view after view; while Redis does not answer, the last figures stay and are marked as old."""

    def __init__(self, reader: Reader, where: str) -> None:
        self.reader = reader
        self._where = where
        self._clock = SystemClock()
        self._view: View | None = None
        self._read_s = 0.0
        self._states: dict[str, MarketRow] = {}
        self._states_s = float("-inf")

    def look(self) -> View:
        """Return the state of now.

        Raises:
            BrokerUnavailable: no answer, and none so far.
        """
        now_s, now_ms = self._clock.monotonic(), self._clock.now_ms()
        before = self._view
        try:
            health, tickers = self.reader.health(), self.reader.tickers()
            if now_s - self._states_s >= STATES_S:
                self._states = {row.market: row for row in self.reader.market_rows()}
                self._states_s = now_s
        except BrokerUnavailable as error:
            if before is None:
                raise
            return replace(before, now_ms=now_ms, where="", rates={}, trouble=str(error))
        rates = growth(health.counters, before.health.counters, now_s - self._read_s) if before else {}
        self._read_s = now_s
        self._view = View(
            now_ms=now_ms,
            health=health,
            tickers=tickers,
            where=self._where,
            states=self._states,
            rates=rates,
        )
        return self._view
