"""The analyses: each on stored trades, and asked of a real worker."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from collector.analyses import catalog as analysis
from collector.analyses import inputs
from collector.errors import ConfigurationError, NoData
from collector.model import MINUTE_MS, Side
from collector.settings import Settings
from collector.store.store import Store
from tasks import periodic
from tests.samples.rows import BTC, T0, book, trade


@pytest.fixture
def asked(
    store: Store, client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """A function that runs an analysis in this process, on 20 minutes of one trade each."""
    store.put_trades(
        [
            trade(
                n, 100 + n, 50 if n == 18 else 1, exchange_ms=T0 + n * MINUTE_MS, side=list(Side)[n % 4 == 0]
            )
            for n in range(20)
        ]
    )
    at_us = (T0 + 19 * MINUTE_MS) * 1000
    store.put_books([book(((99, 1), (98, 9), (97, 1)), ((101, 2), (103, 1)), exchange_us=at_us)])
    periodic.keep_samples(client, settings)
    monkeypatch.setattr(inputs, "client", lambda: client)

    def ask(name: str, *arguments: object, **named: object) -> dict[str, Any]:
        return analysis.find(name).run(*arguments, **named)

    return ask


def has_window(name: str) -> bool:
    """Whether the analysis looks back; the others see the newest book."""
    return "window" in {parameter.name for parameter in analysis.find(name).parameters}


def test_every_analysis_is_listed_with_what_it_is(asked: Callable[..., dict[str, Any]]) -> None:
    """And answers with plain JSON about the market and the window it was asked for."""
    assert {"vwap", "twap", "imbalance", "large_trades", "volume", "changes"} <= set(analysis.names())
    for name, description in analysis.names().items():
        assert len(description) > 10
        window = {"window": "5m"} if has_window(name) else {}
        answer = asked(name, BTC, **window, of_a_newer_program=1)
        assert json.loads(json.dumps(answer)) == answer
        result = analysis.find(name).result.model_validate(answer)
        assert set(result.model_dump()) == set(answer)
        assert answer["market"] == BTC
        assert not window or answer["window"] == "5m"


def test_figures_of_the_last_five_minutes(asked: Callable[..., dict[str, Any]]) -> None:
    """Prices 115 to 119, of which 118 with a volume of 50; the one of minute 16 sold."""
    assert asked("vwap", BTC, "5m")["vwap"] == str(Decimal(115 + 116 + 117 + 118 * 50 + 119) / 54)
    assert asked("twap", BTC, "5m")["twap"] == "117"
    assert asked("imbalance", BTC, "5m")["imbalance"] == str(Decimal(52) / 54)
    assert [row["id"] for row in asked("large_trades", BTC, "20m")["trades"]] == [18]
    assert asked("volume", BTC, "5m")["base_volume"] == "54"
    changes = asked("changes", BTC, "5m")
    assert (changes["from_price"], changes["to_price"], changes["low"]) == ("114", "119", "115")


def test_what_cannot_be_answered_is_said_in_one_line(
    asked: Callable[..., dict[str, Any]], store: Store
) -> None:
    """An unknown market, a bad window, a market that fell silent."""
    with pytest.raises(NoData, match="KRW-NO is not a market"):
        asked("vwap", "KRW-NO", "5m")
    with pytest.raises(ConfigurationError, match="is not a window"):
        asked("vwap", BTC, "soon")
    store.put_trades([trade(99, market="KRW-ETH", exchange_ms=T0 + 90 * MINUTE_MS)])
    with pytest.raises(NoData, match="KRW-BTC: no trade in the last 5m"):
        asked("vwap", BTC, "5m")


def test_a_worker_answers_mistakes_too(
    start_worker: Callable[..., Any], sender: Celery, store: Store, tmp_path: Path
) -> None:
    """Over Celery: the dict, or the sentence of what is wrong; no task fails. The rate limit is in force."""
    store.put_trades([trade(1)])
    start_worker("-Q", "analysis", "--pool", "solo", COLLECTOR_WORKER__ANALYSIS_RATE_LIMIT="40/s")
    assert _answer(sender, BTC, "15m")["vwap"] == "100"
    unknown = f"KRW-NO is not a market we have data of: {BTC}"
    assert _answer(sender, "KRW-NO") == {"error": unknown, "kind": "NoData"}
    for wrong, said in {
        (BTC, "soon"): "is not a window",
        (BTC, "15m", "5"): "one argument too many",
        (): "market is missing",
    }.items():
        answer = _answer(sender, *wrong)
        assert answer["kind"] == "ConfigurationError"
        assert said in answer["error"]
    assert "Traceback" not in (tmp_path / "w0.log").read_text()
    (stats,) = sender.control.inspect(timeout=10, limit=1).registered("rate_limit").values()
    assert "tasks.analysis.vwap [rate_limit=40/s]" in stats


def _answer(sender: Celery, *arguments: str) -> Any:
    """Ask a worker for a VWAP, as a newer program would; return the answer or the error."""
    sent = sender.send_task("tasks.analysis.vwap", args=arguments, kwargs={"new": 1}, queue="analysis")
    answer = sent.get(timeout=10, propagate=False)
    sent.forget()
    return answer
