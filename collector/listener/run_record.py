"""Since when this listener has brought trades, on its own disk: Redis may be emptied while nobody listens."""

import hashlib
import logging
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from collector.settings import Settings
from collector.util.atomic_file import replacing

log = logging.getLogger(__name__)

FOLDER = "listener"


class RunRecord(Struct, frozen=True):
    """What runs of a listener have brought, one after the other.

    Attributes:
        since_ms: from when on, by the exchange's time, epoch ms.
        markets: of which markets.
        store: which Redis it went to.
    """

    since_ms: int
    markets: tuple[str, ...]
    store: str


class RunRecords:
    """The file of one share. One that can't be read or written is logged, and stops nothing."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.data_dir / FOLDER / f"{settings.shard.replace('/', 'of')}.json"
        self._store = store_name(settings.redis_url.get_secret_value(), settings.store.key_prefix)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def read(self) -> RunRecord | None:
        """Return what was written for this Redis, None for nothing."""
        try:
            record = msgspec.json.decode(self._path.read_bytes(), type=RunRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s can't be read, and is written anew: %s", self._path, error)
            return None
        return record if record.store == self._store else None

    def write(self, since_ms: int, markets: tuple[str, ...]) -> None:
        """Remember what is brought now."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path) as path:
                path.write_bytes(msgspec.json.encode(RunRecord(since_ms, markets, self._store)))
        except OSError as error:
            log.warning("%s can't be written: %s", self._path, error)


def store_name(url: str, prefix: str) -> str:
    """Return a name of a Redis by host and database: ports of a private server and passwords change."""
    hosts = ",".join(
        f"{part.hostname or ''}{part.path}" for part in map(urlsplit, filter(None, url.split(";")))
    )
    return hashlib.sha256(f"{hosts} {prefix}".encode()).hexdigest()[:16]
