"""`collector analyze`: send an analysis to the workers, wait for its answer, print it."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from collector.analyses.catalog import Answer, find, names
from collector.analyses.questions import Question
from collector.broker.ask import ask
from collector.cli.freshness import notice
from collector.cli.render import output
from collector.cli.render.analysis_tables import answer, kept_answers
from collector.cli.render.table import Column, RenderedTable
from collector.cli.store import open_running
from collector.clock import SystemClock
from collector.errors import ConfigurationError, NoData
from collector.market_names import is_list
from collector.settings import Settings
from collector.store.read import Reader, to_json

log = logging.getLogger(__name__)


def analyze(
    settings: Settings,
    name: str,
    market: str | None,
    *,
    window: str | None,
    arguments: Sequence[str],
    timeout_s: float,
    as_json: bool,
) -> int:
    """Print the answer of the analysis `name`; return the exit code.

    Of several markets an analysis of one market answers one after the other; those without data are left out.

    Args:
        market: as people write it; several with commas or `*`; None for all, where the analysis allows it.
        window: None for the analysis's own default.
        arguments: what else it takes, as `name=value`.

    Raises:
        ConfigurationError: no such analysis, argument or window.
        NoData: an unknown market, or nothing in the window.
        PipelineError: no Redis, or no worker answered within `timeout_s`.
    """
    named = parse(arguments) | ({"window": window} if window else {})
    if market is None and find(name).needs_market:
        raise ConfigurationError(f"`analyze {name}` needs a market: collector analyze {name} KRW-BTC")
    with open_running(settings) as client:
        if market is None or find(name).takes_several or not is_list(market):
            found: Any = ask(name, *([market] if market else []), timeout_s=timeout_s, **named)
            answers = [found]
        else:
            markets = Reader(client, settings).several(market)
            found = answers = _of_each(markets, lambda code: ask(name, code, timeout_s=timeout_s, **named))
        stale = "" if as_json else notice(Reader(client, settings), SystemClock().now_ms())
    if as_json:
        output.write(to_json(found))
    else:
        output.show((part for figures in answers for part in answer(name, figures)), warning=stale)
    return 0


def _of_each(markets: Sequence[str], question: Callable[[str], Answer]) -> list[Answer]:
    """Return the answers about those of `markets` that have data.

    Raises:
        NoData: none has.
    """
    answers = []
    for market in markets:
        try:
            answers.append(question(market))
        except NoData as error:
            if market == markets[-1] and not answers:
                raise
            log.warning("%s", error)
    return answers


def kept(settings: Settings, name: str, market: str | None, *, window: str | None, as_json: bool) -> int:
    """Print the kept answers of a periodic analysis, oldest first; return the exit code.

    Raises:
        ConfigurationError: no such analysis, or it needs a market, or has no window.
        BrokerUnavailable: no Redis.
    """
    question = Question.of(name, market, window)
    with open_running(settings) as client:
        reader = Reader(client, settings)
        answers = reader.kept_answers(name, question.arguments)
        stale = "" if as_json else notice(reader, SystemClock().now_ms())
    if as_json:
        output.write(to_json(answers))
    elif answers:
        output.show([kept_answers(name, answers)], warning=stale)
    else:
        output.write(
            f"none is kept of `{name} {' '.join(question.arguments)}` (COLLECTOR_ANALYSIS__PERIODIC)"
        )
    return 0


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Return `name=value` texts as a dict.

    Raises:
        ConfigurationError: a text without a name or a value, or one that is no argument.
    """
    pairs = {}
    for text in arguments:
        name, _, value = text.partition("=")
        if not name.isidentifier() or not value or name in ("market", "timeout_s"):
            raise ConfigurationError(f"--arg {text}: write name=value, for instance --arg size=5")
        pairs[name] = value
    return pairs


def list_analyses(*, as_json: bool) -> int:
    """Print the name and the summary of every analysis; return the exit code."""
    found = names()
    if as_json:
        output.write(to_json([{"name": name, "description": text} for name, text in found.items()]))
    else:
        columns = (
            Column("name", list(found), right=False),
            Column("answers", list(found.values()), right=False, wraps=True),
        )
        note = "collector analyze NAME MARKET --window 15m --arg name=value; docs/analyses.md"
        output.show([RenderedTable("Analyses", columns, note)])
    return 0
