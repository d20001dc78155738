"""The parts that hand batches on, made from settings: for a listener, and for one on standby."""

from collections.abc import Callable
from pathlib import Path

import redis

from collector.clock import Clock
from collector.publish.in_flight import InFlightLog
from collector.publish.probe import Probe
from collector.publish.publisher import Transport, times_of
from collector.publish.sender import Names
from collector.publish.spool import Spool
from collector.routing import ANALYSIS, ORDERBOOK, TICKER, trade_queues
from collector.settings import Settings
from collector.store.keys import Keys


def spool_folder(settings: Settings) -> Path:
    """Return where batches of this share wait on disk."""
    return settings.data_dir / "spool" / settings.shard.replace("/", "of")


def new_spool(settings: Settings, clock: Clock) -> Spool:
    """Open the spool of this share.

    Args:
        clock: the exchange's time at best: it is compared with the times of trades.

    Raises:
        ConfigurationError: the folder can't be used, or has an owner.
    """
    return Spool(
        spool_folder(settings),
        max_bytes=settings.spool.max_mb << 20,
        segment_bytes=settings.spool.segment_mb << 20,
        fsync_interval_s=settings.spool.fsync_interval_ms / 1000,
        clock=clock,
        times_of=times_of,
    )


def new_in_flight_log(
    settings: Settings,
    client: redis.Redis,
    transport: Transport,
    now_ms: Callable[[], int],
    on_unreadable: Callable[[int], None],
) -> InFlightLog:
    """Return a transport that keeps facts in mind until they are stored; arguments as of `InFlightLog`."""
    keys = Keys(settings.store.key_prefix)
    names = Names(keys.unconfirmed, keys.unconfirmed_due, keys.unconfirmed_from)
    timeout_ms = round(settings.publish.confirm_timeout_s * 1000)
    return InFlightLog(client, transport, names, timeout_ms, now_ms, on_unreadable)


def new_probe(settings: Settings, client: redis.Redis, clock: Clock) -> Probe:
    """Return what reads how full the queues are."""
    trades = trade_queues(settings.batch.trade_queues)
    return Probe(
        client,
        [*trades, ORDERBOOK, TICKER, ANALYSIS],
        aged=[*trades, ORDERBOOK, TICKER],
        clock=clock,
        starts_key=Keys(settings.store.key_prefix).workers_started,
    )
