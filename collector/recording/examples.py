"""Example frames, one JSON object a line, the frame's text in `raw`."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from collector.recording.format import Broken, Form, Frame, Unintelligible, micros, quoted

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


def recognise(head: list[str]) -> Form | None:
    """Look for a `raw` frame in the first line; `endpoint` determines the protocol."""
    first = _json_object(head[0]) if head else None
    if first is None or not isinstance(first.get("raw"), str):
        return None
    legacy = "pubwss" in str(first.get("endpoint"))
    return Form("examples", "legacy" if legacy else "current", read_frames)


def read_frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Turn each line into a frame; those marked `complete: false` come as they are."""
    for line in lines:
        if not line.strip():
            continue
        example = _json_object(line)
        if example is None or not isinstance(example.get("raw"), str):
            raise Unintelligible("a line has no `raw` frame") if line.endswith("\n") else Broken
        yield Frame(_observed_us(str(example.get("observed_utc"))), example["raw"].encode(errors="replace"))


def _observed_us(text: str) -> int:
    """Read the last moment of what may be a range (`2026-09-23T03:18/03:26Z`): by then the frame had come."""
    first, *others = text.split("/")
    last = others[-1] if others else first
    found = _MOMENT.match(last if "T" in last else f"{first.partition('T')[0]}T{last}")
    try:
        moment = datetime.fromisoformat(found[0] if found else text).replace(tzinfo=UTC)
    except ValueError:
        raise Unintelligible(f"observed_utc is {quoted(text)}") from None
    has_seconds = found is None or found[1] is not None
    return micros(moment if has_seconds else moment + timedelta(seconds=59))


def _json_object(line: str) -> dict[str, str] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
