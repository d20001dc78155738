"""Whether a Redis is safe for our data, decided from its `INFO`. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

#: Less than this holds minutes of the exchange at the most; the embedded server has no less either.
SMALL_BYTES = 32 << 20


class Kind(StrEnum):
    """What may be wrong; the names are labels of `bithumb_redis_problem`."""

    EVICTS = "evicts"
    SMALL = "small"
    NO_LIMIT = "no_limit"
    NEARLY_FULL = "nearly_full"
    LOADING = "loading"
    IN_MEMORY = "in_memory"
    DISK = "disk"


#: Kinds by which stored data or batches are lost.
LOSING = frozenset({Kind.EVICTS, Kind.DISK})
#: Kinds that are about memory; the others are about the disk.
OF_MEMORY = frozenset({Kind.EVICTS, Kind.SMALL, Kind.NO_LIMIT, Kind.NEARLY_FULL})
#: Kinds that a listener logs when it starts: they will not pass by themselves.
WORTH_A_WARNING = frozenset({Kind.EVICTS, Kind.SMALL, Kind.DISK})


class Problem(Struct, frozen=True):
    """One thing that is wrong, and what to do about it."""

    kind: Kind
    detail: str


class Condition(Struct, frozen=True):
    """Memory of a Redis and what is wrong with it; a limit of 0 is none."""

    memory_bytes: int
    memory_limit_bytes: int
    policy: str
    problems: list[Problem]


def condition_of(info: Mapping[str, Any], nearly_full: float) -> Condition:
    """Return the condition of a Redis from its `INFO`.

    Args:
        nearly_full: share of the limit above which trades go to disk.
    """
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "unknown"))
    found = {
        Kind.EVICTS: limit and policy != "noeviction",
        Kind.SMALL: 0 < limit < SMALL_BYTES,
        Kind.NO_LIMIT: not limit,
        Kind.NEARLY_FULL: limit and used > nearly_full * limit,
        Kind.LOADING: int(info.get("loading", 0)),
        Kind.IN_MEMORY: not int(info.get("aof_enabled", 0)),
        Kind.DISK: "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")),
    }
    details = {
        Kind.EVICTS: (
            f"policy {policy} may throw batches away when memory is short:"
            " `CONFIG SET maxmemory-policy noeviction`"
        ),
        Kind.SMALL: f"{limit / 1e6:.1f} MB hold minutes at the most: `CONFIG SET maxmemory 1gb`",
        Kind.NO_LIMIT: "no limit: `CONFIG SET maxmemory 1gb`, so that the machine never gets full",
        Kind.NEARLY_FULL: "nearly full: trades go to disk until there is room",
        Kind.LOADING: "still loading its data: try again in a moment",
        Kind.IN_MEMORY: (
            "no append-only file: batches and results are lost when it ends: `CONFIG SET appendonly yes`"
        ),
        Kind.DISK: "it can't write to its disk, and takes nothing until it can: make room there",
    }
    problems = [Problem(kind, details[kind]) for kind in Kind if found[kind]]
    return Condition(used, limit, policy, problems)
