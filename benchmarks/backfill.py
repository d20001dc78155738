"""CPU of `collector backfill candles` over the time that the REST budget takes.

    .venv/bin/python -m benchmarks.backfill --seconds 30

A server of its own process answers each call at once with 200 candles, whatever the market and the end. The
backfill runs with the default budget of 20 calls a second, over at least a day. The bar is 0.3 of a core:
the budget is the limit, not we.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from benchmarks.machine import describe

MARKETS = 493
PER_S = 20
PAGE = 200
BAR = 0.3
#: The command, and the CPU seconds of its process.
RUN = """
import sys, time
from collector.cli import entry
sys.argv = ["collector", *sys.argv[1:]]
try:
    entry.main()
finally:
    print(time.process_time(), file=sys.stderr)
"""


class Handler(BaseHTTPRequestHandler):
    """Every minute of every market traded."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer the market list, or a page of minutes before `to`."""
        if "/candles/" in self.path:
            body = _page(self.path)
        else:
            body = json.dumps([{"market": f"KRW-M{number:03d}"} for number in range(MARKETS)])
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _page(target: str) -> str:
    found = re.search(r"to=(\d{4})-(\d\d)-(\d\d)T(\d\d)%3A(\d\d)", target)
    assert found is not None
    year, month, day, hour, minute = map(int, found.groups())
    end = datetime(year, month, day, hour, minute, tzinfo=UTC) - timedelta(hours=9)
    rows = []
    for number in range(1, PAGE + 1):
        opened = end - timedelta(minutes=number)
        rows.append(
            f'{{"market":"KRW-BTC","candle_date_time_utc":"{opened:%Y-%m-%dT%H:%M:%S}",'
            f'"opening_price":116208000,"high_price":116299000,"low_price":116100{number:03d},'
            f'"trade_price":116208000,"candle_acc_trade_price":28498149.80943952,'
            f'"candle_acc_trade_volume":0.24519{number:03d},"unit":1}}'
        )
    return f"[{','.join(rows)}]"


def _serve(port: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def main() -> None:
    """Print the share of a core."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    seconds = parser.parse_args().seconds
    days = max(1, round(seconds * PER_S * PAGE / MARKETS / 1440, 2))
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **os.environ,
            "COLLECTOR_DATA_DIR": folder,
            "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{ours.recv()}",
            "COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S": str(PER_S),
        }
        from_ms = round((time.time() - days * 86_400) * 1000)
        argv = [sys.executable, "-c", RUN, "backfill", "candles", "KRW-*", "--from", str(from_ms), "--json"]
        begun_s = time.monotonic()
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=seconds * 20, check=True)
        wall_s = time.monotonic() - begun_s
    server.terminate()
    report, cpu_s = json.loads(done.stdout), float(done.stderr.splitlines()[-1])
    budget_s = report["calls"] / PER_S
    print(f"{describe()}; {report['candles']:,} candles in {report['calls']:,} calls of {MARKETS} markets")
    print(f"CPU over wall {cpu_s / wall_s:.2f}   bar <= {BAR}   wall over budget {wall_s / budget_s:.2f}")


if __name__ == "__main__":
    main()
