"""The page in a real browser: what it shows, how it follows, and that it asks no other host."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.settings import ServeSettings, Settings
from collector.store.store import Store
from tests.doubles.browser import Page, browser
from tests.doubles.ports import free_port
from tests.samples.rows import T0, book, ticker, trade

pytestmark = pytest.mark.timeout(120)

ETH = "KRW-ETH"


def until(page: Page, script: str, what: str, within_s: float = 15) -> Any:
    """Return what a script returns once that is true."""
    deadline_s = time.monotonic() + within_s
    while not (found := page.run(script)):
        if time.monotonic() > deadline_s:
            pytest.fail(f"{what} did not come true within {within_s} s; the page: {page.text()[:1500]}")
        time.sleep(0.1)
    return found


def shows(page: Page, name: str, text: str, within_s: float = 15) -> None:
    """Wait until an element has a text."""
    until(page, f"document.getElementById('{name}')?.textContent.includes('{text}')", text, within_s)


def fill(store: Store) -> None:
    store.put_trades([trade(number, 100 + number, exchange_ms=T0 + number) for number in range(5)])
    store.put_trades([trade(9, 7, market=ETH)])
    store.put_tickers([ticker(104), ticker(7, market=ETH)])
    store.put_books([book()])


def test_the_page_shows_follows_and_switches(url: str, store: Store) -> None:
    """First candle, updates, another market and interval, Korean, a phone; nothing of another host."""
    fill(store)
    with browser() as page:
        page.open(f"{url}/")
        shows(page, "legend", "C 104")
        until(page, "document.querySelectorAll('#rows tr').length == 2", "both markets")
        store.put_trades([trade(50, 250, exchange_ms=T0 + 50)])
        shows(page, "legend", "C 250")
        shows(page, "trades", "250")
        store.put_trades([trade(60, 260, exchange_ms=T0 - 60_000), trade(61, 261, exchange_ms=T0 + 61)])
        shows(page, "legend", "C 261")
        page.run("document.querySelector('#rows tr[data-market=KRW-ETH]').click()")
        shows(page, "legend", "C 7")
        page.run(
            "[...document.getElementById('intervals').children].find(it => it.textContent == '1h').click()"
        )
        until(page, "document.querySelector('[aria-pressed=true]').textContent == '1h'", "the interval")
        press(page, "l")
        until(
            page,
            "document.documentElement.lang == 'ko' && document.body.innerText.includes('체결')",
            "Korean",
        )
        press(page, "?")
        until(page, "document.getElementById('dialog').open", "the keys")
        page.ask(
            "Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True
        )
        until(page, "document.documentElement.scrollWidth <= 390", "that it fits a phone")
        asked = json.loads(
            page.run("JSON.stringify(performance.getEntriesByType('resource').map(it => it.name))")
        )
        assert [name for name in asked if not name.startswith(url)] == []


def test_an_outage_is_seen_and_is_over_by_itself(
    serve: Callable[..., str], settings: Settings, store: Store
) -> None:
    """The server ends and comes back at its address: what was counted meanwhile is there."""
    fill(store)
    port = free_port()
    own = settings.model_copy(update={"serve": ServeSettings(port=port)})
    with browser() as page:
        end: list[Callable[[], None]] = []
        page.open(f"{serve(own, port=port, end=end)}/")
        shows(page, "legend", "C 104")
        end.pop()()
        shows(page, "notice", "does not answer")
        store.put_trades([trade(70, 300, exchange_ms=T0 + 70)])
        serve(own, port=port)
        shows(page, "legend", "C 300", 30)
        until(page, "document.getElementById('notice').hidden", "that the notice is gone")


def test_what_is_sent_is_small(url: str) -> None:
    """Scripts and styles, compressed: what a browser loads once."""
    page = Path(__file__).parents[3] / "collector" / "serve" / "page"
    names = [
        "assets/lightweight-charts.js",
        *(it.name for it in page.iterdir() if it.suffix in (".js", ".css")),
    ]
    sizes = 0
    for name in names:
        with httpx.stream("GET", f"{url}/{name}", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.status_code == 200
            sizes += sum(map(len, answer.iter_raw()))
    assert sizes <= 300_000


def press(page: Page, key: str) -> None:
    page.run(
        f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}}))"
    )
