"""What a listener remembers on its own disk, for a Redis that was emptied meanwhile."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from collector.analytics.watermark import REACH_MS, Start
from collector.listener.run_record import RunRecord, RunRecords, store_name
from collector.listener.status import forgotten, since_ms
from collector.settings import Settings
from tests.samples.events import T0

MINUTE_MS = 60_000


def records(folder: Path, url: str = "redis://127.0.0.1:6379/0") -> RunRecords:
    return RunRecords(Settings(data_dir=folder, redis_url=SecretStr(url)))


def test_what_was_written_is_there_for_the_same_redis_alone(tmp_path: Path) -> None:
    """Its port and password may change: a private server gets new ones at each start."""
    assert records(tmp_path).read() is None
    records(tmp_path).write(T0, ("KRW-BTC",))
    found = records(tmp_path, "redis://:secret@127.0.0.1:7000/0").read()
    assert found is not None
    assert (found.since_ms, found.markets) == (T0, ("KRW-BTC",))
    assert records(tmp_path, "redis://elsewhere:6379/0").read() is None
    assert records(tmp_path, "redis://127.0.0.1:6379/1").read() is None


def test_a_damaged_file_is_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    it = records(tmp_path)
    it.write(T0, ("KRW-BTC",))
    it.path.write_bytes(b"{")
    assert it.read() is None
    assert "is written anew" in caplog.text


def test_a_folder_that_refuses_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "listener").write_text("a file")
    records(tmp_path).write(T0, ("KRW-BTC",))
    assert "can't be written" in caplog.text


def test_what_an_empty_redis_lost_is_fetched_from_the_minute_on_in_which_we_began() -> None:
    """Markets that are new, and those that another share has a status of, are not touched."""
    record = RunRecord(T0 + 7, ("KRW-BTC", "KRW-ETH", "KRW-GONE"), "")
    known = {"KRW-ETH": Start(T0)}
    found = forgotten(record, ["KRW-BTC", "KRW-ETH", "KRW-NEW"], known, T0 + 600_000)
    assert found == {"KRW-BTC": Start((T0 + 7) // MINUTE_MS * MINUTE_MS, is_known_before=False)}


def test_a_record_from_the_future_is_not_believed() -> None:
    record = RunRecord(T0 + 1, ("KRW-BTC",), "")
    assert forgotten(record, ["KRW-BTC"], {}, T0) == {}
    assert since_ms(record, {}, T0) == T0 // MINUTE_MS * MINUTE_MS


def test_runs_go_on_from_the_first_as_far_as_the_exchange_reaches() -> None:
    known = {"KRW-BTC": Start(T0)}
    assert since_ms(None, known, T0 + 5) == T0
    assert since_ms(RunRecord(T0 - 5, (), ""), known, T0 + 5) == T0 - 5
    assert since_ms(RunRecord(T0 - 2 * REACH_MS, (), ""), known, T0) == T0 - REACH_MS


def test_no_secret_is_part_of_the_name() -> None:
    one, other = (store_name(f"rediss://user:{secret}@host:6379/2", "p:") for secret in ("a", "b"))
    assert one == other
