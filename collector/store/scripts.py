"""The Lua scripts, called by digest in a pipeline and loaded where the server does not know them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from collector.util.lua import read_script

Argument = str | bytes | int


class Script:
    """One file of `collector/store/lua`; the key schema is at its top."""

    def __init__(self, name: str) -> None:
        self.text = read_script("collector.store", name)
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def queue(self, pipeline: Pipeline, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Add one call to `pipeline`."""
        pipeline.evalsha(self.digest, len(keys), *keys, *arguments)


TRADES = Script("trades")
STATES = Script("states")
SWAP = Script("swap")
NEWEST = Script("newest")
COVERAGE = Script("coverage")
ALL = (TRADES, STATES, SWAP, NEWEST, COVERAGE)


def run(client: redis.Redis, pipeline: Pipeline) -> list[Any]:
    """Execute `pipeline` and return its replies; where Redis has lost our scripts they are loaded again."""
    commands = list(pipeline.command_stack)
    replies = pipeline.execute(raise_on_error=False)
    unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    for reply in replies:
        if isinstance(reply, Exception) and not isinstance(reply, NoScriptError):
            raise reply
    if unknown:
        load(client)
        again = client.pipeline(transaction=False)
        for index in unknown:
            arguments, options = commands[index]
            again.execute_command(*arguments, **options)  # type: ignore[no-untyped-call]
        for index, reply in zip(unknown, again.execute(), strict=True):
            replies[index] = reply
    return replies


def load(client: redis.Redis) -> None:
    """Give Redis all scripts."""
    for script in ALL:
        client.script_load(script.text)
