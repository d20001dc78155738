"""`collector dead-letters`: look at batches that could not be stored, send them again, or drop them."""

from collector.broker.ask import sending
from collector.broker.client import app
from collector.cli.render import output, results
from collector.cli.store import open_redis, open_running
from collector.errors import NoData
from collector.settings import Settings
from collector.store.dead_letters import DeadLetters
from collector.store.read import to_json


def show(settings: Settings, *, limit: int | None, as_json: bool) -> int:
    """Print the newest `limit` dead letters, oldest first; return the exit code."""
    with open_redis(settings) as client:
        found = DeadLetters(client, settings.store).list(limit)
    if as_json:
        output.write(to_json(found))
    else:
        output.show([results.dead_letters(found) if found else "No dead letters."])
    return 0


def retry(settings: Settings, letter_id: str | None) -> int:
    """Send the letter of that id, or all, to the workers again; return the exit code.

    Raises:
        NoData: no letter of that id.
        BrokerUnavailable: no Redis, or a full one.
    """
    with open_running(settings) as client, sending("the batch"):
        sent = DeadLetters(client, settings.store, app).retry(letter_id)
    _must_be_known(sent, letter_id)
    output.write(f"{sent} sent to the workers again")
    return 0


def drop(settings: Settings, letter_id: str | None) -> int:
    """Forget the letter of that id, or all; return the exit code.

    Raises:
        NoData: no letter of that id.
    """
    with open_redis(settings) as client:
        dropped = DeadLetters(client, settings.store).drop(letter_id)
    _must_be_known(dropped, letter_id)
    output.write(f"{dropped} dropped")
    return 0


def _must_be_known(affected: int, letter_id: str | None) -> None:
    if letter_id is not None and not affected:
        raise NoData(
            f"there is no dead letter {letter_id}: `collector dead-letters list` shows those there are"
        )
