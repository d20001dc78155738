"""Rules, what the evaluator remembers, firings and their deliveries, in Redis.

    state   `version`, `position`, `memory:{rule id}:{market}`, `trouble:{name}`

What the evaluator remembers and what fired are written in one transaction, and only where nobody else wrote
since it was read. So after a death between two of them the same trades are evaluated again, and none fires
twice. A firing is written with its deliveries; each is due until a channel took it or it was given up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis
from msgspec import Struct

from collector.alerts.engine import Firing, Memory
from collector.alerts.rules import Rule, parse, parse_all
from collector.alerts.troubles import Trouble
from collector.counters import Counter
from collector.errors import ConfigurationError, StoreConflict
from collector.settings import Settings
from collector.store.event_log import Position
from collector.store.keys import Keys
from collector.store.redis_client import translated

#: A delivery that was handed to a worker is due again after this: its task may have been lost.
HANDED_MS = 60_000
_MEMORY, _TROUBLE, _TO = "memory:", "trouble:", "to:"
_decode_memory = msgspec.json.Decoder(Memory).decode
_decode_trouble = msgspec.json.Decoder(Trouble).decode
_decode_firing = msgspec.json.Decoder(Firing).decode
_encode = msgspec.json.Encoder().encode


class Delivery(Struct, frozen=True):
    """One firing to one channel.

    Attributes:
        state: `waiting`, `delivered` or `dead`.
        attempts: tries so far.
        detail: why the last one failed; no address is in it.
        ms: when that was, epoch ms.
    """

    channel: str
    state: str = "waiting"
    attempts: int = 0
    detail: str = ""
    ms: int = 0


class Logged(Struct, frozen=True):
    """A firing and where it went."""

    firing: Firing
    deliveries: list[Delivery]


@dataclass
class State:
    """What the evaluator remembers; `position`: all trades until there were evaluated."""

    version: int = 0
    position: Position | None = None
    memories: dict[str, Memory] = field(default_factory=dict)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    #: Names of troubles that are over and still written.
    over: set[str] = field(default_factory=set)


class Ledger:
    """Reads and writes all that.

    Every method raises `BrokerUnavailable` where Redis does not answer.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._settings = settings.alert
        keys = Keys(settings.store.key_prefix)
        self._rules, self._state = keys.alert("rules"), keys.alert("state")
        self._log, self._due = keys.alert("log"), keys.alert("due")
        self._counters = keys.counters
        self._keys = keys

    # -- rules

    def rules(self) -> dict[str, Rule]:
        """Return all rules by id, those of the settings first.

        Raises:
            ConfigurationError: one of the settings is none.
        """
        try:
            found = {rule.id: rule for rule in parse_all(self._settings.rules)}
        except ConfigurationError as error:
            raise ConfigurationError(f"COLLECTOR_ALERT__RULES: {error}") from None
        return found | self.added()

    def added(self) -> dict[str, Rule]:
        """Return the rules that were added by command, oldest id first."""
        with translated():
            stored: Any = self._redis.hgetall(self._rules)
        return {name.decode(): parse(text.decode()) for name, text in sorted(stored.items())}

    def add(self, rule: Rule) -> bool:
        """Add a rule; return whether it is new."""
        with translated():
            return bool(self._redis.hset(self._rules, rule.id, rule.text))

    def remove(self, rule_id: str) -> bool:
        """Remove a rule that was added; return whether it was there."""
        with translated():
            return bool(self._redis.hdel(self._rules, rule_id))

    # -- the evaluator

    def load(self, rules: Mapping[str, Rule]) -> State:
        """Return what is remembered of these rules; what is remembered of others is dropped."""
        with translated():
            stored: Any = self._redis.hgetall(self._state)
        state, gone = State(), []
        for name, value in ((raw.decode(), value) for raw, value in stored.items()):
            if name == "version":
                state.version = int(value)
            elif name == "position":
                state.position = Position.parse(value.decode())
            elif name.startswith(_TROUBLE):
                state.troubles[name.removeprefix(_TROUBLE)] = _decode_trouble(value)
            elif name.removeprefix(_MEMORY).partition(":")[0] in rules:
                state.memories[name.removeprefix(_MEMORY)] = _decode_memory(value)
            else:
                gone.append(name)
        if gone:
            with translated():
                self._redis.hdel(self._state, *gone)
        return state

    def commit(
        self,
        state: State,
        changed: Mapping[str, Memory],
        firings: Sequence[tuple[Firing, int, Sequence[str]]],
    ) -> None:
        """Write the position, what changed, and what fired with its deliveries: all or nothing.

        Args:
            state: as `load` returned it; its version grows.
            changed: memories.
            firings: each with when to send it, epoch ms, and to which channels.

        Raises:
            StoreConflict: another evaluator wrote meanwhile.
        """
        fields: dict[Any, Any] = {f"{_MEMORY}{name}": _encode(memory) for name, memory in changed.items()}
        fields["version"] = state.version + 1
        if state.position is not None:
            fields["position"] = str(state.position)
        fields |= {f"{_TROUBLE}{name}": _encode(trouble) for name, trouble in state.troubles.items()}
        over = [f"{_TROUBLE}{name}" for name in state.over]
        with translated(), self._redis.pipeline() as pipe:
            try:
                pipe.watch(self._state)  # type: ignore[no-untyped-call]
                version: Any = pipe.hget(self._state, "version")
                if int(version or 0) != state.version:
                    raise StoreConflict("another worker evaluates the alerts")
                pipe.multi()
                if over:
                    pipe.hdel(self._state, *over)
                pipe.hset(self._state, mapping=fields)
                for firing, due_ms, channels in firings:
                    self._record(pipe, firing, due_ms, channels)
                pipe.execute()
            except redis.WatchError:
                raise StoreConflict("another worker evaluates the alerts") from None
        state.version += 1
        state.over.clear()

    def _record(self, pipe: Any, firing: Firing, due_ms: int, channels: Sequence[str]) -> None:  # noqa: ANN401
        key = self._keys.alert(f"firing:{firing.id}")
        pipe.hset(key, "firing", _encode(firing))
        for channel in channels:
            pipe.hset(key, f"{_TO}{channel}", _encode(Delivery(channel)))
            pipe.zadd(self._due, {f"{firing.id} {channel}": due_ms})
        pipe.expire(key, self._settings.log_retention_h * 3600)
        pipe.lpush(self._log, firing.id)
        pipe.ltrim(self._log, 0, self._settings.log_max - 1)
        pipe.hincrby(self._counters, Counter.ALERTS_FIRED, 1)

    # -- deliveries

    def take_due(self, now_ms: int, limit: int = 200) -> list[tuple[str, str]]:
        """Return firing id and channel of what is due; it is due again after `HANDED_MS`."""
        with translated():
            names: Any = self._redis.zrangebyscore(self._due, "-inf", now_ms, start=0, num=limit)
            if names:
                self._redis.zadd(self._due, dict.fromkeys(names, now_ms + HANDED_MS), xx=True)
        return [_pair(name.decode()) for name in names]

    def give_back(self, deliveries: Iterable[tuple[str, str]], now_ms: int) -> None:
        """Make deliveries due again that could not be handed to a worker."""
        with translated():
            self._redis.zadd(self._due, {" ".join(pair): now_ms for pair in deliveries}, xx=True)

    def delivery(self, firing_id: str, channel: str) -> tuple[Firing, Delivery] | None:
        """Return a firing and its delivery, None where they are not kept any more."""
        with translated():
            firing, delivery = self._redis.hmget(
                self._keys.alert(f"firing:{firing_id}"), ["firing", f"{_TO}{channel}"]
            )
        if firing is None or delivery is None:
            return None
        return _decode_firing(firing), msgspec.json.decode(delivery, type=Delivery)

    def settle(self, firing_id: str, delivery: Delivery, counter: Counter, due_ms: int | None) -> None:
        """Write how a try ended; `due_ms`: when the next one is, None for none."""
        name = f"{firing_id} {delivery.channel}"
        key = self._keys.alert(f"firing:{firing_id}")
        with translated(), self._redis.pipeline() as pipe:
            pipe.hset(key, f"{_TO}{delivery.channel}", _encode(delivery))
            pipe.expire(key, self._settings.log_retention_h * 3600)
            pipe.hincrby(self._counters, counter, 1)
            if due_ms is None:
                pipe.zrem(self._due, name)
            else:
                pipe.zadd(self._due, {name: due_ms})
            pipe.execute()

    def drop(self, firing_id: str, channel: str) -> None:
        """Forget a delivery whose firing is gone."""
        with translated():
            self._redis.zrem(self._due, f"{firing_id} {channel}")

    def retry(self, firing_id: str | None, now_ms: int) -> int:
        """Make dead deliveries due again, of one firing or of all; return how many."""
        count = 0
        for logged in self.log(self._settings.log_max):
            if firing_id not in (None, logged.firing.id):
                continue
            for each in logged.deliveries:
                if each.state == "dead":
                    self._revive(logged.firing.id, each.channel, now_ms)
                    count += 1
        return count

    def _revive(self, firing_id: str, channel: str, now_ms: int) -> None:
        with translated(), self._redis.pipeline() as pipe:
            pipe.hset(self._keys.alert(f"firing:{firing_id}"), f"{_TO}{channel}", _encode(Delivery(channel)))
            pipe.zadd(self._due, {f"{firing_id} {channel}": now_ms})
            pipe.execute()

    def log(self, limit: int) -> list[Logged]:
        """Return the newest firings, oldest first."""
        with translated():
            ids: Any = self._redis.lrange(self._log, 0, limit - 1)
            pipe = self._redis.pipeline(transaction=False)
            for firing_id in ids:
                pipe.hgetall(self._keys.alert(f"firing:{firing_id.decode()}"))
            replies = pipe.execute()
        return [_logged(fields) for fields in reversed(replies) if b"firing" in fields]


def _pair(name: str) -> tuple[str, str]:
    firing_id, _, channel = name.rpartition(" ")
    return firing_id, channel


def _logged(fields: Mapping[bytes, bytes]) -> Logged:
    deliveries = [
        msgspec.json.decode(value, type=Delivery)
        for name, value in sorted(fields.items())
        if name.startswith(_TO.encode())
    ]
    return Logged(_decode_firing(fields[b"firing"]), deliveries)
