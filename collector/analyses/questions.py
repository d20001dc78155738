"""An analysis and its arguments as `COLLECTOR_ANALYSIS__PERIODIC` and `analyze --kept` name them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from collector.analyses.catalog import find
from collector.errors import ConfigurationError
from collector.market_names import tidy_list


@dataclass(frozen=True)
class Question:
    """An analysis with market and window, as far as it has them."""

    name: str
    arguments: tuple[str, ...]

    @classmethod
    def of(cls, name: str, market: str | None = None, window: str | None = None) -> Self:
        """Return the question with the defaults of its analysis filled in.

        Raises:
            ConfigurationError: no such analysis, or it needs a market, or has no window.
        """
        found = find(name)
        defaults = {parameter.name: parameter.default for parameter in found.parameters}
        if market is None and found.needs_market:
            raise ConfigurationError(f"{name} needs a market: {name} KRW-BTC")
        if window is not None and "window" not in defaults:
            raise ConfigurationError(f"{name} has no window")
        chosen = [tidy_list(market) if market else str(defaults["market"])]
        if "window" in defaults:
            chosen.append(window or str(defaults["window"]))
        return cls(name, tuple(chosen))


def questions(text: str) -> Iterator[Question]:
    """Yield what `COLLECTOR_ANALYSIS__PERIODIC` asks for.

    Raises:
        ConfigurationError: a part that is none.
    """
    for words in (part.split() for part in text.split(";")):
        if len(words) > 3:
            raise ConfigurationError(f"{' '.join(words)!r} is not `name [market] [window]`")
        if words:
            yield Question.of(*words)
