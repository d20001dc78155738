"""The simulator's TCP proxy, run in a thread of its own so that a test can use it without an event loop."""

import asyncio
import threading

from collector.simulator.proxy import TcpProxy

TIMEOUT_S = 5.0


class ProxyThread:
    """Stands between the listener and the exchange until `stop`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.proxy = TcpProxy(target_port)

    def start(self) -> int:
        """Start it; return its port."""
        self._thread.start()
        if not self._started.wait(TIMEOUT_S):
            raise AssertionError("the proxy did not start")
        return self.proxy.port

    def blackhole(self) -> None:
        """Let all bytes of open and new connections vanish, unannounced."""
        self._loop.call_soon_threadsafe(self.proxy.blackhole)

    def resume(self) -> None:
        """Serve new connections again."""
        self._loop.call_soon_threadsafe(self.proxy.resume)

    def cut(self) -> None:
        """Reset all connections."""
        self._loop.call_soon_threadsafe(self.proxy.cut)

    def stop(self) -> None:
        """End it."""
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with self.proxy:
            self._started.set()
            await self._stop.wait()
