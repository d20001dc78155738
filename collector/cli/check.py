"""`collector check`: one line for everything the collector needs, then the settings that are set."""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.console import RenderableType

from collector.cli.probes import CheckState, Finding, probe_all
from collector.cli.render import output
from collector.cli.render.results import FALL, QUIET, RISE, WARN
from collector.cli.render.table import Column, RenderedTable
from collector.cli.store import masked
from collector.settings import NESTING, PREFIX, Settings
from collector.store.read import to_json

STYLES = {CheckState.OK: RISE, CheckState.WARNING: WARN, CheckState.FAILED: FALL}


class SettingRow(Struct, frozen=True):
    """One setting in force; secrets are hidden."""

    variable: str
    value: str
    is_default: bool
    description: str


class Report(Struct, frozen=True):
    """All that `collector check` found out; `ok` is false where something needed failed."""

    ok: bool
    checks: list[Finding]
    settings: list[SettingRow]


def check(settings: Settings, *, as_json: bool, show_all: bool = False) -> int:
    """Print the report; return 1 if something needed failed, else 0.

    Args:
        show_all: list every setting, not only those that differ from their defaults; JSON has all.
    """
    findings = probe_all(settings)
    ok = all(finding.state is not CheckState.FAILED for finding in findings)
    report = Report(ok, findings, list(setting_rows(settings)))
    if as_json:
        output.write(to_json(report))
    else:
        output.show(_drawn(report, show_all=show_all))
    return 0 if ok else 1


def setting_rows(section: BaseModel, prefix: str = PREFIX) -> Iterator[SettingRow]:
    """Yield every setting of `section` in the order of declaration."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from setting_rows(value, f"{prefix}{name.upper()}{NESTING}")
        else:
            yield _row(str(field.validation_alias or f"{prefix}{name.upper()}"), field, value)


def _row(variable: str, field: FieldInfo, value: object) -> SettingRow:
    return SettingRow(variable, _text(variable, value), value == field.default, field.description or "")


def _text(variable: str, value: object) -> str:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return masked(secret) if variable == "REDIS_URL" else "***" if secret else ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _drawn(report: Report, *, show_all: bool) -> list[RenderableType]:
    return [_checks(report.checks), _settings(report.settings, show_all=show_all)]


def _checks(findings: Sequence[Finding]) -> RenderedTable:
    return RenderedTable(
        f"Checks: {_verdict(findings)}",
        (
            Column("", [finding.state for finding in findings], False, [STYLES[f.state] for f in findings]),
            Column("what", [finding.name for finding in findings], right=False),
            Column("found", [finding.detail for finding in findings], right=False, wraps=True),
        ),
    )


def _verdict(findings: Sequence[Finding]) -> str:
    """Return how many checks did not end well, of each kind."""
    states = [finding.state for finding in findings]
    failed, warned = states.count(CheckState.FAILED), states.count(CheckState.WARNING)
    warnings = f"{warned} warning" if warned == 1 else f"{warned} warnings"
    parts = [*([f"{failed} failed"] if failed else []), *([warnings] if warned else [])]
    return ", ".join(parts) or "all is well"


def _settings(rows: Sequence[SettingRow], *, show_all: bool) -> RenderedTable:
    """Return the settings that differ from the defaults, or all."""
    set_ = [row for row in rows if not row.is_default]
    shown = rows if show_all else set_
    title = f"Settings: {len(set_)} of {len(rows)} differ from the defaults"
    if not show_all:
        title += " (--all shows every one)"
    if not shown:
        return RenderedTable(title, ())
    return RenderedTable(
        title,
        (
            Column("variable", [row.variable for row in shown], right=False),
            Column(
                "value",
                [row.value or "(empty)" for row in shown],
                False,
                [QUIET if row.is_default else "bold" for row in shown],
                wraps=True,
            ),
            Column(
                "",
                ["" if row.is_default or not show_all else "set" for row in shown],
                False,
                [WARN] * len(shown),
                rank=1,
            ),
            Column(
                "meaning", [row.description for row in shown], False, [QUIET] * len(shown), rank=2, wraps=True
            ),
        ),
    )
