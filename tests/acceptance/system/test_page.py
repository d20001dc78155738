"""The page beside a whole system and a simulated exchange: looked at, asked, and through an outage."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.simulator import SimulatorOptions
from tests.acceptance.scenarios.processes import Process
from tests.doubles.browser import Page, browser
from tests.doubles.ports import free_port
from tests.doubles.simulated import ExchangeThread

#: Set to a folder, the pictures of the documents are written there, after some minutes of trading.
PICTURES = os.environ.get("PAGE_PICTURES")
TRADED_S = 420 if PICTURES else 0
START_S = 120

pytestmark = pytest.mark.timeout(500 + TRADED_S)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser, or a skip that says that there is none."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def exchange(page: Page) -> Iterator[ExchangeThread]:
    """Sixty markets."""
    with ExchangeThread(SimulatorOptions(markets=60, rate=60, seed=4)) as started:
        yield started


@pytest.fixture(scope="module")
def address(exchange: ExchangeThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address."""
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    env = {
        "COLLECTOR_DATA_DIR": str(folder / "data"),
        "COLLECTOR_SERVE__PORT": str(port),
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": exchange.exchange.websocket_url,
        "COLLECTOR_EXCHANGE__REST_URL": exchange.exchange.rest_url,
        "COLLECTOR_MARKETS": "*",
    }
    system = Process("up", ("-m", "collector", "up"), env, folder).start()
    try:
        deadline_s = time.monotonic() + START_S
        while "serving http" not in system.log.read_text():
            assert time.monotonic() < deadline_s, system.log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        system.stop()


def choose(page: Page, **choices: str) -> None:
    """Set language, theme and colours, as a reader would have done earlier."""
    page.until(lambda text: "KRW-BTC" in text, START_S, "markets")
    for name, value in choices.items():
        page.run(f"localStorage.setItem('{name}', '{value}')")
    page.run("window.isBefore = true; location.reload()")
    is_there = "!window.isBefore && document.getElementById('legend')?.textContent.includes('VWAP')"
    page.until(lambda _: page.run(is_there), START_S, "candles")


def picture(page: Page, name: str, width: int = 1400, height: int = 880) -> None:
    """Write a picture for the documents, if they were asked for."""
    if PICTURES:
        time.sleep(3)
        page.picture(Path(PICTURES) / f"page-{name}.png", width, height)


def analysed(page: Page, name: str) -> str:
    """Start an analysis by its button; return what its answer looks like."""
    page.run(f"document.getElementById('name').value = '{name}'")
    page.run("document.querySelector('#analysis button').click()")
    deadline_s = time.monotonic() + START_S
    while (answer := page.run("document.getElementById('answer').innerText")) in ("", "…"):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    return str(answer)


def test_analyses_are_drawn(page: Page, address: str) -> None:
    """Bars, shares and tables in the reader's language, and lines in the chart."""
    page.open(address)
    choose(page, language="en", theme="light", colours="west")
    deadline_s = time.monotonic() + START_S
    while "Value area" not in analysed(page, "volume_profile"):
        assert time.monotonic() < deadline_s  # too few trades yet
        time.sleep(2)
    bars = page.run(
        "[...document.querySelectorAll('.profile .split span')].filter((it) => it.offsetWidth > 0).length"
    )
    assert bars > 0
    assert page.run("document.querySelectorAll('.profile .poc').length") == 1
    assert "Bought" in analysed(page, "imbalance")
    assert page.run("document.querySelectorAll('#answer .split span').length") == 2
    assert "Average" in analysed(page, "slippage")
    assert page.run("document.querySelectorAll('#answer tbody tr').length") == 2
    assert "VWAP" in analysed(page, "vwap")
    assert "z-score" in analysed(page, "large_trades")
    time.sleep(TRADED_S)
    analysed(page, "volume_profile")
    picture(page, "desktop")
    choose(page, language="ko", theme="dark", colours="kr")
    assert "가치 영역" in analysed(page, "volume_profile")
    picture(page, "dark-ko")
    choose(page, theme="light")
    picture(page, "phone", 390, 844)


def test_an_outage_of_the_exchange_is_seen_and_what_was_missed_is_fetched(
    page: Page, address: str, exchange: ExchangeThread
) -> None:
    """The word turns, and turns back once all gaps are closed."""
    page.open(address)
    choose(page, language="en", theme="light", colours="west")
    page.until(lambda text: "Proven" in text, 200, "that everything is proven")
    exchange.begin("reject503@0s:20s,cut@0s")
    page.until(lambda text: "No data" in text, START_S, "that there are no data")
    page.run("document.getElementById('health').click()")
    page.until(lambda text: "disconnected" in text or "connect_failed" in text, START_S, "why")
    picture(page, "outage")
    page.run("document.getElementById('dialog').close()")
    page.until(
        lambda text: "Proven" in text and "No data" not in text, 120, "that everything is proven again"
    )
