"""`python -m benchmarks.page`: from opening the page to its first candle, and what is sent to the browser.

Runs `collector up` at the exchange's mix, opens the page in a headless Chromium, each time with an empty
cache, and prints the milliseconds until the newest candle is described below the chart. Needs Debian's
package `chromium`.
"""

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.machine import describe
from benchmarks.system import MIX_OPTIONS, QUICK_START, System
from tests.doubles.browser import Page, browser
from tests.doubles.ports import free_port

TIMES, START_S = 7, 60
SHOWN = "document.getElementById('legend')?.textContent.includes('VWAP')"
_WAIT = f"""
new Promise((done) => {{
  const look = () => ({SHOWN}) ? done(performance.now()) : requestAnimationFrame(look);
  look();
}})
"""


def main() -> None:
    """Print three lines."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as name:
        system = System(Path(name), MIX_OPTIONS, {**QUICK_START, "COLLECTOR_SERVE__PORT": str(port)})
        with system.running():
            system.settle()
            print(describe())
            with browser() as page:
                times_ms = sorted(_opened(page, address) for _ in range(TIMES))
            middle_ms = statistics.median(times_ms)
            print(f"first candle after {middle_ms:.0f} ms, at the latest {times_ms[-1]:.0f} ms")
            print(f"scripts and styles: {_sent(address) / 1000:.0f} kB compressed")


def _opened(page: Page, address: str) -> float:
    """Open the page anew; return the milliseconds from the navigation to the first candle."""
    page.open("about:blank")
    page.ask("Network.setCacheDisabled", cacheDisabled=True)
    page.open(address)
    deadline_s = time.monotonic() + START_S
    while page.run("location.href") == "about:blank":
        assert time.monotonic() < deadline_s
    return float(page.run(_WAIT))


def _sent(address: str) -> int:
    folder = Path(__file__).parents[1] / "collector" / "serve" / "page"
    names = [it.name for it in folder.iterdir() if it.suffix in (".js", ".css")]
    size = 0
    for name in ("assets/lightweight-charts.js", *names):
        with httpx.stream("GET", address + name, headers={"Accept-Encoding": "gzip"}) as answer:
            size += sum(map(len, answer.iter_raw()))
    return size


if __name__ == "__main__":
    main()
