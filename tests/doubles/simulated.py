"""A simulated exchange in a thread of the test: its faults begin when the test likes."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from collector.simulator import Simulator, SimulatorOptions

TIMEOUT_S = 20


class ExchangeThread:
    """Use as a context manager; addresses as those of `Simulator`."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._exchange: Simulator | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    @property
    def exchange(self) -> Simulator:
        """The simulator; what changes it goes through `begin`."""
        assert self._exchange is not None
        return self._exchange

    def begin(self, faults: str) -> None:
        """Add faults whose times count from now."""
        self._loop.call_soon_threadsafe(self.exchange.begin, faults)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with Simulator(self._options) as exchange:
            self._exchange = exchange
            self._started.set()
            await exchange.run(self._stop)
