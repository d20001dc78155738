"""Points in time as they are typed: epoch milliseconds or ISO 8601."""

from datetime import UTC, datetime

from collector.errors import ConfigurationError


def parse_ms(text: str, option: str) -> int:
    """Return epoch milliseconds of a number of them, or of an ISO 8601 text (UTC where it names no zone).

    Raises:
        ConfigurationError: neither; the message names `option`.
    """
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text!r} is not a time: write epoch milliseconds or ISO 8601 like 2026-07-31T09:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def parse_span(from_text: str | None, to_text: str | None) -> tuple[int | None, int | None]:
    """Return `--from` and `--to` in epoch milliseconds, None where not given.

    Raises:
        ConfigurationError: not a time, or the end is before the beginning.
    """
    from_ms = None if from_text is None else parse_ms(from_text, "--from")
    to_ms = None if to_text is None else parse_ms(to_text, "--to")
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        raise ConfigurationError(f"--from {from_text} is after --to {to_text}")
    return from_ms, to_ms
