"""Where the listener's threads meet: nothing is lost, nothing is called too late, nothing grows for ever."""

import asyncio
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

from collector.listener.loop_calls import LoopCalls
from collector.listener.rejections import KEPT_MAX, RejectionLog
from collector.protocol.codec import Rejected


def session(*details: str) -> Any:
    refused = [Rejected("not_json", detail, b"\xff") for detail in details]
    return SimpleNamespace(rejections=refused, counts=Counter())


async def test_calls_of_another_thread_come_in_order_while_the_loop_is_open() -> None:
    """Before it opens and after it closes they are dropped."""
    calls, got = LoopCalls(), list[int]()
    calls.call(got.append, 0)
    calls.open()
    caller = threading.Thread(target=lambda: [calls.call(got.append, number) for number in range(1, 101)])
    caller.start()
    await asyncio.to_thread(caller.join)
    calls.close()
    calls.call(got.append, 101)
    await asyncio.sleep(0)
    assert got == list(range(1, 101))


def test_refused_messages_are_taken_once() -> None:
    """What Redis did not take comes again, before what came meanwhile."""
    log, of = RejectionLog(), session("a", "b")
    log.note(of, 7)
    assert of.rejections == []
    taken = log.take()
    assert [(row["at_ms"], row["reason"], row["detail"], row["raw"]) for row in taken] == [
        (7, "not_json", "a", "\ufffd"),
        (7, "not_json", "b", "\ufffd"),
    ]
    assert log.take() == []
    log.note(session("c"), 8)
    log.put_back(taken)
    assert [row["detail"] for row in log.take()] == ["a", "b", "c"]


def test_refused_messages_are_bounded() -> None:
    """While Redis is away the newest stay."""
    log = RejectionLog()
    for number in range(3 * KEPT_MAX):
        log.note(session(str(number)), number)
    log.put_back(log.take())
    assert [row["at_ms"] for row in log.take()] == list(range(2 * KEPT_MAX, 3 * KEPT_MAX))
