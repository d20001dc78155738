"""What can be chosen about the simulated exchange is named in its help and explained in its page."""

import re
from pathlib import Path

from collector.cli.entry import app
from collector.simulator.faults import KINDS
from collector.simulator.rules import RULES


def test_every_fault_and_rule_is_named_in_the_help_and_explained_in_the_docs() -> None:
    """The help lists names, docs/simulator.md says what each means."""
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
    (epilog,) = (each.epilog for each in app.registered_commands if "Faults: " in str(each.epilog))
    assert epilog is not None
    assert re.findall(r"[a-z0-9-]+(?=[,.])", epilog.partition(" What they mean")[0]) == [*KINDS, *RULES]
    for name, (shape, meaning) in KINDS.items():
        assert f"| `{name}` | {shape.value} | {meaning} |" in page
    for name, (about, values) in RULES.items():
        assert f"| `{name}` | {', '.join(f'`{value}`' for value in values)} | {about} |" in page
