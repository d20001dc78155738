"""Arguments of `collector alert`; each imports what it does when it runs."""

from typing import Annotated

import typer

from collector import settings
from collector.cli.group import Group
from collector.cli.reading import From, Json, To, span_of
from collector.host import logs

app = typer.Typer(
    cls=Group,
    help="Alert rules, what fired, and where it went.",
    epilog="Example: collector alert add 'change KRW-* below -5% in 10m'",
)

RuleText = Annotated[str, typer.Argument(metavar="RULE", help="In quotes; docs/alerts.md has all kinds.")]
FiringId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The id from `alert log`.")]


def _load() -> settings.Settings:
    loaded = settings.current()
    logs.set_up(loaded.log, loaded.zone)
    return loaded


@app.command(epilog="Example: collector alert add 'price btc above 160,000,000 cooldown 10m'")
def add(rule: RuleText) -> None:
    """Add a rule. It applies within a second.

    A rule begins with price, change, volume, trade, spread, imbalance, halt, warning, listed, delisted or
    system.
    """
    from collector.cli import alert as command

    raise typer.Exit(command.add(_load(), rule))


@app.command(name="list", epilog="Example: collector alert list")
def list_rules(as_json: Json = False) -> None:
    """List the rules and the channels."""
    from collector.cli import alert as command

    raise typer.Exit(command.show_rules(_load(), as_json=as_json))


@app.command(epilog="Example: collector alert remove 3f2a9c1e")
def remove(rule_id: Annotated[str, typer.Argument(metavar="ID", help="The id from `alert list`.")]) -> None:
    """Remove a rule that was added."""
    from collector.cli import alert as command

    raise typer.Exit(command.remove(_load(), rule_id))


@app.command(
    name="test", epilog="Example: collector alert test 'volume KRW-* above 8x in 5m' --from yesterday"
)
def try_rule(rule: RuleText, from_: From = None, to: To = None, as_json: Json = False) -> None:
    """Show when a rule would have fired, over the archive and Redis.

    It sends nothing. RULE may also be the id of a rule. For a recording: `collector replay FILE` first.
    """
    from collector.cli import alert as command

    loaded = _load()
    raise typer.Exit(command.try_rule(loaded, rule, span_of(loaded, from_, to), as_json=as_json))


@app.command(epilog="Example: collector alert log --limit 20")
def log(
    limit: Annotated[int, typer.Option(min=1, help="Newest firings.")] = 50, as_json: Json = False
) -> None:
    """Show what fired and how each delivery went, oldest first."""
    from collector.cli import alert as command

    raise typer.Exit(command.show_log(_load(), limit, as_json=as_json))


@app.command(epilog="Example: collector alert retry")
def retry(firing_id: FiringId = None) -> None:
    """Deliver again what was given up, of one firing or of all."""
    from collector.cli import alert as command

    raise typer.Exit(command.retry(_load(), firing_id))


@app.command(epilog="Example: collector alert send slack")
def send(channel: Annotated[str, typer.Argument(help="Name of a channel.")]) -> None:
    """Send a test message to a channel now, from this machine."""
    from collector.cli import alert as command

    raise typer.Exit(command.send_test(_load(), channel))
