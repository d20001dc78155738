"""`collector top` on a terminal, driven by its keys: every page, one market, search, order, colours."""

import html
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from textual.pilot import Pilot

from collector.cli.screen.app import Top
from collector.cli.screen.look import LIGHT
from collector.cli.screen.market import MarketScreen
from collector.cli.watcher import Watcher
from collector.settings import Settings
from collector.store.read import Health, Reader
from collector.store.redis_client import connect

Eventually = Callable[..., Awaitable[None]]
SIZES = [(80, 24), (120, 40), (200, 60), (300, 80), (60, 16)]


def seen(app: Top) -> str:
    """Return what is on the screen, line by line."""
    lines: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(
        r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', app.export_screenshot()
    ):
        lines.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    return "\n".join("".join(text for _, text in sorted(parts)) for _, parts in sorted(lines.items()))


@asynccontextmanager
async def started(
    redis_url: str, settings: Settings, size: tuple[int, int], log_dir: Path
) -> AsyncIterator[tuple[Top, Pilot[None]]]:
    """An application whose first figures are on the screen."""
    client: redis.Redis = connect(redis_url, settings)
    app = Top(Watcher(Reader(client, settings), "redis"), log_dir, theme="collector-dark", style="west")
    try:
        async with app.run_test(size=size) as pilot:
            for _ in range(200):
                await pilot.pause(0.05)
                if "KRW-BTC" in seen(app):
                    break
            yield app, pilot
    finally:
        client.close()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_every_page_fits_every_terminal(
    filled: str, settings: Settings, tmp_path: Path, size: tuple[int, int]
) -> None:
    """The verdict is in the first line of each; one market has candles, book and trades."""
    (tmp_path / "listener.log").write_text("12:00:00 INFO    the exchange is streaming\n")
    async with started(filled, settings, size, tmp_path) as (app, pilot):
        for key, word in (("2", "Queues"), ("3", "stalled"), ("4", "is streaming"), ("1", "KRW-BTC")):
            await pilot.press(key)
            await pilot.pause(1.3)
            text = seen(app)
            assert word in text, text
            assert "No listener is running" in "".join(text.splitlines()[:4]), text
        await pilot.press("enter")
        await pilot.pause(1.3)
        text = seen(app)
        assert "99,999,000" in text
        assert "order book" in text
        assert "open gap" in text


async def test_markets_are_searched_sorted_and_entered(
    filled: str, settings: Settings, tmp_path: Path
) -> None:
    """Esc goes back each time, and the chosen market stays chosen."""
    async with started(filled, settings, (100, 30), tmp_path) as (app, pilot):
        await pilot.press("slash", *"xyz")
        await pilot.pause(0.3)
        assert "no market so far" in seen(app)
        await pilot.press("enter", "escape")
        await pilot.pause(0.3)
        assert "KRW-BTC" in seen(app)
        await pilot.press("s")
        await pilot.pause(0.3)
        assert "s change↓" in seen(app)
        await pilot.press("r")
        await pilot.pause(0.3)
        assert "s change↑" in seen(app)
        await pilot.press("enter")
        await pilot.pause(1.2)
        assert isinstance(app.screen, MarketScreen)
        await pilot.press("i")
        await pilot.pause(1.2)
        assert " 3m " in seen(app)
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert not isinstance(app.screen, MarketScreen)


async def test_keys_theme_and_colours(filled: str, settings: Settings, tmp_path: Path) -> None:
    """`?` shows the keys, `t` and `c` turn what they are named after."""
    async with started(filled, settings, (80, 24), tmp_path) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause(0.3)
        assert "search" in seen(app)
        assert "sort by" in seen(app)
        await pilot.press("escape", "t", "c")
        await pilot.pause(0.3)
        assert app.theme == LIGHT
        assert app.palette.up == "#c9252d"
        await pilot.press("4")
        await pilot.pause(0.3)
        assert "no logs" in seen(app)
        await pilot.press("q")
    assert app.return_code == 0


class SlowReader(Reader):
    """Answers so late that the next look is due."""

    looks = 0

    def health(self) -> Health:
        """Wait first."""
        SlowReader.looks += 1
        time.sleep(1.5)
        return super().health()


async def test_a_slow_redis_is_not_asked_twice_at_once(
    filled: str, settings: Settings, tmp_path: Path
) -> None:
    """Looks that overtook each other made rates that never were."""
    client: redis.Redis = connect(filled, settings)
    try:
        app = Top(Watcher(SlowReader(client, settings), "redis"), tmp_path)
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.pause(5)
            assert 2 <= SlowReader.looks <= 4
            assert all(rate >= 0 for rate in app._rates.frames)
    finally:
        client.close()
