"""The ground truth: every trade the simulator made, one JSON line each, written as it is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from collector.errors import ConfigurationError
from collector.simulator.events import SimTrade
from collector.simulator.fixed import plain


class TruthFile:
    """Appends trades; a reader sees whole lines up to the last flush. Without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("w", encoding="utf-8")
            except OSError as error:
                raise ConfigurationError(
                    f"The truth file {path} can't be written: {error.strerror}"
                ) from None

    def write(self, trades: Sequence[SimTrade]) -> None:
        """Write `trades`."""
        if self._file is not None and trades:
            self._file.write("".join(map(truth_line, trades)))
            self._file.flush()

    def close(self) -> None:
        """Close the file; more than once is harmless."""
        if self._file is not None:
            self._file.close()


def truth_line(made: SimTrade) -> str:
    """Write one trade: decimals as strings without exponent, both ids, the taker's side."""
    side = "buy" if made.buy else "sell"
    return (
        f'{{"market":"{made.market}","id":{made.id},"rest_id":{made.rest_id},"price":"{plain(made.price)}",'
        f'"volume":"{plain(made.volume)}","side":"{side}","exchange_ms":{made.ms}}}\n'
    )
