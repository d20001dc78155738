"""Every analysis: its name, its checked arguments, and where its figures come from.

An analysis is a plain function whose parameters are pydantic fields with their limits:

    @analysis(explained_by=flow.vpin, answers=results.Vpin)
    def vpin(market: Market, window: Window = "1h", *, buckets: Buckets = 50) -> Answer:

Market and window may be given by position, the rest by name only. The function becomes the task
`tasks.analysis.vpin` in workers, an entry of `collector analyze --list`, and a section of
`docs/analyses.md`, whose formula and source are those in the docstring of the function it is explained by.
Its answer is checked against its pydantic model.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, get_args

import msgspec
from pydantic import ValidationError, validate_call
from pydantic.fields import FieldInfo

from collector.analyses.fields import Markets
from collector.analyses.results import Result
from collector.errors import ConfigurationError

Answer = dict[str, Any]

_HEAD = """# Analyses

Made by `python -m tasks.analysis > docs/analyses.md`. Request an analysis with
`collector analyze NAME MARKET`, with `tasks.ask.ask`, or with
`celery -A tasks call tasks.analysis.NAME --args='["KRW-BTC","15m"]'`; further parameters are
`--arg name=value`. Windows are whole minutes and end at the newest event of any market. Volumes, prices and
their sums are exact; quotients, logarithms and roots have 28 digits. Order book analyses use the newest
book. `spread` and `book_changes` use samples of it: one every `COLLECTOR_ANALYSIS__BOOK_SAMPLES_S` if the
book has changed, the newest `COLLECTOR_ANALYSIS__BOOK_SAMPLES_KEPT` of each market. Older samples are in the
archive:
`collector query "SELECT market, avg(spread_bps) FROM books GROUP BY market"`.

A result is JSON with decimals as text, and `null` where a figure has no value. The models are in
`collector/analyses/results.py`; `tasks.ask.result` returns them. Brackets contain the fields of a list's
rows. The result of an invalid request, for instance with an unknown market, is
`{"error": "…", "kind": "NoData"}` or `"ConfigurationError"`; the task does not fail. `tasks.ask.ask` raises
that error, and `collector analyze` ends with 1 or 2.

## Periodic analyses

    COLLECTOR_ANALYSIS__PERIODIC='vwap KRW-BTC 15m; top_movers * 1h; walls KRW-BTC' collector up

makes the workers of the queue `analysis` repeat these, each written `name [market] [window]`, every
`COLLECTOR_ANALYSIS__PERIODIC_S`. The newest `COLLECTOR_ANALYSIS__PERIODIC_KEPT` results of each are kept:

    collector analyze vwap KRW-BTC --window 15m --kept --json

Errors are in the worker's log and do not affect the other analyses. While there are no new events, no result
is added.
"""


@dataclass(frozen=True)
class Parameter:
    """One argument of an analysis; without a default it has to be given."""

    name: str
    default: object
    meaning: str

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Analysis:
    """`run` checks its arguments and answers; `formula` and `source` are plain sentences."""

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    formula: str
    source: str
    result: type[Result]
    run: Callable[..., Answer]
    #: Whether one question may be about several markets: a comma list, `*` allowed.
    takes_several: bool

    @property
    def needs_market(self) -> bool:
        """Whether a market has to be given; the others look at all markets by default."""
        return self.parameters[0].required

    def check(self, arguments: Mapping[str, object]) -> None:
        """Raise `ConfigurationError` where an argument by name is none of this analysis."""
        known = [parameter.name for parameter in self.parameters if parameter.name != "market"]
        for name in arguments:
            if name not in known:
                have = f"it has {', '.join(known)}" if known else "it has none"
                raise ConfigurationError(f"{self.name} has no argument {name!r}: {have}")


#: Every analysis by name.
ANALYSIS_BY_NAME: dict[str, Analysis] = {}


def analysis(
    *, explained_by: Callable[..., object], answers: type[Result]
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Make an analysis of a function, named after it; see the module's docstring."""

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        name = function.__name__
        run = _checked(name, function, answers)
        ANALYSIS_BY_NAME[name] = Analysis(
            name=name,
            summary=str(inspect.getdoc(function)).split("\n")[0],
            parameters=tuple(_parameters(function)),
            formula=_section("Formula", explained_by),
            source=_section("Source", explained_by),
            result=answers,
            run=run,
            takes_several=inspect.signature(function).parameters["market"].annotation == Markets,
        )
        return run

    return register


def names() -> dict[str, str]:
    """Return every analysis with the first line of its description, for `collector analyze --list`."""
    return {name: found.summary for name, found in sorted(ANALYSIS_BY_NAME.items())}


def find(name: str) -> Analysis:
    """Return the analysis `name`.

    Raises:
        ConfigurationError: no such analysis; the message lists them.
    """
    if name not in ANALYSIS_BY_NAME:
        raise ConfigurationError(f"there is no analysis {name!r}: one of {', '.join(names())}")
    return ANALYSIS_BY_NAME[name]


def reference() -> str:
    """Return `docs/analyses.md`."""
    return "\n".join([_HEAD, *(_chapter(found) for _, found in sorted(ANALYSIS_BY_NAME.items()))])


def _checked(name: str, function: Callable[..., Answer], answers: type[Result]) -> Callable[..., Answer]:
    """Return `function` with its arguments converted and checked; those it doesn't know are left out.

    Its answer, plain JSON, is checked to be an `answers`.
    """
    validated = validate_call(function)
    known = inspect.signature(function).parameters

    @wraps(function)
    def run(*arguments: object, **named: object) -> Answer:
        try:
            answer = validated(*arguments, **{key: value for key, value in named.items() if key in known})
        except ValidationError as error:
            raise ConfigurationError(f"{name}: {_sentence(error, list(known))}") from None
        answers.model_validate(answer)
        return answer

    return run


def _sentence(error: ValidationError, known: list[str]) -> str:
    """Return the first complaint as `argument=value: what is wrong`."""
    first = error.errors(include_url=False)[0]
    at = first["loc"][0]
    argument = known[at] if isinstance(at, int) and at < len(known) else at
    match first["type"]:
        case "missing_argument":
            return f"{argument} is missing"
        case "unexpected_positional_argument":
            return f"{first['input']!r} is one argument too many: only market and window go without a name"
    return f"{argument}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _parameters(function: Callable[..., Answer]) -> Iterator[Parameter]:
    for name, parameter in inspect.signature(function).parameters.items():
        fields = [part for part in parameter.annotation.__metadata__ if isinstance(part, FieldInfo)]
        yield Parameter(name, parameter.default, str(fields[0].description))


def _section(title: str, function: Callable[..., object]) -> str:
    """Return the text after `title:` in a docstring, up to the next title, on one line."""
    text = inspect.getdoc(function) or ""
    found = re.search(rf"^{title}:(.*?)(?=^\w+:\s|\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise TypeError(f"the docstring of {function.__name__} has no {title}")
    return " ".join(found[1].split())


def _chapter(found: Analysis) -> str:
    lines = [f"## {found.name}", "", found.summary, "", "| parameter | default | |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {_default(row)} | {row.meaning} |" for row in found.parameters]
    lines += ["", f"Answer: {_fields(found.result)}", ""]
    lines += [f"Formula: {found.formula}", "", f"Source: {found.source}", ""]
    return "\n".join(lines)


def _fields(model: type[Result]) -> str:
    """Return the fields of a model; of a list, those of its rows too."""
    return " ".join(map(_field, model.model_fields.items()))


def _field(item: tuple[str, FieldInfo]) -> str:
    name, field = item
    kinds = [(get_args(kind) or (kind,))[0] for kind in get_args(field.annotation)]
    inner = [_fields(kind) for kind in kinds if issubclass(kind, Result)]
    inner += [_columns(kind) for kind in kinds if issubclass(kind, msgspec.Struct)]
    return f"`{name}` ({inner[0]})" if inner else f"`{name}`"


def _columns(row: type[msgspec.Struct]) -> str:
    return " ".join(f"`{name}`" for name in row.__struct_fields__)


def _default(parameter: Parameter) -> str:
    return "" if parameter.required or parameter.default is None else f"`{parameter.default}`"
