"""What is proven, as people read it: the verdict first, in one line that is true; tables that fit."""

from io import StringIO

import pytest
from rich.console import Console

from collector.analytics.proof import Completeness, OutageRow, Proof
from collector.cli.render import proof

from .conftest import MINUTE, T0, Run

UNTIL = T0 + 10 * MINUTE


def row(market: str = "KRW-BTC", **changes: object) -> Completeness:
    values = {"proven_until_ms": UNTIL, "unproven_minutes": 0, "open_gaps": 0, "recovered_trades": 12}
    return Completeness(market, **{**values, "verified": True, **changes})  # type: ignore[arg-type]


def drawn(parts: object, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    for part in parts:
        console.print(part)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row()], "Every trade of KRW-BTC is proven until 2026-09-21 23:23:00 KST."),
        (
            [row(), row("KRW-ETH", proven_until_ms=UNTIL - MINUTE)],
            "Every trade of 2 markets is proven until 2026-09-21 23:22:00 KST.",
        ),
        ([row(open_gaps=1)], "KRW-BTC: trades may be missing (1 open gap)."),
        (
            [row(), row("KRW-ETH", open_gaps=2), row("KRW-XRP", verified=False)],
            "2 of 3 markets (KRW-ETH, KRW-XRP): trades may be missing (2 open gaps).",
        ),
        ([row(verified=False)], "KRW-BTC: the exchange's figures differ."),
        ([row(unproven_minutes=3, verified=None)], "KRW-BTC: not everything has been compared"),
        ([row(proven_until_ms=None, verified=None)], "KRW-BTC: not everything has been compared"),
        (
            [row(f"KRW-M{number}", open_gaps=1) for number in range(9)],
            "9 of 9 markets (KRW-M0, KRW-M1, KRW-M2 …): trades may be missing (9 open gaps).",
        ),
    ],
)
def test_the_verdict_is_one_line_and_comes_first(rows: list[Completeness], said: str) -> None:
    """Green only where nothing is open, differs, or was left out."""
    assert drawn(proof.completeness(rows))[0].startswith(said)
    assert drawn(proof.lacking(rows, 40), 200)[0].startswith(said)
    assert (str(proof.verdict(rows).style) == "green") is said.startswith("Every")


def test_tables_fit_80_columns() -> None:
    """Whatever the figures; a glance at many markets shows those that are not proven."""
    flawed = row("KRW-LONGNAME", open_gaps=1_234, unproven_minutes=1_440, verified=None)
    many = [row(f"KRW-M{number:03d}", recovered_trades=1_234_567) for number in range(100)] + [flawed]
    for width in (80, 100, 140):
        whole = drawn(proof.completeness(many), width)
        assert max(map(len, whole)) <= width
        assert sum("KRW-M" in line for line in whole) == 100
        glance = drawn(proof.lacking(many, 40), width)
        assert max(map(len, glance)) <= width
        assert sum("KRW-" in line for line in glance) == 2
        assert any("1 of 101 markets (--all)" in line for line in glance)
    assert len(drawn(proof.lacking(many[:100], 40))) == 1
    assert any("KRW-M000" in line for line in drawn(proof.lacking(many[:3], 40)))


def test_health_begins_with_what_is_proven() -> None:
    """In one sentence: until when, what is open, what was recovered and what that brought."""
    calm = Proof(UNTIL, 0, 0, 7, 123, [], None)
    assert proof.sentence(calm).plain == (
        "Proven until 2026-09-21 23:23:00 KST; 0 open gaps; 7 recovered, which brought 123 trades."
    )
    bad = Proof(None, 3, 20, 0, 0, [OutageRow(T0, "maintenance", 20)], T0 - MINUTE)
    assert proof.sentence(bad).plain == (
        "Nothing is proven yet; 3 markets not compared yet; "
        "no data of 20 markets since 2026-09-21 23:13:00 (maintenance); "
        "trades since 2026-09-21 23:12:00 wait to be stored; 20 open gaps; "
        "0 recovered, which brought 0 trades."
    )


def test_completeness_is_shown_and_written(run: Run, filled: str) -> None:
    """For all markets, for one, for a list; JSON has the promised fields and no other."""
    found = run("show", "completeness", "--json").json
    assert [list(each) for each in found] == [
        ["market", "proven_until_ms", "unproven_minutes", "open_gaps", "recovered_trades", "verified"]
    ] * 2
    assert [(each["market"], each["open_gaps"]) for each in found] == [("KRW-BTC", 1), ("KRW-DUST", 0)]
    assert run("show", "completeness", "btc", "--json").json == found[:1]
    assert run("show", "completeness", "KRW-*", "--json").json == found
    out = run("show", "completeness").out
    assert "2 of 2 markets (KRW-BTC, KRW-DUST): trades may be missing (1 open gap)." in out
    assert run("show", "completeness", "--from", "now").code == 2
    assert "open gaps" in run("show", "health").out
