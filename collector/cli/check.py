"""`collector check`: the settings in force, then one line for everything the collector needs."""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.console import RenderableType

from collector.cli.probes import Finding, State, probe_all
from collector.cli.render import output
from collector.cli.render.results import FALL, QUIET, RISE, WARN
from collector.cli.render.sheet import Column, Sheet
from collector.cli.store import masked
from collector.settings import NESTING, PREFIX, Settings
from collector.store.read import to_json

STYLES = {State.OK: RISE, State.WARNING: WARN, State.FAILED: FALL}


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


def check(settings: Settings, *, as_json: bool) -> int:
    """Print the report; return 1 if something needed failed, else 0."""
    findings = probe_all(settings)
    ok = all(finding.state is not State.FAILED for finding in findings)
    report = Report(ok, findings, list(setting_rows(settings)))
    if as_json:
        output.write(to_json(report))
    else:
        output.show(_drawn(report))
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


def _drawn(report: Report) -> list[RenderableType]:
    return [_settings(report.settings), _checks(report.checks)]


def _settings(rows: Sequence[SettingRow]) -> Sheet:
    return Sheet(
        "Settings in force",
        (
            Column("variable", [row.variable for row in rows], right=False),
            Column(
                "value", [row.value or "(empty)" for row in rows], False, [_emphasis(row) for row in rows]
            ),
            Column("", ["" if row.is_default else "set" for row in rows], False, [WARN] * len(rows)),
            Column("meaning", [row.description for row in rows], False, [QUIET] * len(rows), rank=1),
        ),
    )


def _emphasis(row: SettingRow) -> str:
    return QUIET if row.is_default else "bold"


def _checks(findings: Sequence[Finding]) -> Sheet:
    return Sheet(
        "Checks",
        (
            Column("", [finding.state for finding in findings], False, [STYLES[f.state] for f in findings]),
            Column("what", [finding.name for finding in findings], right=False),
            Column("found", [finding.detail for finding in findings], right=False, wraps=True),
        ),
    )
