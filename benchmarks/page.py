"""`python -m benchmarks.page`: from opening the page to its first candle, and what is sent to the browser.

Starts `collector simulate` with 493 markets and `collector up`, opens the page in a headless Chromium, each
time with an empty cache, and prints the milliseconds until the newest candle is described below the chart.
Needs Debian's package `chromium`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.machine import describe
from tests.doubles.browser import Page, browser
from tests.doubles.ports import free_port

MARKETS, RATE, TIMES = 493, 300, 7
WARM_S, START_S = 60, 60
SHOWN = "document.getElementById('legend')?.textContent.includes('VWAP')"
_WAIT = f"""
new Promise((done) => {{
  const look = () => ({SHOWN}) ? done(performance.now()) : requestAnimationFrame(look);
  look();
}})
"""


def main() -> None:
    """Print two lines."""
    folder, exchange, port = Path(tempfile.mkdtemp()), free_port(), free_port()
    env = {
        **os.environ,
        "COLLECTOR_DATA_DIR": str(folder),
        "COLLECTOR_SERVE__PORT": str(port),
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{exchange}/websocket/v1",
        "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{exchange}",
        "COLLECTOR_MARKETS": "*",
    }
    program = [sys.executable, "-m", "collector"]
    options = ["--port", str(exchange), "--markets", str(MARKETS), "--rate", str(RATE)]
    with (folder / "log").open("wb") as log:
        running = [
            subprocess.Popen([*program, "simulate", *options], stdout=log, stderr=log),
            subprocess.Popen([*program, "up"], env=env, stdout=log, stderr=log),
        ]
        try:
            time.sleep(WARM_S)
            print(describe())
            with browser() as page:
                times_ms = sorted(_opened(page, f"http://127.0.0.1:{port}/") for _ in range(TIMES))
            print(
                f"first candle after {statistics.median(times_ms):.0f} ms, at the latest {times_ms[-1]:.0f}"
            )
            print(f"scripts and styles: {_sent(f'http://127.0.0.1:{port}/') / 1000:.0f} kB compressed")
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(30)


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
