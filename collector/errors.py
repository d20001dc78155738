"""All errors of this package.

    CollectorError
    ├── ConfigurationError      invalid settings or arguments
    ├── ExchangeError           errors of the exchange or of the connection to it
    │   ├── ConnectFailed       a WebSocket could not be opened
    │   ├── GaveUp              the allowed number of reconnects is used up
    │   ├── RestError           a REST call failed or was refused
    │   │   ├── RestRefused     the exchange refused the call; a retry is useless
    │   │   ├── RestLimited     rate limit; all REST calls must pause
    │   │   └── RestUnreachable no answer
    │   └── MalformedMessage    a frame or reply that violates the protocol
    └── PipelineError           between the batcher and the stored result
        ├── BrokerUnavailable   Redis refuses, is full or does not answer
        ├── SpoolFull           the spool has reached its size limit
        ├── InvalidBatch        a batch that cannot be decoded or violates the contract
        ├── StoreConflict       too many concurrent writers on one candle: try again
        ├── LeaseLost           another listener serves this shard
        └── NoData              a read without a result

Exceptions of libraries are translated into these where they occur. The message is one line with a remedy;
`exit_code` is the exit status of a command.
"""


class CollectorError(Exception):
    """Base class of all errors of this package."""

    exit_code = 1


class ConfigurationError(CollectorError):
    """A setting or an argument is invalid."""

    exit_code = 2


class ExchangeError(CollectorError):
    """The exchange refused, disconnected, or sent something that cannot be parsed."""


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
    """The exchange refused the call; a retry is useless."""


class RestLimited(RestError):
    """The rate limit is reached; all REST calls must pause."""


class RestUnreachable(RestError):
    """There was no answer, so the state of the exchange is unknown."""


class MalformedMessage(ExchangeError):
    """A frame or reply that violates the protocol.

    Attributes:
        reason: short stable name, used as a counter label (`not_json`, `unknown_type`, `invalid_field` …).
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
    """The spool has reached its size limit."""


class InvalidBatch(PipelineError):
    """A batch that cannot be decoded or violates the contract."""


class StoreConflict(PipelineError):
    """Too many concurrent writers on one candle: try again."""


class LeaseLost(PipelineError):
    """Another listener serves this shard now."""


class NoData(PipelineError):
    """A read without a result: an unknown market, or an empty window."""
