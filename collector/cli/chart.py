"""`collector chart`: a market as a picture in a file, or in the terminal."""

import logging
import shutil
from pathlib import Path

from rich.text import Text

from collector.analytics.candles import Candle, interval_ms
from collector.cli.freshness import notice
from collector.cli.render import output, values
from collector.cli.render.candles import Palette, drawn
from collector.cli.store import open_reader
from collector.clock import SystemClock
from collector.errors import ConfigurationError, NoData
from collector.settings import Settings
from collector.store.read import Reader
from collector.util.atomic_file import replacing
from collector.util.times import Span, nothing

log = logging.getLogger(__name__)

#: Candles that can be distinguished in one picture.
GLANCE_CANDLES = 180
#: Lines of a chart in the terminal.
LEAST_LINES, MOST_LINES = 12, 40


def chart(
    settings: Settings,
    market: str,
    *,
    interval: str = "1m",
    out: Path | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    limit: int | None = None,
    title: str = "",
) -> int:
    """Draw the candles that open in `from_ms … to_ms`, the newest `limit` of them; return the exit code.

    Raises:
        ConfigurationError: no such interval or kind of file, no matplotlib, or `out` can't be written.
        NoData: an unknown market, or no candles.
        BrokerUnavailable: no Redis to read from.
    """
    length_ms = interval_ms(interval)
    try:
        from collector.cli.render.chart import check_kind, render
        from collector.cli.render.panels import Picture
    except ImportError as error:
        raise ConfigurationError(
            f"pictures need matplotlib ({error}): pip install 'bithumb-collector[charts]'"
        ) from error
    kind = check_kind(out.suffix if out else ".png")
    if limit is None and from_ms is None:
        limit = GLANCE_CANDLES
    with open_reader(settings) as reader:
        market = reader.check(market)
        out = out or Path(f"{market}-{interval}.png")
        candles = _candles(reader, settings, market, interval, from_ms, to_ms, limit)
        stale = notice(reader, SystemClock().now_ms()) if to_ms is None else ""
        book = next(iter(reader.books([market])), None)
        picture = Picture(candles=candles, length_ms=length_ms, book=book, title=title)
    _write(out, render(picture, kind))
    if stale:
        log.warning("%s", stale)
    output.write(str(out))
    return 0


def terminal(
    settings: Settings,
    market: str,
    *,
    interval: str = "1m",
    from_ms: int | None = None,
    to_ms: int | None = None,
    limit: int | None = None,
    style: str = "west",
) -> int:
    """Print the same candles as characters, as many as there is room for; return the exit code.

    Args:
        style: `west` or `kr`, the colours of rising and falling prices.

    Raises:
        ConfigurationError: no such interval.
        NoData: an unknown market, or no candles.
        BrokerUnavailable: no Redis to read from.
    """
    interval_ms(interval)
    size = shutil.get_terminal_size()
    with open_reader(settings) as reader:
        market = reader.check(market)
        room = size.columns if limit is None and from_ms is None else limit
        candles = _candles(reader, settings, market, interval, from_ms, to_ms, room)
        stale = notice(reader, SystemClock().now_ms()) if to_ms is None else ""
    palette = Palette("red", "blue") if style == "kr" else Palette()
    lines = drawn(candles, size.columns, min(max(size.lines - 3, LEAST_LINES), MOST_LINES), palette)
    zone = values.zone_name()
    head = Text(f"{market} {interval}, {values.minute(candles[-1].open_ms)} {zone}", "bold")
    output.show([Text("\n").join([head, *lines])])
    if stale:
        log.warning("%s", stale)
    return 0


def _candles(
    reader: Reader,
    settings: Settings,
    market: str,
    interval: str,
    from_ms: int | None,
    to_ms: int | None,
    limit: int | None,
) -> list[Candle]:
    candles = reader.candles(market, interval, from_ms, to_ms, limit)
    if candles:
        return candles
    known = reader.candle_stretch(market)
    span, kept = Span(from_ms, to_ms), Span(*known) if known else None
    raise NoData(f"nothing to draw: {nothing('candles', market, span, kept, settings.zone)}")


def _write(path: Path, data: bytes) -> None:
    """Put the file in place in one step: a picture is whole or not there."""
    try:
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be written ({error.strerror}): choose another --out"
        ) from error
