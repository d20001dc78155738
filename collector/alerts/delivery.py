"""One try to send one firing to one channel, and what follows from how it ended.

accepted                                delivered
400, 401, 403, 404, 405, 410, 413, 422  dead letter at once: trying again changes nothing
429                                     again, after the time that the receiver names
all else, no answer                     again after a growing delay, `attempts_max` times
"""

import logging
import time
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import httpx
from msgspec import structs

from collector.alerts import channels
from collector.alerts.channels import APPRISE, Channel
from collector.alerts.engine import Firing
from collector.alerts.ledger import Delivery, Ledger
from collector.counters import Counter
from collector.errors import ConfigurationError
from collector.settings import AlertSettings
from collector.util.backoff import delay_s

EXTRA = "alerts"
#: Statuses by which a receiver refuses for good.
_REFUSED = frozenset({400, 401, 403, 404, 405, 410, 413, 422})
_RETRY_AFTER_MAX_S = 3600.0


class Outcome(NamedTuple):
    """How a try ended; `detail` has no address in it."""

    is_accepted: bool
    detail: str = ""
    is_final: bool = False
    retry_after_s: float | None = None


def attempt(ledger: Ledger, firing_id: str, channel_name: str, settings: AlertSettings) -> None:
    """Try one delivery, unless it was made already, and write how it ended.

    Raises:
        BrokerUnavailable: Redis does not answer: the delivery becomes due again.
    """
    found = ledger.delivery(firing_id, channel_name)
    if found is None:
        ledger.drop(firing_id, channel_name)
        return
    firing, delivery = found
    if delivery.state != "waiting":
        return
    try:
        by_name = channels.parse(settings.channels.get_secret_value())
        if channel_name not in by_name:
            raise ConfigurationError(f"no channel {channel_name} in COLLECTOR_ALERT__CHANNELS")
        outcome = send(by_name[channel_name], firing, settings)
    except ConfigurationError as error:
        outcome = Outcome(is_accepted=False, detail=str(error), is_final=True)
    _settle(ledger, firing_id, delivery, outcome, settings)


def _settle(
    ledger: Ledger, firing_id: str, delivery: Delivery, outcome: Outcome, settings: AlertSettings
) -> None:
    now_ms = time.time_ns() // 1_000_000
    attempts = delivery.attempts + 1
    tried = structs.replace(delivery, attempts=attempts, detail=outcome.detail, ms=now_ms)
    if outcome.is_accepted:
        ledger.settle(firing_id, structs.replace(tried, state="delivered"), Counter.ALERTS_DELIVERED, None)
    elif outcome.is_final or attempts >= settings.attempts_max:
        ledger.settle(firing_id, structs.replace(tried, state="dead"), Counter.ALERTS_DEAD, None)
    else:
        delay = delay_s(attempts, settings.backoff_initial_s, settings.backoff_max_s)
        delay = max(delay, min(outcome.retry_after_s or 0, _RETRY_AFTER_MAX_S))
        ledger.settle(firing_id, tried, Counter.ALERTS_RETRIED, now_ms + round(delay * 1000))


def send(channel: Channel, firing: Firing, settings: AlertSettings) -> Outcome:
    """Send a firing to a channel.

    Raises:
        ConfigurationError: it can't be sent with these settings.
    """
    if channel.kind == APPRISE:
        return _by_apprise(channel, firing)
    request = channels.request(
        channel,
        firing,
        secret=settings.webhook_secret.get_secret_value(),
        telegram_url=settings.telegram_url,
        now_s=int(time.time()),
    )
    limit = f"no answer within {settings.timeout_s:g} s"
    try:
        answer = _client().post(
            request.url, content=request.body, headers=request.headers, timeout=settings.timeout_s
        )
    except httpx.TimeoutException:
        return Outcome(is_accepted=False, detail=limit)
    except httpx.HTTPError as error:  # its text may have the address in it
        return Outcome(is_accepted=False, detail=f"can't be reached ({type(error).__name__})")
    except httpx.InvalidURL:
        raise ConfigurationError(f"the address of the channel {channel.name} is no URL") from None
    if answer.is_success:
        return Outcome(is_accepted=True)
    return Outcome(
        is_accepted=False,
        detail=f"answers {answer.status_code}",
        is_final=answer.status_code in _REFUSED,
        retry_after_s=channels.retry_after_s(answer.headers),
    )


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    """Return the client of this process; any thread may use it. It logs no address: they are secrets."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=10, keepalive_expiry=30))


def _by_apprise(channel: Channel, firing: Firing) -> Outcome:
    if find_spec("apprise") is None:
        raise ConfigurationError(
            f"the channel {channel.name} needs apprise: pip install 'bithumb-collector[{EXTRA}]'"
        )
    import apprise

    target = apprise.Apprise()
    if not target.add(channel.address):
        raise ConfigurationError(f"apprise does not understand the address of the channel {channel.name}")
    if target.notify(title=firing.text, body=channels.line(firing)):
        return Outcome(is_accepted=True)
    return Outcome(is_accepted=False, detail="apprise could not send it")
