"""A headless Chromium, driven through its debugging protocol: opens pages, runs scripts, takes pictures."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S = 30
ANSWER_S = 20


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sent = 0

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command of the debugging protocol and return its result."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_S))
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, url: str, user: str = "", password: str = "") -> str:
        """Go to `url`, with basic auth where a user is given; return why nothing is shown, if so."""
        headers = {}
        if user:
            secret = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {secret}"}
        self.ask("Network.enable")
        self.ask("Network.setExtraHTTPHeaders", headers=headers)
        return str(self.ask("Page.navigate", url=url).get("errorText", ""))

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression; promises are waited for."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self) -> str:
        """Return what a reader sees, spaces as one."""
        return re.sub(r"\s+", " ", self.run("document.body ? document.body.innerText : ''") or "")

    def until(self, condition: Callable[[str], object], within_s: float, what: str) -> str:
        """Return the page's text once `condition` of it is true."""
        deadline = time.monotonic() + within_s
        while not condition(text := self.text()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come true within {within_s} s; the page says: {text[:2000]}")
            time.sleep(0.2)
        return text

    def picture(self, path: Path, width: int, height: int) -> None:
        """Write what is seen as PNG."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **metrics)
        self.ask("Emulation.setScrollbarsHidden", hidden=True)
        time.sleep(0.5)  # tables are laid out again
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """Yield a page of a headless Chromium; the test is skipped, saying so, where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium (Debian package `chromium`), so nothing was looked at in a browser")
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        argv = [
            *(found, "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-extensions", "--disable-background-networking", "--no-proxy-server"),
            "--window-size=1400,900",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *(f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"),
        ]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                with connect(_address(Path(folder), process), max_size=None) as socket:
                    yield Page(socket)
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the debugging address of the first tab, once the browser has written its port."""
    deadline, port_file = time.monotonic() + START_S, folder / "DevToolsActivePort"
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and (lines := port_file.read_text().splitlines()):
            tabs = httpx.get(f"http://127.0.0.1:{lines[0]}/json", timeout=5, trust_env=False).json()
            pages = [tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"]
            if pages:
                return str(pages[0])
        time.sleep(0.1)
    pytest.fail(f"Chromium did not start within {START_S} s (exit status {process.poll()})")
