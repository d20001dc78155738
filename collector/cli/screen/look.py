"""How the screen looks: two themes, and rising prices in the colours of the West or of Korea."""

import os
from collections.abc import Mapping

from textual.theme import Theme

from collector.cli.render.candles import Palette

DARK, LIGHT = "collector-dark", "collector-light"
THEMES = (
    Theme(
        DARK, primary="#6aa5ff", foreground="#e6e9ee", background="#14171c", surface="#14171c",
        panel="#1d2229", success="#35c58a", warning="#e0a030", error="#ff6b66", dark=True,
    ),
    Theme(
        LIGHT, primary="#1a66d6", foreground="#1a1d21", background="#ffffff", surface="#ffffff",
        panel="#eef1f5", success="#0b7a4b", warning="#8a5a00", error="#c62828", dark=False,
    ),
)  # fmt: skip
_PALETTES = {
    (DARK, "west"): Palette("#35c58a", "#ff6b66", "#9aa4b0", "on #4a3a10"),
    (DARK, "kr"): Palette("#ff6b70", "#6ba1ff", "#9aa4b0", "on #4a3a10"),
    (LIGHT, "west"): Palette("#0b7a4b", "#c62828", "#59616b", "on #f3e3bd"),
    (LIGHT, "kr"): Palette("#c9252d", "#1f5fd0", "#59616b", "on #f3e3bd"),
}
STYLES = ("west", "kr")


def palette(theme: str, style: str) -> Palette:
    """Return the colours of prices."""
    return _PALETTES[theme, style]


def usual_theme(env: Mapping[str, str] = os.environ) -> str:
    """Return the theme that fits the terminal: some say in COLORFGBG that their background is light."""
    background = env.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if background in ("7", "15") else DARK


def usual_style(env: Mapping[str, str] = os.environ) -> str:
    """Return Korea's colours where the terminal speaks Korean."""
    language = env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
    return "kr" if language.startswith("ko") else "west"
