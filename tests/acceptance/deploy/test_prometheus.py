"""Alert rules and dashboard ask only for what is exported, and the alerts fire when they must."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from collector.host.metrics import (
    COUNTERS,
    MODES,
    REDIS_PROBLEMS,
    SYSTEM_GAUGES,
    WORKER_COUNTERS,
    HealthCollector,
    Snapshot,
)
from collector.store.condition import Kind
from tests.integration.commands.test_exporter import LISTENER, WORKER

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "bithumb.json"
#: Sockets' states an expression may ask for.
STATES = {"streaming", "subscribed", "connecting", "waiting", "gave_up", "stopped"}


def expressions() -> list[str]:
    """Every expression of the alert rules and of the dashboard's panels."""
    rules = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", RULES.read_text())
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [*rules, *(target["expr"] for panel in panels for target in panel["targets"])]


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """Names of all metrics of a system that has something to say in each of them."""
    registry = CollectorRegistry()
    snapshot = Snapshot(
        listeners=[LISTENER],
        queues={"trade": 1},
        workers=[{**WORKER, "last_task_ms": 1}],
        worker_counters={"batches": 1},
        system=dict.fromkeys(SYSTEM_GAUGES, 1),
        redis_problems=(),
    )
    registry.register(HealthCollector(lambda: snapshot))
    return set(re.findall(r"^(\w+)", generate_latest(registry).decode(), re.MULTILINE)) | {"up"}


@pytest.mark.parametrize("expression", expressions())
def test_expressions_name_what_is_exported(expression: str, exported: set[str]) -> None:
    """Every metric, counter name, mode and state in an expression exists."""
    names = set(re.findall(r"\bbithumb_\w+|\bup\b", expression))
    assert names
    assert names <= exported
    counters = [name for names in re.findall(r'name=~?"([^"]+)"', expression) for name in names.split("|")]
    assert set(counters) <= COUNTERS.keys() | set(WORKER_COUNTERS)
    assert set(re.findall(r'mode="(\w+)"', expression)) <= set(MODES)
    assert set(re.findall(r'state="(\w+)"', expression)) <= STATES
    kinds = [kind for kinds in re.findall(r'kind=~?"([^"]+)"', expression) for kind in kinds.split("|")]
    assert set(kinds) <= set(REDIS_PROBLEMS) == set(Kind)


def test_all_rules_and_panels_are_looked_at() -> None:
    """The search above misses none: as many expressions as alerts, and a query in each panel."""
    alerts = RULES.read_text().count("- alert:")
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert alerts == RULES.read_text().count("expr:") >= 10
    assert len(expressions()) == alerts + sum(len(panel["targets"]) for panel in panels)
    assert all(panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_each_alert_is_explained() -> None:
    """The troubleshooting page has a line for every alert."""
    page = (DEPLOY.parent / "docs" / "troubleshooting.md").read_text()
    assert [
        name for name in re.findall(r"- alert: (\w+)", RULES.read_text()) if f"`{name}`" not in page
    ] == []


@pytest.mark.server
@pytest.mark.parametrize(
    "words", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")], ids="-".join
)
def test_promtool_agrees(words: tuple[str, ...]) -> None:
    """Prometheus' own checker accepts the files, and its unit tests make each alert fire and be silent."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool (Debian package `prometheus`), so the alert rules were not tried out")
    done = subprocess.run(["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
