"""Every error this package raises on purpose.

    CollectorError
    ├── ConfigurationError      settings or arguments the user can put right
    ├── ExchangeError           the exchange, or the way to it
    │   ├── ConnectFailed       a WebSocket could not be opened
    │   ├── GaveUp              the allowed number of reconnects is used up
    │   ├── RestError           a REST call failed or was refused
    │   │   ├── RestRefused     the exchange understood the call and refuses it: repeating it is no use
    │   │   ├── RestLimited     too many calls: all REST work has to rest
    │   │   └── RestUnreachable no answer at all
    │   └── MalformedMessage    a frame or reply that is not what the protocol promises
    └── PipelineError           between the batcher and the stored result
        ├── BrokerUnavailable   Redis refuses, is full or does not answer
        ├── SpoolFull           the disk buffer reached its bound
        ├── InvalidBatch        a batch that can't be decoded or breaks a promise
        ├── StoreConflict       too many concurrent writers on one candle: try again
        ├── LeaseLost           another listener serves this share
        └── NoData              a read that has nothing to answer with

Foreign exceptions are translated into these at the border where they arise. The message is one line that
says what to do; `exit_code` is what a command ends with.
"""


class CollectorError(Exception):
    """Root of everything raised on purpose."""

    exit_code = 1


class ConfigurationError(CollectorError):
    """A setting or an argument is unusable."""

    exit_code = 2


class ExchangeError(CollectorError):
    """The exchange refused, broke off, or said something unintelligible."""


class ConnectFailed(ExchangeError):
    """A WebSocket could not be opened.

    Attributes:
        status: the HTTP status of the refused handshake, or None where there was no HTTP answer.
        retry_after_s: seconds the server asked us to wait, or None.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class GaveUp(ExchangeError):
    """The allowed number of reconnects is used up."""


class RestError(ExchangeError):
    """A REST call failed or was refused."""


class RestRefused(RestError):
    """The exchange understood the call and refuses it: repeating it is no use."""


class RestLimited(RestError):
    """The exchange refuses because there were too many calls: all REST work has to rest."""


class RestUnreachable(RestError):
    """There was no answer at all: nothing can be said of the exchange."""


class MalformedMessage(ExchangeError):
    """A frame or reply that is not what the protocol promises.

    Attributes:
        reason: a short stable name, used as a counter label (`not_json`, `unknown_type`, `invalid_field` …).
        raw: the first bytes of the offending message.
    """

    KEPT_BYTES = 500

    def __init__(self, reason: str, detail: str, raw: bytes | str = b"") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.raw = (raw.encode() if isinstance(raw, str) else raw)[: self.KEPT_BYTES]


class PipelineError(CollectorError):
    """Something between the batcher and the stored result failed."""


class BrokerUnavailable(PipelineError):
    """Redis refuses, is full or does not answer."""


class SpoolFull(PipelineError):
    """The disk buffer reached its bound."""


class InvalidBatch(PipelineError):
    """A batch that can't be decoded or breaks a promise."""


class StoreConflict(PipelineError):
    """Too many concurrent writers on one candle: try again."""


class LeaseLost(PipelineError):
    """Another listener serves this share now."""


class NoData(PipelineError):
    """A read that has nothing to answer with (an unknown market, an empty window)."""
