"""Plays a recorded session to whoever subscribes, as it was recorded: frames go out verbatim.

One position for all: a socket that comes late, or was away, missed what was played meanwhile. Trades that
were played are known to REST afterwards, so a hole can be filled from there. The frame format a client asks
for changes nothing, and a client of the other protocol receives nothing.
"""

import json
import logging
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from collector.errors import ConfigurationError
from collector.recording import CutRecording, Frame, Recording
from collector.simulator.dialect import Dialect
from collector.simulator.events import SimTrade
from collector.simulator.fixed import ONE
from collector.simulator.instruments import Instruments
from collector.simulator.legacy import to_code
from collector.simulator.market import SimMarket
from collector.simulator.requests import Subscription
from collector.simulator.wire import Payload
from collector.util.korean_time import KST

log = logging.getLogger(__name__)

#: At full speed, frames per beat: some milliseconds of reading.
FULL_SPEED_FRAMES = 400

_CHANNEL = re.compile(rb'"(?:type|ty)":"(\w+)"')
_CODE = re.compile(rb'"(?:code|cd|symbol)":"([^"]+)"')
_PRICE = re.compile(rb'"(?:trade_price|tp|bid_price|bp|contPrice|price)":"?(\d[\d.]*(?:E-?\d+)?)')
_TRADES = ("trade", "transaction")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A frame with what it is about; both are empty where it names nothing (an error, a fragment)."""

    frame: Frame
    channel: str
    code: str

    @property
    def payload(self) -> Payload:
        """The frame as it goes out: text frames stay text frames."""
        return self.frame.raw if self.frame.binary else self.frame.raw.decode(errors="replace")


class PlayedStep:
    """Recorded frames that are due together."""

    def __init__(self, path: str, frames: Sequence[Recorded], trades: Sequence[SimTrade]) -> None:
        self._path = path
        self._frames = frames
        self.trades = trades

    def without(self, trades: Collection[SimTrade]) -> "PlayedStep":  # noqa: ARG002 - frames are as recorded
        return self

    def ahead(self, channel: str) -> None:  # noqa: ARG002 - frames are as recorded
        return None

    def frames(self, dialect: Dialect, subscription: Subscription) -> list[Payload]:
        if dialect.path != self._path or not subscription.streams:
            return []
        return [
            each.payload
            for each in self._frames
            if not each.channel or each.code in subscription.wanted(each.channel)
        ]


class Player:
    """Hands out a recording's frames when they are due.

    Raises:
        ConfigurationError: from the constructor, when the recording has no frames or is not readable; a file
            that is cut is played up to the cut.
    """

    def __init__(self, recording: Recording, *, speed: float, loop: bool, sockets: int, now_us: int) -> None:
        self._recording = recording
        self._path = "/websocket/v1" if recording.protocol == "current" else "/pub/ws"
        self._speed = speed
        self._loop = loop
        self._sockets = sockets
        self._started_us: int | None = None
        prices, cut = _first_prices(recording)
        if not prices:
            raise cut or ConfigurationError(f"Recording {recording.path} has no frames about any market")
        if cut:
            log.warning("%s; what is whole is played", cut)
        self.markets: Mapping[str, SimMarket] = {
            code: SimMarket(_listing(code, price), 1, now_us, random.Random(0))
            for code, price in prices.items()
        }
        self.trades_made = 0
        self.finished = False
        self._frames = self._read()
        self._next = next(self._frames, None)
        self._first_us = self._next.frame.received_us if self._next else 0

    def step(self, now_us: int, *, listeners: int, has_room: bool) -> PlayedStep | None:
        """Return the frames due at `now_us`; nothing before enough listeners have subscribed."""
        if self._started_us is None:
            if listeners < self._sockets:
                return None
            self._started_us = now_us
        due = list(self._due(now_us, has_room))
        if self._next is None and not self.finished:
            self._end(now_us)
        return PlayedStep(self._path, due, self._remember(due)) if due else None

    def snapshots(self, dialect: Dialect, subscription: Subscription, now_ms: int) -> list[Payload]:  # noqa: ARG002
        """A recording brings its own."""
        return []

    def _due(self, now_us: int, has_room: bool) -> Iterator[Recorded]:
        assert self._started_us is not None  # noqa: S101 - the caller saw to it
        until_us = self._first_us + int((now_us - self._started_us) * self._speed)
        left = FULL_SPEED_FRAMES if has_room else 0
        while self._next is not None:
            if self._speed and self._next.frame.received_us > until_us:
                return
            if not self._speed and not left:
                return
            left -= 1
            yield self._next
            self._next = next(self._frames, None)

    def _end(self, now_us: int) -> None:
        if not self._loop:
            self.finished = True
            return
        self._frames, self._started_us = self._read(), now_us
        self._next = next(self._frames, None)

    def _read(self) -> Iterator[Recorded]:
        """Yield the frames that are worth sending: statuses are the server's own business."""
        try:
            for frame in self._recording:
                if not frame.raw.startswith(b'{"status"'):
                    yield Recorded(frame, *_subject(frame.raw))
        except CutRecording:
            return

    def _remember(self, due: Sequence[Recorded]) -> list[SimTrade]:
        made: list[SimTrade] = []
        for each in due:
            if each.channel in _TRADES:
                made += _played_trades(each.frame.raw, self.markets)
        self.trades_made += len(made)
        return made


def _subject(raw: bytes) -> tuple[str, str]:
    """Return (channel, code or symbol) of a frame."""
    channel, code = _CHANNEL.search(raw), _CODE.search(raw)
    return (channel[1].decode(), code[1].decode()) if channel and code else ("", "")


def _first_prices(recording: Recording) -> tuple[dict[str, int], CutRecording | None]:
    """Find every market of a recording with the first price mentioned, by reading it once; and its cut."""
    found: dict[str, int] = {}
    try:
        for frame in recording:
            code, price = _CODE.search(frame.raw), _PRICE.search(frame.raw)
            if code and price and (name := _as_code(code[1].decode())) not in found:
                found[name] = max(1, _atoms(price[1].decode()))
    except CutRecording as cut:
        return found, cut
    return found, None


def _as_code(name: str) -> str:
    return to_code(name) if "_" in name else name


def _listing(code: str, price: int) -> Instruments:
    return Instruments(code, code, code, price, weight=0, bid_levels=30, caution=False)


def _atoms(number: str) -> int:
    return int(Decimal(number) * ONE)


def _played_trades(raw: bytes, markets: Mapping[str, SimMarket]) -> list[SimTrade]:
    """Execute the trades of a recorded frame in the books that REST answers from."""
    try:
        frame = json.loads(raw, parse_float=str)
        entries = frame["content"]["list"] if "content" in frame else [frame]
        return [_played_trade(entry, markets) for entry in entries]
    except (ValueError, KeyError, TypeError, InvalidOperation):
        return []  # an example frame that is not whole


def _played_trade(entry: Mapping[str, str], markets: Mapping[str, SimMarket]) -> SimTrade:
    if "contPrice" in entry:
        moment = datetime.fromisoformat(entry["contDtm"]).replace(tzinfo=KST)
        us = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
        code, price, volume, buy = (
            entry["symbol"],
            entry["contPrice"],
            entry["contQty"],
            entry["buySellGb"] == "2",
        )
        return markets[_as_code(code)].trade(_atoms(price), _atoms(volume), buy, us)
    long = "type" in entry
    code = entry["code" if long else "cd"]
    price, volume = entry["trade_price" if long else "tp"], entry["trade_volume" if long else "tv"]
    ms, id = int(entry["trade_timestamp" if long else "ttms"]), int(entry["sequential_id" if long else "sid"])
    buy = entry["ask_bid" if long else "ab"] == "BID"
    return markets[code].trade(_atoms(str(price)), _atoms(str(volume)), buy, ms * 1000, id)
