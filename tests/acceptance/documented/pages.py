"""Every command line of README, CONTRIBUTING and docs, and how it is run by the tests."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    "README.md",
    "README.ko.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
)
PROGRAMS = "collector|celery|docker|make|pytest|python|bash|curl|promtool|systemctl|export|ACL"
_VARIABLES = r"(?:[A-Z][A-Z_]+=(?:'[^']*'|\S+) )*"
_COMMAND = re.compile(rf"^{_VARIABLES}(?:\.venv/bin/)?(?:{PROGRAMS}) ")

#: Commands that are run by other tests, and where: a pattern of the whole line -> file, and a name in it.
ELSEWHERE = {
    r"make (install|test|wheel|lint|types|docs)|bash \.ci/run": (".ci/run", "make install"),
    r"make (demo|up|check|coverage|bench|soak|format)": (
        "tests/acceptance/documented/test_commands.py",
        "test_verbs_are_what_they_say",
    ),
    r"(\w+=\S+ )?(python -m )?pytest .*": (
        "tests/acceptance/documented/test_commands.py",
        "test_pytest_paths_are_tests",
    ),
    r"docker compose .*": (
        "tests/acceptance/smoke/test_documented.py",
        "test_compose_commands_of_the_documents_run",
    ),
    r"systemctl .*": (
        "tests/acceptance/deploy/test_systemd.py",
        "test_commands_of_the_units_run_and_stop_in_time",
    ),
    r"promtool .*": ("tests/acceptance/deploy/test_prometheus.py", "test_promtool_agrees"),
    r"ACL SETUSER .*": ("tests/acceptance/deploy/test_secured_redis.py", "test_the_documented_acl_is_enough"),
    r"REDIS_URL='sentinel:.*": ("tests/acceptance/deploy/test_sentinel.py", "test_commands_find_the_master"),
    r"REDIS_URL='rediss:.*": (
        "tests/acceptance/deploy/test_secured_redis.py",
        "test_everything_works_over_tls",
    ),
    r"python -m benchmarks\S*.*": (
        "tests/acceptance/documented/test_commands.py",
        "test_benchmarks_are_there",
    ),
    r"python -m tests\.acceptance\.recorded\.report.*": (
        "tests/acceptance/recorded/test_recorded.py",
        "plain computation",
    ),
    r"collector top": ("tests/integration/cli/test_top.py", "test_q_leaves"),
    r"collector demo.*": (
        "tests/acceptance/documented/test_commands.py",
        "test_demos_end_with_every_trade_counted",
    ),
    r"collector audit .*": (
        "tests/integration/archive/test_commands.py",
        "test_audit_names_every_minute_we_lost_and_why",
    ),
    r"collector backfill trades .*": (
        "tests/integration/archive/test_backfill_trades.py",
        "test_everything_before_our_data_is_fetched_and_counted_once",
    ),
    r"collector export .* --for .*": (
        "tests/integration/archive/test_export_for.py",
        "test_intervals_without_trades_are_filled_as_asked",
    ),
    r"collector export candles .* --interval .*": (
        "tests/integration/archive/test_export_for.py",
        "test_candles_of_any_interval_can_be_exported",
    ),
    r"collector backfill candles .*": (
        "tests/integration/archive/test_backfill.py",
        "test_every_minute_is_fetched_once",
    ),
    # The system of `conftest.SYSTEM` has these options with other numbers, and what the variable asks for.
    r"collector up (--workers \d|--flower)": (
        "tests/acceptance/documented/conftest.py",
        "--workers 2 --flower",
    ),
    r"COLLECTOR_ANALYSIS__PERIODIC='vwap KRW-BTC 15m; .*' collector up": (
        "tests/acceptance/documented/conftest.py",
        "vwap KRW-BTC 15m; top_movers * 1h; walls KRW-BTC",
    ),
    r"export REDIS_URL=.*": ("tests/acceptance/documented/conftest.py", "REDIS_URL"),
}


def commands(page: str) -> list[str]:
    """Return the command lines of a page: indented blocks, and what stands between backticks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = re.sub(r"\\\n\s*", "", "\n".join(re.findall(r"^    .*", text, re.MULTILINE)))
    lines = [re.split(r"\s{2,}(?=\S)|\s+#", line.strip())[0] for line in blocks.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", text)
    named = re.compile(
        r"collector \w+"
    )  # `collector query` in a sentence names the command, it does not run it
    found = [*lines, *(text for text in inline if not named.fullmatch(text))]
    found = [line for line in found if _COMMAND.match(f"{line} ") and " " in line]
    return list(dict.fromkeys(re.sub(r"\.venv/bin/", "", line) for line in found))


def everything() -> list[str]:
    """Return the different command lines of all pages."""
    return list(dict.fromkeys(line for page in PAGES for line in commands(page)))


def elsewhere(command: str) -> tuple[str, str] | None:
    """Return file and name of the test that runs `command`, if it is none of this folder's."""
    return next((place for pattern, place in ELSEWHERE.items() if re.fullmatch(pattern, command)), None)


def split(command: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables before a command, and its words."""
    words, variables = shlex.split(re.sub(r" > \S+$", "", command)), {}
    while words and (found := re.match(r"^([A-Z][A-Z_]+)=(.*)$", words[0])):
        variables[found[1]] = found[2]
        words.pop(0)
    return variables, words


def own() -> list[str]:
    """Return the command lines that the tests of this folder run one by one."""
    return [command for command in everything() if elsewhere(command) is None]
