"""`collector chart`: pictures of one candle, of many, of losses; and no picture where nothing is."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import structs

from collector.analytics.candles import Candle
from collector.cli.render import chart
from collector.cli.render.chart import check_kind, render
from collector.cli.render.panels import Picture, PriceFormatter, incomplete_spans, running_vwap, short
from collector.errors import ConfigurationError

from .conftest import MINUTE, T0, Run

D = Decimal
PNG = b"\x89PNG\r\n\x1a\n"


def candle(
    number: int, price: str = "100", base: str = "2", quote: str = "200", *, complete: bool = True
) -> Candle:
    open_ms = T0 + number * MINUTE
    half = D(base) / 2
    return Candle(
        "KRW-BTC", "1m", open_ms, datetime.fromtimestamp(open_ms / 1000, UTC), D(price), D(price) + 2,
        D(price) - 1, D(price) + 1, D(base), D(quote), half, half, None, 3, complete,
    )  # fmt: skip


def lost(number: int) -> Candle:
    """Return a candle of which every trade is missing."""
    return structs.replace(
        candle(number, base="0", quote="0", complete=False),
        open=None, high=None, low=None, close=None, trade_count=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "candles",
    [
        [candle(0)],
        [candle(0, "0.00000021", "0", "0")],
        [candle(0), candle(5000)],
        [candle(number, str(100 + number % 7)) for number in range(600)],
        [candle(0, complete=False), lost(1), candle(2)],
        [lost(0), lost(1)],
    ],
    ids=["one", "no volume", "far apart", "hundreds", "one is lost", "all are lost"],
)
def test_any_number_of_candles_is_a_picture(candles: Sequence[Candle]) -> None:
    """One candle, one without volume, two far apart, hundreds; with trades missing, or all of them."""
    assert render(Picture(candles=candles, length_ms=MINUTE), "png").startswith(PNG)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font:UserWarning")  # no Hangul font on this machine
def test_page_needs_nothing_but_itself() -> None:
    """The HTML form holds its drawing, and its title is text, not markup."""
    page = render(Picture(candles=[candle(0)], length_ms=MINUTE, title="<b>비트코인"), "html").decode()
    assert page.startswith("<!doctype html>")
    assert "<title>&lt;b&gt;비트코인</title>" in page
    assert "<svg" in page
    assert "src=" not in page
    assert "<script" not in page


def test_candles_that_are_not_complete_are_hatched() -> None:
    """Whole candles, joined where they meet: what the candles themselves tell, and nothing else."""
    rows = [candle(0, complete=False), lost(1), candle(2), candle(5, complete=False)]
    picture = Picture(candles=rows, length_ms=MINUTE)
    assert incomplete_spans(picture) == [(T0, T0 + 2 * MINUTE), (T0 + 5 * MINUTE, T0 + 6 * MINUTE)]
    assert "<pattern" in render(picture, "svg").decode()
    assert "<pattern" not in render(Picture(candles=[candle(0)], length_ms=MINUTE), "svg").decode()


def test_vwap_runs_from_the_first_candle() -> None:
    """Quote volume by base volume so far; unknown before the first trade."""
    rows = [
        candle(0, base="0", quote="0"),
        candle(1, base="2", quote="200"),
        candle(2, base="2", quote="220"),
    ]
    assert running_vwap(rows) == [None, D(100), D(105)]


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([116_000_000, 116_200_000], ["116,000,000", "116,200,000"]),
        ([0.0124, 0.0126, 0.0128], ["0.0124", "0.0126", "0.0128"]),
        ([1.0, 1.5], ["1.0", "1.5"]),
        ([7.0], ["7"]),
    ],
)
def test_price_ticks_have_just_enough_decimals(ticks: list[float], labels: list[str]) -> None:
    """Thousands separated, no more decimals than tell two ticks apart."""
    assert PriceFormatter().format_ticks(ticks) == labels


@pytest.mark.parametrize(
    ("number", "label"), [(0, "0"), (0.15, "0.15"), (1500, "1.5k"), (3e8, "300M"), (4e9, "4B")]
)
def test_axis_labels_are_short(number: float, label: str) -> None:
    """Thousands, millions and billions by their letters."""
    assert short(number) == label


def test_kind_follows_the_ending() -> None:
    """Four kinds of file; any other ending is refused, and the message lists them."""
    assert check_kind(".PNG") == "png"
    for ending in ("", ".jpg"):
        with pytest.raises(ConfigurationError, match=r"\.png, \.svg, \.pdf, \.html"):
            check_kind(ending)


def test_picture_lands_under_its_own_name(run: Run, filled: str) -> None:
    """MARKET-INTERVAL.png in the folder one is in; nothing else is left there."""
    ended = run("chart", "krw-btc", "--interval", "5m")
    assert (ended.code, ended.out) == (0, "KRW-BTC-5m.png\n")
    assert Path("KRW-BTC-5m.png").read_bytes().startswith(PNG)
    assert [path.name for path in Path().glob("*.png*")] == ["KRW-BTC-5m.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["KRW-BTC", "--from", "2030-01-01"],
            1,
            "no candles of KRW-BTC from 2030-01-01 00:00:00 (Asia/Seoul); there are candles from ",
        ),
        (["KRW-NOPE"], 1, "KRW-NOPE is not a market"),
        (["KRW-BTC", "--interval", "7m"], 2, "1m, 3m, 5m"),
        (["KRW-BTC", "--out", "x.jpg"], 2, "'.jpg'"),
        (["KRW-BTC", "--out", "no/such/folder.png"], 2, "can't be written"),
    ],
)
def test_no_picture_is_one_line(run: Run, filled: str, arguments: list[str], code: int, said: str) -> None:
    """What can't be drawn leaves no file behind."""
    ended = run("chart", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert said in ended.err
    assert list(Path().iterdir()) == []


def test_missing_library_is_named(run: Run, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are an extra: the message says how to install it."""
    for name in [
        name
        for name in sys.modules
        if name.startswith(("matplotlib", "collector.cli.render.chart", "collector.cli.render.panels"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = run("chart", "KRW-BTC")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "pip install 'bithumb-collector[charts]'" in ended.err


def test_a_korean_font_installed_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib's list of fonts may be older than the font; where there is none, the usual one is all."""
    manager = chart.font_manager.fontManager
    known = [font for font in manager.ttflist if font.name not in chart.KOREAN_FONTS]
    monkeypatch.setattr(manager, "ttflist", list(known))
    monkeypatch.setattr(chart.font_manager, "findSystemFonts", list)
    assert chart._fonts() == ["DejaVu Sans"]
    added: list[str] = []
    monkeypatch.setattr(chart.font_manager, "findSystemFonts", lambda: ["/x/NanumGothic.ttf", "/x/Other.ttf"])
    monkeypatch.setattr(manager, "addfont", added.append)
    chart._fonts()
    assert added == ["/x/NanumGothic.ttf"]


def test_candles_are_drawn_in_the_terminal(run: Run, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain where nobody looks, never wider than the terminal, and no file is written."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "24")
    ended = run("chart", "btc", "--terminal")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("KRW-BTC 1m, 2026-09-21 23:14 KST")
    assert max(map(len, lines)) <= 60
    assert "" not in lines
    assert "┃" in ended.out or "│" in ended.out
    assert "\x1b" not in ended.out
    assert not [*Path.cwd().glob("KRW-BTC*")]
    assert run("chart", "btc", "--terminal", "--interval", "7m").code == 2
