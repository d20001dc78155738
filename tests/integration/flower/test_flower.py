"""Flower beside real workers: it shows them, their queues and their tasks, and closes its API by default."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from collector.batch import Kind, encode, make
from collector.host.redis_client import connect
from collector.host.services import roles
from collector.host.supervisor import Stage, Supervisor
from collector.model import Side, Trade
from collector.settings import Settings
from collector.store.store import Store
from tests.doubles.ports import free_port

NOW = 1_790_000_040_000
START_S = 40


@pytest.fixture
async def flower(
    settings: Settings,
    redis_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of Flower beside two workers; the parameter is what its environment says of access."""
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)
    port = free_port()
    found = roles(settings, url=redis_url, workers=1, python=sys.executable, flower=True, flower_port=port)
    system = Supervisor([role for role in found if role.stage == Stage.SERVICES], tmp_path / "logs")
    running = asyncio.create_task(system.run())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            yield client
        finally:
            system.stop()
            await running


async def answer(
    client: httpx.AsyncClient, path: str, good: Callable[[httpx.Response], bool]
) -> httpx.Response:
    """Ask until the answer is good; Flower and the workers are still starting."""
    response = None
    async with asyncio.timeout(START_S):
        while True:
            try:
                response = await client.get(path)
            except httpx.TransportError:
                response = None
            if response is not None and good(response):
                return response
            await asyncio.sleep(0.2)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flower", [{"FLOWER_UNAUTHENTICATED_API": "true"}], indirect=True)
async def test_workers_queues_and_tasks_are_shown(flower: httpx.AsyncClient) -> None:
    """Both workers with their own queues, and a batch sent through Flower's API that one of them stored."""

    def both_online(response: httpx.Response) -> bool:
        return len([worker for worker in response.json().values() if worker.get("active_queues")]) == 2

    workers = (await answer(flower, "/api/workers?refresh=true", both_online)).json()
    queues = {
        name.split("-")[0]: {queue["name"] for queue in worker["active_queues"]}
        for name, worker in workers.items()
    }
    assert queues == {"ingest1": {"trade", "orderbook", "ticker"}, "analysis": {"analysis", "archive"}}

    trade = Trade("KRW-BTC", 17, Decimal("161000000"), Decimal("0.5"), Side.BUY, NOW, NOW + 5)
    text = encode(make(Kind.TRADE, [trade], listener="flower", now_ms=NOW))
    sent = await flower.post(
        "/api/task/send-task/tasks.ingest.trades", json={"args": [text], "options": {"queue": "trade"}}
    )
    assert sent.status_code == HTTPStatus.OK
    task = sent.json()["task-id"]

    def stored(response: httpx.Response) -> bool:
        return response.status_code == HTTPStatus.OK and response.json()["state"] == "SUCCESS"

    seen = (await answer(flower, f"/api/task/info/{task}", stored)).json()
    assert seen["name"] == "tasks.ingest.trades"
    assert seen["worker"].startswith("ingest1-")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flower", [{}], indirect=True)
async def test_api_is_closed_unless_opened(flower: httpx.AsyncClient) -> None:
    """Without a password or the explicit variable the pages are shown and the API refuses."""
    page = await answer(flower, "/", lambda response: True)
    assert page.status_code == HTTPStatus.OK
    assert (await flower.get("/api/workers")).status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flower", [{"FLOWER_BASIC_AUTH": "operator:secret"}], indirect=True)
async def test_analysis_is_started_and_its_answer_seen_with_a_password(
    flower: httpx.AsyncClient, settings: Settings, redis_url: str
) -> None:
    """Without the password nothing is shown; with it a task's answer comes back, its arguments readable."""
    with connect(redis_url, settings) as client:
        trade = Trade("KRW-BTC", 17, Decimal("161000000"), Decimal("0.5"), Side.BUY, NOW, NOW + 5)
        Store(client, settings.store).put_trades([trade])
    assert (await answer(flower, "/", lambda response: True)).status_code == HTTPStatus.UNAUTHORIZED
    assert (await flower.get("/api/workers")).status_code == HTTPStatus.UNAUTHORIZED
    flower.auth = ("operator", "secret")

    def analysis_online(response: httpx.Response) -> bool:
        return any("analysis" in name for name in response.json())

    await answer(flower, "/api/workers?refresh=true", analysis_online)
    done = await flower.post("/api/task/apply/tasks.analysis.vwap", json={"args": ["KRW-BTC", "15m"]})
    assert done.json()["state"] == "SUCCESS"
    assert done.json()["result"]["vwap"] == "161000000"

    def known(response: httpx.Response) -> bool:
        return response.status_code == HTTPStatus.OK and response.json()["state"] == "SUCCESS"

    seen = (await answer(flower, f"/api/task/info/{done.json()['task-id']}", known)).json()
    assert seen["args"] == "['KRW-BTC', '15m']"

    mistyped = (await flower.post("/api/task/apply/tasks.analysis.vwap", json={"args": ["KRW-BTX"]})).json()
    assert mistyped["result"]["kind"] == "NoData"
    assert "KRW-BTX is not a market" in mistyped["result"]["error"]
    seen = (await answer(flower, f"/api/task/info/{mistyped['task-id']}", known)).json()
    assert (seen["state"], seen["traceback"]) == ("SUCCESS", None)
