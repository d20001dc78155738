"""A command that has commands: alone it prints its help, and lists each of them with a whole sentence."""

import re
from typing import Any

import typer
from typer.core import TyperGroup


class Group(TyperGroup):
    """`typer`'s group; without arguments it prints its help on stdout and ends with 0."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - of the click typer carries
        """Take the arguments; where there are none, print the help instead."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - likewise
        """List the commands; what does not fit into a line is wrapped, not cut."""
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        rows = [(str(found.name), sentence(found.help or "")) for found in commands if found is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def sentence(text: str) -> str:
    """Return the first sentence of a text."""
    line = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", line)[0]
