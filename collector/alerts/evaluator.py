"""The thread that evaluates alert rules, in a worker that takes the queue `alert`.

Of several workers one evaluates. Another goes on where it stopped, seconds after its death.
"""

import logging
import threading
import time
import uuid

from collector.alerts.evaluation import Deliver, Evaluation
from collector.alerts.ledger import Ledger
from collector.errors import CollectorError
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.redis_client import connect, translated
from collector.util.backoff import delay_s

log = logging.getLogger(__name__)

#: Trades gather for so long between two reads; a read costs Redis more than a trade.
_GATHER_S = 0.1
#: How often it is looked whether the rules changed and this worker is still the one.
_LOOK_S = 1.0
_LEASE_MS = 5_000
_RETRY_S = (0.2, 5.0)


class Evaluator(threading.Thread):
    """Evaluates until stopped.

    Args:
        url: of Redis.
        deliver: hands a delivery (firing id, channel) to the workers.
    """

    def __init__(self, url: str, settings: Settings, deliver: Deliver) -> None:
        super().__init__(name="alerts", daemon=True)
        self._client = connect(url, settings)
        self._settings, self._deliver = settings, deliver
        self._ledger = Ledger(self._client, settings)
        self._lease = Keys(settings.store.key_prefix).alert("evaluator")
        self._token = uuid.uuid4().hex.encode()
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """End the thread at its next cycle; what it leaves undone the next one does."""
        self._stop_asked.set()

    def run(self) -> None:
        """Evaluate until stopped; what is committed while Redis is away, or none evaluates, is not missed."""
        failures = 0
        while not self._stop_asked.is_set():
            try:
                if self._is_ours():
                    self._evaluate()
                failures = 0
                self._stop_asked.wait(_LOOK_S)
                continue
            except CollectorError as error:
                failures += 1
                if failures == 1:
                    log.warning("alerts: %s; trying on", error)
            except Exception:  # a thread that ended would leave all alerts out in silence
                failures += 1
                log.exception("alerts failed; trying on")
            self._stop_asked.wait(delay_s(failures, *_RETRY_S))
        self._release()
        self._client.close()

    def _evaluate(self) -> None:
        """Evaluate the rules of now, until they change or another worker has taken over."""
        rules = self._ledger.rules()
        evaluation = Evaluation(self._client, self._settings, rules, self._deliver)
        looked_s = time.monotonic()
        while not self._stop_asked.is_set():
            if not evaluation.turn():
                self._stop_asked.wait(_GATHER_S)
            if time.monotonic() - looked_s < _LOOK_S:
                continue
            looked_s = time.monotonic()
            if not self._is_ours():
                return
            now = self._ledger.rules()
            if now != rules:
                evaluation.close()
                rules = now
                evaluation = Evaluation(self._client, self._settings, rules, self._deliver)
        evaluation.close()

    def _is_ours(self) -> bool:
        """Return whether this worker is the one that evaluates, for some seconds more."""
        with translated():
            if self._client.set(self._lease, self._token, nx=True, px=_LEASE_MS):
                return True
            is_ours: bool = self._client.get(self._lease) == self._token
            return is_ours and bool(self._client.pexpire(self._lease, _LEASE_MS))

    def _release(self) -> None:
        try:
            with translated():
                if self._client.get(self._lease) == self._token:
                    self._client.delete(self._lease)
        except CollectorError as error:
            log.info("alerts: %s", error)
