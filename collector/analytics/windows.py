"""Rolling windows of whole minutes that end at the newest event, not at the wall clock.

A window of n minutes is the running minute and the n - 1 before it. Ending at the newest data makes the same
figures right for the live exchange and for a recording of years ago.
"""

import re

from collector.errors import ConfigurationError
from collector.model import MINUTE_MS

#: The windows every market has figures for, in minutes.
WINDOWS: dict[str, int] = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "24h": 1440}

UNITS = {"m": 1, "h": 60, "d": 1440}
#: The longest window anyone may ask for, in minutes; what is kept may be less.
MINUTES_MAX = 7 * 1440


def window_minutes(window: str) -> int:
    """Return the length of a window such as `15m`, `4h` or `1d` in minutes.

    Raises:
        ConfigurationError: not such a text, or out of range.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([mhd])", window)
    minutes = int(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= minutes <= MINUTES_MAX:
        raise ConfigurationError(f"{window!r} is not a window: write 15m, 4h or 1d, at most {MINUTES_MAX}m")
    return minutes


def window_start_ms(as_of_ms: int, minutes: int) -> int:
    """Return the open of the first minute of the window that ends with the minute of `as_of_ms`."""
    return as_of_ms - as_of_ms % MINUTE_MS - (minutes - 1) * MINUTE_MS
