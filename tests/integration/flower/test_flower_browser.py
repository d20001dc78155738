"""Flower as an operator sees it, in a headless Chromium, beside a running demo."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles.browser import Page, browser
from tests.doubles.ports import free_port

USER, PASSWORD = "operator", "secret"
START_S = 60
#: Set to a folder, the pictures of the documents are written there.
PICTURES = os.environ.get("FLOWER_PICTURES")

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser, or a skip that says that there is none."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def flower(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Flower, with a password, in a whole system: exchange, listener, workers."""
    folder, port = tmp_path_factory.mktemp("flower"), free_port()
    env = {
        **os.environ,
        "COLLECTOR_DATA_DIR": str(folder / "data"),
        "FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}",
    }
    argv = [sys.executable, "-m", "collector", "demo", "--seconds", "600", "--rate", "20"]
    argv += ["--flower", "--flower-port", str(port)]
    with (folder / "log").open("wb") as log:
        demo = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while not _answers(address):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            assert demo.poll() is None, (folder / "log").read_text()
            time.sleep(0.3)
        yield address
    finally:
        demo.terminate()
        demo.wait(20)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthcheck", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_without_the_password_the_browser_shows_nothing(page: Page, flower: str) -> None:
    """No worker's name, no task."""
    assert page.open(flower) != ""
    assert page.text() == ""


def test_workers_are_online_and_their_tasks_counted(page: Page, flower: str) -> None:
    """Two workers, Online both; what they processed grows and nothing failed."""
    page.open(f"{flower}/workers", USER, PASSWORD)
    page.until(lambda text: text.count("Online") >= 3, 60, "two workers are online")  # and the heading
    first = processed(page)
    assert {name.split("-")[0] for name in first} == {"ingest1", "analysis"}
    page.until(lambda _: processed(page)["ingest1"] > first["ingest1"], 60, "more tasks were counted")
    assert page.run("[...document.querySelectorAll('tbody tr')].map(r => r.cells[4].innerText).join()") in (
        "0,0",
        "",
    )
    picture(page, "flower.png", 1400, 600)


def processed(page: Page) -> dict[str, int]:
    """Tasks processed by worker, as the table says."""
    cells = "[r.cells[0].textContent.trim(), r.cells[3].textContent]"
    rows = page.run(f"[...document.querySelectorAll('tbody tr')].map(r => {cells})")
    return {name.split("-")[0]: int(count.replace(",", "")) for name, count in rows}


def test_tasks_have_readable_names_and_short_arguments(page: Page, flower: str) -> None:
    """Ingest tasks say how many rows and bytes they carry, not the rows."""
    page.open(f"{flower}/tasks", USER, PASSWORD)
    text = page.until(
        lambda text: "tasks.ingest.trades" in text and "SUCCESS" in text, 30, "tasks are listed"
    )
    assert " rows, " in text
    assert "KRW-BTC" not in text.replace("['KRW-BTC'", "")


def test_an_analysis_is_started_through_the_api_and_its_answer_is_seen(page: Page, flower: str) -> None:
    """Sent from the browser, found in the list by name, its page shows the VWAP."""
    deadline = time.monotonic() + 60
    while "vwap" not in ((answer := apply_vwap(page)).get("result") or {}):
        assert time.monotonic() < deadline, answer  # the market has not traded yet
        time.sleep(1)
    price = answer["result"]["vwap"]
    assert float(price) > 0
    deadline = time.monotonic() + 30
    while price not in (text := opened(page, f"{flower}/task/{answer['task-id']}")):
        assert time.monotonic() < deadline, text  # Flower hears of tasks a little later than who asked
        time.sleep(0.5)
    assert "tasks.analysis.vwap" in text
    assert "['KRW-BTC', '15m']" in text

    apply_vwap(page)
    page.open(f"{flower}/tasks", USER, PASSWORD)
    page.until(lambda text: "tasks.ingest" in text, 30, "tasks are listed")
    picture(page, "flower-tasks.png", 2200, 640)
    page.run(
        "(box => { box.value = 'tasks.analysis.vwap';"
        " for (const kind of ['input', 'keyup']) box.dispatchEvent(new Event(kind, {bubbles: true}));"
        " })(document.querySelector('input[type=search]'))"
    )
    page.until(
        lambda text: "tasks.analysis.vwap" in text and "tasks.ingest" not in text, 30, "the search finds it"
    )


def opened(page: Page, address: str) -> str:
    """Open a page, anew if it was open; return its text."""
    page.open(address, USER, PASSWORD)
    return page.until(lambda text: text != "", 30, f"{address} shows something")


def apply_vwap(page: Page) -> dict[str, Any]:
    """Start the analysis from the browser, wait, and return Flower's answer."""
    sent = page.run(
        "fetch('/api/task/apply/tasks.analysis.vwap', {method: 'POST',"
        " body: JSON.stringify({args: ['KRW-BTC', '15m']})}).then(r => r.text())"
    )
    return dict(json.loads(sent))


def picture(page: Page, name: str, width: int, height: int) -> None:
    """Write a picture for the documents, if they were asked for."""
    if PICTURES:
        page.picture(Path(PICTURES) / name, width, height)
