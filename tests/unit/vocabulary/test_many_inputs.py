"""A hundred thousand damaged inputs of every other kind than frames (`unit/protocol/test_fuzz.py`).

Whatever comes in, the answer is a sound value or an error of ours: no crash, no hang, no nonsense. What is
sound is said here once more, apart from the code under test. A failure names its seed and its input.
"""

import json
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from collector import batch as batches
from collector import settings
from collector.batch import Kind
from collector.errors import ConfigurationError, InvalidBatch, RestError
from collector.model import Gap, OrderBook, Ticker, Trade
from collector.protocol import rest
from collector.recording import CutRecording, Frame, RecordingWriter, open_recording
from tests.doubles.mischief import PIECES, damaged
from tests.integration.publish import test_spool
from tests.integration.recording import test_recording
from tests.unit.protocol import test_rest
from tests.unit.vocabulary import test_batch

INPUTS = 25_000
SEEDS = (1, 2)
YEAR_2010_MS, YEAR_2100_MS = 1_262_304_000_000, 4_102_444_800_000

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600), pytest.mark.parametrize("seed", SEEDS)]


def each_input(seed: int, make: Callable[[Random], bytes], check: Callable[[bytes], bool]) -> None:
    """Check `INPUTS` of them; some must be refused and some not, else the damage is too great or too small.

    Args:
        make: draws one input.
        check: tells whether it was accepted; raises where that is wrong.
    """
    dice = Random(seed)
    accepted = 0
    for number in range(INPUTS):
        raw = make(dice)
        try:
            accepted += check(raw)
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}: {raw!r}") from error
    print(f"\n{INPUTS:,} inputs of seed {seed}, {accepted:,} of them accepted")
    assert 0 < accepted < INPUTS


def amount(number: Decimal | None) -> bool:
    """Tell whether a number can be a volume or a size."""
    return number is None or (number.is_finite() and 0 <= number < Decimal("1e31"))


def price(number: Decimal) -> bool:
    """Tell whether a number can be a price or the volume of a trade."""
    return amount(number) and number > 0


def moment(time_ms: int) -> bool:
    """Tell whether a time can be one."""
    return YEAR_2010_MS < time_ms < YEAR_2100_MS


def sound(row: Trade | Ticker | OrderBook | Gap) -> bool:
    """Tell whether a row can be true."""
    match row:
        case Trade():
            return price(row.price) and price(row.volume) and moment(row.exchange_ms) and row.id >= 0
        case Ticker():
            volumes = (row.base_volume_24h, row.quote_volume_24h, row.trade_volume, row.buy_volume_day)
            return price(row.price) and all(map(amount, volumes)) and moment(row.exchange_ms)
        case OrderBook():
            levels = (*row.bids, *row.asks)
            return moment(row.exchange_ms) and all(price(at) and amount(size) for at, size in levels)
        case Gap():
            return moment(row.from_ms) and moment(row.to_ms) and row.from_ms <= row.to_ms


CANDLE = {
    "candle_date_time_utc": "2026-07-02T08:41:00",
    "opening_price": 1,
    "high_price": 2,
    "low_price": 1,
    "trade_price": 1.5,
    "candle_acc_trade_price": 10,
    "candle_acc_trade_volume": 7.25,
}
PAGE = json.dumps([test_rest.ROW] * 3).encode()
LISTING = b'[{"market":"KRW-BTC","korean_name":"x"},{"market":"BTC-ETH"}]'
CANDLES = json.dumps([CANDLE, CANDLE]).encode()


def test_rest_replies(seed: int) -> None:
    """Pages of trades, market lists and candles."""

    def check(body: bytes) -> bool:
        accepted = False
        with suppress(RestError):
            trades = rest.parse_trades(body, test_rest.RECEIVED_MS).trades
            assert all(map(sound, trades))
            assert all(trade.exchange_ms < test_rest.RECEIVED_MS + 86_400_000 for trade in trades)
            accepted = bool(trades)
        with suppress(RestError):
            assert all(0 < len(name) <= 32 for name in rest.parse_markets(body).markets)
            accepted = True
        with suppress(RestError):
            for candle in rest.parse_candles(body):
                assert all(map(price, (candle.open, candle.high, candle.low, candle.close)))
                assert amount(candle.base_volume)
                assert moment(candle.open_ms)
                accepted = True
        return accepted

    each_input(seed, lambda dice: damaged(dice.choice((PAGE, LISTING, CANDLES)), dice), check)


def test_batches(seed: int) -> None:
    """All four kinds, each offered to the task of its own kind."""
    wires = [test_batch.wire(kind, row, row).encode() for kind, row in test_batch.ROWS.items()]

    def check(raw: bytes) -> bool:
        accepted = False
        for kind in Kind:
            with suppress(InvalidBatch):
                rows = batches.decode(raw, batches.CLASSES[kind]).rows
                assert all(map(sound, rows))
                accepted = True
        return accepted

    each_input(seed, lambda dice: damaged(dice.choice(wires), dice), check)


def test_spool_bytes(seed: int, tmp_path: Path) -> None:
    """Segments and cursor: what comes out went in, however much is missing or there twice."""
    folder = tmp_path / "spool"
    files = [*test_spool.left_behind(folder, test_spool.PAYLOADS[:6], segment_bytes=120), folder / "cursor"]
    (folder / "cursor").write_bytes(b"1 0 %08x\n" % zlib.crc32(b"1 0"))
    contents = [path.read_bytes() for path in files]
    dice = Random(seed)

    def make(_: Random) -> bytes:
        place = dice.randrange(len(files))
        return bytes([place]) + damaged(contents[place], dice)

    def check(raw: bytes) -> bool:
        for path in folder.iterdir():
            path.unlink()
        for place, path in enumerate(files):
            path.write_bytes(raw[1:] if place == raw[0] else contents[place])
        with test_spool.opened(folder, fsync_interval_s=9) as held:
            got = test_spool.drained(held)
            assert set(got) <= set(test_spool.PAYLOADS[:6])
            return len(got) >= 6

    each_input(seed, make, check)


def test_recordings(seed: int, tmp_path: Path) -> None:
    """Our own form, packed and plain, example frames, polled books and captures of both protocols."""
    contents = [*_recordings(tmp_path)]
    path = tmp_path / "damaged"

    def check(raw: bytes) -> bool:
        path.write_bytes(raw)
        got: list[Frame] = []
        with suppress(ConfigurationError, CutRecording):
            got.extend(open_recording(path))
        assert all(0 <= frame.received_us <= 1 << 58 and isinstance(frame.raw, bytes) for frame in got)
        return bool(got)

    each_input(seed, lambda dice: damaged(dice.choice(contents), dice), check)


def _recordings(folder: Path) -> list[bytes]:
    frames = [Frame(test_recording.MS * 1000 + n, b'{"type":"trade","n":%d}' % n) for n in range(4)]
    frames.append(Frame(test_recording.MS * 1000 + 9, b"\xff\x00"))
    path = folder / "own.zst"
    with RecordingWriter(path, "current", "wss://example.invalid/websocket/v1", test_recording.MS) as writer:
        for frame in frames:
            writer.append(frame)
    plain = (
        b'{"format":"bithumb-recording","version":1,"protocol":"current","started_ms":1,"url":""}\n'
        b'[1790133505546000,1,"t","{\\"a\\":1}"]\n[1790133505546001,2,"x","/wA="]\n'
    )
    examples = b'{"observed_utc":"2026-09-23T03:18:10Z","endpoint":"ws","raw":"{\\"type\\":\\"trade\\"}"}\n'
    books = (
        b"price,quantity,type,timestamp\n100,1.5,0,2024-04-13 10:00:01\n101,2E-7,1,2024-04-13 10:00:01\n"
        b"99,1,0,2024-04-13 10:00:02\n"
    )
    bithumb = b'1622591002.293640: {"type":"transaction"}\n1622591003.5: {"status":"0000"}\n'
    upbit = (
        b"wss://api.upbit.com/websocket/v1 <-> 1617602400.1\n"
        b'1617602400.25: b\'{"ty":"orderbook","cd":"KRW-BTC","tms":1617602400123,"obu":[{"ap":1}],'
        b'"st":"REALTIME"}\'\n'
        b'1617602400.35: b\'{"ty":"trade","cd":"KRW-BTC","tms":1617602400123,"td":"2021-04-05",'
        b'"ttm":"06:00:00","ttms":1617602400000,"tp":1.0,"sid":5,"st":"REALTIME"}\'\n'
    )
    return [path.read_bytes(), plain, examples, books, bithumb, upbit]


VARIABLES = [name for name, _ in settings.variable_names() if name != "COLLECTOR_DATA_DIR"]


def test_settings_of_the_environment(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged defaults and pieces that hurt, in any variable: a finite value, or an error that names it."""
    defaults = {name: str(field.get_default()) for name, field in settings.variable_names()}
    _without_settings(monkeypatch, tmp_path)

    def make(dice: Random) -> bytes:
        name = dice.choice(VARIABLES)
        start = dice.choice((defaults[name].encode(), dice.choice(PIECES)))
        return name.encode() + b"=" + damaged(start, dice).replace(b"\0", b"")

    def check(raw: bytes) -> bool:
        name, _, value = raw.partition(b"=")
        os.environb[name] = value
        try:
            return _is_loaded(name.decode())
        finally:
            del os.environb[name]

    each_input(seed, make, check)


def test_settings_of_the_file(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged `.env`."""
    _without_settings(monkeypatch, tmp_path)
    whole = b"COLLECTOR_MARKETS=KRW-BTC,KRW-ETH\nCOLLECTOR_REDUNDANCY='2' # two\nREDIS_URL=redis://h:1/0\n"

    def check(raw: bytes) -> bool:
        Path(".env").write_bytes(raw)
        return _is_loaded("")

    each_input(seed, lambda dice: damaged(whole, dice), check)


def _is_loaded(name: str) -> bool:
    try:
        text = settings.load().model_dump_json()
    except ConfigurationError as error:
        if name not in str(error):
            raise
        return False
    json.loads(text, parse_constant=_refused)
    return True


def _refused(name: str) -> float:
    raise ValueError(f"{name} is accepted")


def _without_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith(settings.PREFIX) or name.upper() == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
