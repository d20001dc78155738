"""A page that stays open: silence is shown, the view stays where it was put, every width has the book."""

import json
import time
from typing import Any

import httpx

from collector.store.store import Store
from tests.doubles.browser import Page, browser
from tests.integration.live.test_page import fill, shows, until
from tests.samples.rows import T0, book, ticker, trade

#: The page's clock runs ahead of the machine's by this much, once it is told to.
_LATER_MS = 31_000
_CLOCK = "(() => { const now = Date.now; window.ahead = 0; Date.now = () => now() + window.ahead; })()"

#: The chart, the sockets and how often candles were fetched, where a test reaches them.
_GRASP = """
window.sockets = []; window.loads = 0;
let charts;
Object.defineProperty(window, "LightweightCharts", { get: () => charts,
  set: (it) => {
    charts = { ...it, createChart: (...values) => (window.made = it.createChart(...values)) };
  } });
const Socket = WebSocket;
window.WebSocket = class extends Socket { constructor(...values) { super(...values); sockets.push(this); } };
const ask = fetch;
window.fetch = async (...values) => {
  const answer = await ask(...values);
  if (String(values[0]).includes("/candles/")) window.loads += 1;
  return answer;
};
"""


def test_silence_of_the_exchange_is_told_though_the_server_answers(url: str, store: Store) -> None:
    """`health` comes every 2 s from the server; only data of markets end the notice."""
    fill(store)
    with browser() as page:
        page.ask("Page.enable")
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=_CLOCK)
        page.open(f"{url}/")
        shows(page, "legend", "C 104")
        page.run(f"window.ahead = {_LATER_MS}")
        shows(page, "notice", "No new data since")
        time.sleep(2.5)  # at least one more event of health
        assert page.run("!document.getElementById('notice').hidden")
        store.put_trades([trade(50, 250, exchange_ms=T0 + 50)])
        until(page, "document.getElementById('notice').hidden", "that the notice is gone")


def test_a_reconnect_leaves_the_view_where_it_was_put(url: str, store: Store) -> None:
    """Candles are loaded again after a break, and a reader who looks at older ones stays there."""
    fill(store)
    store.put_trades([trade(1000 + n, 100 + n % 9, exchange_ms=T0 - 60_000 * n) for n in range(1, 200)])
    with browser() as page:
        page.ask("Page.enable")
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=_GRASP)
        page.open(f"{url}/")
        shows(page, "legend", "C 104")
        page.run("made.timeScale().setVisibleLogicalRange({from: 60, to: 100})")
        until(page, "made.timeScale().getVisibleLogicalRange().from < 61", "the older view")
        page.run("sockets.at(-1).close()")
        until(page, "sockets.length > 1 && loads > 1", "that candles were loaded again")
        store.put_trades([trade(50, 250, exchange_ms=T0 + 50)])
        shows(page, "legend", "C 250")
        view = page.run("made.timeScale().getVisibleLogicalRange()")
        assert abs(view["from"] - 60) < 2, view
        assert abs(view["to"] - 100) < 2, view


def test_numbers_keep_their_digits(url: str, store: Store) -> None:
    """A round VWAP keeps its zeros, a small one its digits; every interval of the page is one of the API."""
    store.put_trades([trade(1, 116_208_000)])
    store.put_tickers([ticker(116_208_000)])
    with browser() as page:
        page.open(f"{url}/")
        shows(page, "legend", "VWAP 116,208,000")
        cuts = page.run(
            "import('./format.js').then(({cut}) => ['1234567890.123', '116207625.5678', '0.0000612345678912',"
            " '-12.3456789012', '100', '0'].map((it) => cut(it)))"
        )
        assert cuts == ["1234567890", "116207625", "0.0000612345678", "-12.3456789", "100", "0"]
        names = page.run("[...document.getElementById('intervals').children].map((it) => it.textContent)")
    for name in names:
        assert httpx.get(f"{url}/v1/candles/KRW-BTC", params={"interval": name}).status_code == 200, name


def test_every_width_has_book_and_list_and_asks_nobody_else(url: str, store: Store) -> None:
    """Requests as the browser itself records them, failed ones and sockets included."""
    fill(store)
    with browser() as page:
        page.ask("Network.enable")
        asked = _recorded(page)
        page.open(f"{url}/")
        shows(page, "legend", "C 104")
        for width in (390, 800, 1400):
            page.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=900,
                deviceScaleFactor=1,
                mobile=False,
            )
            for name in ("book", "list", "chart"):
                until(page, f"document.getElementById('{name}').offsetHeight > 0", f"{name} at {width}")
            until(page, f"document.documentElement.scrollWidth <= {width}", f"that it fits {width}")
        page.run("1")
        assert f"{url}/v1/tickers?" in asked
        assert f"{url.replace('http', 'ws')}/v1/ws" in asked
        ours = (url, url.replace("http", "ws"), "data:")
        assert [name for name in asked if not name.startswith(ours)] == []


def _recorded(page: Page) -> list[str]:
    """Addresses of all requests that the browser reports from now on, while the page is asked things."""
    asked: list[str] = []
    socket = page._socket
    receive = socket.recv

    def recording(*args: Any, **words: Any) -> Any:
        text = receive(*args, **words)
        event = json.loads(text)
        if event.get("method") == "Network.requestWillBeSent":
            asked.append(event["params"]["request"]["url"])
        elif event.get("method") == "Network.webSocketCreated":
            asked.append(event["params"]["url"])
        return text

    socket.recv = recording  # type: ignore[method-assign]
    return asked


def test_a_page_that_is_open_for_a_day_does_not_grow(url: str, store: Store) -> None:
    """A day in half a minute, after the day in which it fills what it keeps: 1,500 minutes and some."""
    fill(store)
    with browser() as page:
        page.ask("Page.enable")
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=_GRASP)
        page.open(f"{url}/")
        shows(page, "legend", "C 104")
        heaps = [_after_an_hour(page, store, hour) for hour in range(1, _HOURS + 1)]
        bars = page.run("made.panes()[0].getSeries()[0].data().map(({time, close}) => [time, close])")
    print("heap, MB:", " ".join(f"{heap / 1e6:.2f}" for heap in heaps))
    assert len(bars) <= 1_600
    opened_s = range(bars[0][0], bars[-1][0] + 60, 60)
    assert bars == [[it_s, _price_of((it_s - KST_S - T0 // 1000) // 60)] for it_s in opened_s]
    second_day, third_day = heaps[24:48], heaps[48:]
    assert max(third_day) <= 1.05 * max(second_day)


_HOURS = 72
#: The chart's times are those of Korea.
KST_S = 9 * 3600


def _price_of(minute: int) -> int:
    return 1_000 + minute % 977


def _after_an_hour(page: Page, store: Store, hour: int) -> int:
    """Let an hour pass; return the bytes of what the page's scripts hold afterwards."""
    for minute in range(60):
        now_ms = T0 + (hour * 60 + minute) * 60_000
        price = _price_of(hour * 60 + minute)
        number = now_ms // 1_000
        store.put_trades([trade(number + each, price, exchange_ms=now_ms + each) for each in range(3)])
        if minute % 10 == 0:
            store.put_tickers([ticker(price, exchange_ms=now_ms + 5)])
            store.put_books([book(exchange_us=(now_ms + 5) * 1_000)])
    shows(page, "legend", f"C {price:,}")
    page.ask("HeapProfiler.collectGarbage")
    return int(page.ask("Runtime.getHeapUsage")["usedSize"])
