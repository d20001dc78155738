"""Every setting, from the environment and `.env`: prefix `COLLECTOR_`, sections joined by `__`.

`REDIS_URL` alone has no prefix. The environment comes before `.env`; a variable that is set and empty stands
for the default. Units are part of the names. An unknown `COLLECTOR_` variable or a value out
of range is a `ConfigurationError` that names it: a typing slip must not run with a default in silence.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from collector.errors import ConfigurationError
from collector.market_names import is_name
from collector.model import Channel

PREFIX = "COLLECTOR_"
ENV_FILE = ".env"
_ALL_SETTINGS = "`collector check` lists all settings"
NESTING = "__"
_WEB = {"ws", "wss", "http", "https"}
_WITH_PORT = _WEB | {"redis", "rediss"}  # a list of sentinels has several, a socket file none
_CREDENTIALS = ("username", "password")
_DB_IN_PATH = ("redis", "rediss")
#: What may stand behind the question mark of `REDIS_URL`, beside `ssl_…`: Celery's transport refuses the rest
_REDIS_ARGUMENTS = (*_CREDENTIALS, "db", "virtual_host")
LEGACY_WEBSOCKET_URL = "wss://pubwss.bithumb.com/pub/ws"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Name of a field that was renamed -> its name now; both are understood.
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, values: Any) -> Any:  # noqa: ANN401 - whatever pydantic is given
        if not isinstance(values, dict):
            return values
        old = {name: values[name] for name in cls.renamed if name in values}
        now = {cls.renamed[name]: value for name, value in old.items()}
        return {**now, **{name: value for name, value in values.items() if name not in old}}


class ExchangeSettings(_Section):
    """Where the exchange is and how it is spoken to."""

    websocket_url: str = Field(
        "wss://ws-api.bithumb.com/websocket/v1",
        description="WebSocket address, `ws://` or `wss://`; for `legacy` the address of that socket",
    )
    rest_url: str = Field("https://api.bithumb.com", description="REST address, `http://` or `https://`")
    protocol: Literal["current", "legacy"] = Field("current", description="generation of the WebSocket API")
    format: Literal["DEFAULT", "SIMPLE"] = Field(
        "DEFAULT", description="requested field names: long or two-letter; both are accepted"
    )
    rest_timeout_s: float = Field(10, gt=0, le=60, description="limit for one REST call")
    rest_requests_per_s: float = Field(
        20, gt=0, le=100, description="REST budget of this process; the exchange allows 150 per address"
    )
    rest_blocked_s: float = Field(
        60, ge=0, le=3600, description="pause of all REST calls after the exchange's rate limit"
    )
    totals_interval_s: float = Field(
        60, ge=0, description="interval of reading the day's totals from REST, 200 markets a call; 0 = never"
    )
    rest_lag_max_s: float = Field(
        60,
        ge=0,
        le=3600,
        description="REST is taken to be this far behind at the most, where nothing shows how far it is",
    )
    market_refresh_s: float = Field(
        300, ge=1, description="how often the market list is read again for listings and delistings"
    )

    @model_validator(mode="after")
    def _goes_with_the_protocol(self) -> "ExchangeSettings":
        if self.protocol == "legacy" and "websocket_url" not in self.model_fields_set:
            return self.model_copy(update={"websocket_url": LEGACY_WEBSOCKET_URL})
        return self

    @field_validator("websocket_url")
    @classmethod
    def _is_websocket(cls, url: str) -> str:
        return _checked_url(url, {"ws", "wss"})

    @field_validator("rest_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _checked_url(url, {"http", "https"}).rstrip("/")


class ConnectionSettings(_Section):
    """One WebSocket's life."""

    renamed: ClassVar[Mapping[str, str]] = {"rest_ms": "coalesce_ms"}

    open_timeout_s: float = Field(10, gt=0, le=60, description="limit for the whole handshake")
    ping_interval_s: float = Field(
        20, ge=5, le=30, description="keepalive; the exchange cuts a socket idle for 60 s"
    )
    ping_timeout_s: float = Field(20, gt=0, le=60, description="limit for the pong")
    close_timeout_s: float = Field(2, gt=0, le=10, description="limit for the closing handshake")
    max_frame_bytes: int = Field(1 << 20, ge=1 << 12, description="a larger frame closes the socket")
    connects_per_s: float = Field(
        1, gt=0, le=5, description="connection budget of this process; the exchange blocks above 10"
    )
    backoff_initial_s: float = Field(0.5, gt=0, le=60, description="mean of the first reconnect delay")
    backoff_factor: float = Field(2, ge=1, le=10, description="growth of the delay per failed attempt")
    backoff_max_s: float = Field(30, gt=0, le=3600, description="ceiling of the delay")
    blocked_wait_s: float = Field(
        60, ge=0, le=3600, description="least wait after HTTP 429; the exchange blocks for 10 minutes"
    )
    healthy_after_s: float = Field(
        10, gt=0, description="data must flow this long before the reconnect delay is reset"
    )
    retries_max: int = Field(0, ge=0, description="give up after so many failures in a row; 0 = never")
    first_message_timeout_s: float = Field(
        15, gt=0, le=120, description="limit from the subscription to the first data"
    )
    stall_min_s: float = Field(15, gt=0, description="a shorter silence is never a stall")
    stall_max_s: float = Field(
        120, gt=0, description="a channel silent this long is stalled, whatever its usual interval"
    )
    stagger_s: float = Field(0.5, ge=0, le=60, description="delay between the starts of redundant sockets")
    coalesce_ms: float = Field(
        15,
        ge=0,
        le=100,
        description="cycle in which sockets are read, and by which `received_ms` may be late; 0 disables it",
    )
    refresh_h: float = Field(
        0, ge=0, description="replace each socket after so many hours, new before old; 0 = never"
    )


class BatchSettings(_Section):
    """When a batch is full."""

    renamed: ClassVar[Mapping[str, str]] = {"shards": "trade_queues"}

    max_rows: int = Field(2000, ge=1, le=10_000, description="most rows in a batch")
    max_bytes: int = Field(1 << 20, ge=1 << 10, le=8 << 20, description="approximate size before compression")
    max_age_ms: int = Field(
        25,
        ge=1,
        le=60_000,
        description="added batching latency: age of the oldest row when a batch is closed; "
        "few trades from a third of it on, books at 1.6 times, tickers at three times",
    )
    trade_queues: int = Field(1, ge=1, le=64, description="queues `trade.0 … trade.N-1`; 1 = just `trade`")


class PublishSettings(_Section):
    """Handing batches to Celery."""

    queue_batches: int = Field(256, ge=8, description="most batches that wait for the publisher")
    socket_timeout_s: float = Field(5, gt=0, le=60, description="limit for one Redis reply")
    probe_interval_s: float = Field(0.5, gt=0, le=60, description="how often queue lengths are read")
    confirm_timeout_s: float = Field(
        15, ge=1, le=3600, description="trades not confirmed as stored after this time are sent again"
    )
    lease_ttl_s: float = Field(
        6, ge=1, le=300, description="a standby takes over this long after the listener died"
    )
    state_expires_s: int = Field(10, ge=1, description="a ticker or book batch older than this is dropped")


class SpoolSettings(_Section):
    """The disk buffer for trades while the broker is away."""

    max_mb: int = Field(2048, ge=1, description="limit of the whole spool")
    segment_mb: int = Field(16, ge=1, le=1024, description="size of one file")
    fsync_interval_ms: int = Field(200, ge=0, le=10_000, description="0 = after every batch")
    drain_batches_per_s: float = Field(100, gt=0, description="rate at which the spool is sent to the broker")


class PressureSettings(_Section):
    """The marks between FLOW, MERGE and SPOOL: high enters, low leaves, held for `hold_s`."""

    queue_high: int = Field(
        200,
        ge=2,
        description="batches in a trade queue above which MERGE starts, tickers or books: an eighth",
    )
    queue_low: int = Field(
        50, ge=1, description="batches below which FLOW may return, tickers or books: an eighth"
    )
    queue_max: int = Field(2000, ge=4, description="batches in the trade queue above which trades go to disk")
    age_high_ms: int = Field(
        5_000, ge=1, description="age of the oldest waiting batch that starts MERGE, tickers or books: half"
    )
    age_low_ms: int = Field(
        1_000, ge=1, description="age below which FLOW may return, tickers or books: half"
    )
    redis_memory_high: float = Field(
        0.8, gt=0, le=1, description="share of Redis `maxmemory` that starts SPOOL"
    )
    redis_memory_low: float = Field(0.6, gt=0, le=1, description="share below which SPOOL may end")
    local_fill_high: float = Field(0.5, gt=0, le=1, description="share of the local queue that starts MERGE")
    local_fill_low: float = Field(0.1, ge=0, le=1, description="share below which FLOW may return")
    hold_s: float = Field(
        3, ge=0, le=600, description="how long all figures must be low before a better mode is entered"
    )
    memory_limit_mb: int = Field(512, ge=64, description="ceiling for this listener's own memory")


class StoreSettings(_Section):
    """How long Redis keeps what the workers computed."""

    key_prefix: str = Field(
        "bithumb:", pattern=r"^[\w:.-]*$", description="prefix of all keys except the queues"
    )
    candle_retention_h: int = Field(72, ge=25, description="one-minute candles")
    trade_retention_h: int = Field(
        6, ge=1, description="single trades and their ids, after the last write of their minute"
    )
    gap_retention_h: int = Field(72, ge=1, description="gaps")
    events_max: int = Field(
        1_000_000, ge=0, description="entries of the event stream, one per market in a batch; 0 = no stream"
    )
    event_retention_minutes: int = Field(
        60, ge=1, description="how long the event stream is kept, no longer than single trades"
    )
    dead_letters_max: int = Field(1000, ge=1, description="dead letters kept; the oldest are dropped first")


class WorkerSettings(_Section):
    """Celery workers."""

    concurrency: int = Field(2, ge=1, le=64, description="processes of a worker that is started without `-c`")
    visibility_timeout_s: int = Field(
        60, ge=5, description="an unacknowledged batch is delivered again after"
    )
    attempts_max: int = Field(5, ge=1, description="tries before a batch becomes a dead letter")
    analysis_rate_limit: str = Field(
        "50/s", description="tasks of each analysis in each worker: `50/s`, `5/m`, `1/h`; no mode is faster"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus on loopback; 0 = off")

    @field_validator("analysis_rate_limit")
    @classmethod
    def _is_a_rate(cls, limit: str) -> str:
        return _checked_rate(limit)


class AnalysisSettings(_Section):
    """What the workers on the queue `analysis` do by themselves."""

    periodic: str = Field(
        "",
        description="periodic analyses, `name [market] [window]`, separated by semicolons; docs/analyses.md",
    )
    periodic_s: float = Field(60, ge=1, le=86_400, description="interval of periodic analyses")
    periodic_kept: int = Field(60, ge=1, le=100_000, description="results of each that are kept")
    book_samples_s: float = Field(10, ge=0, le=3600, description="how often books are sampled; 0 = never")
    book_samples_kept: int = Field(360, ge=2, le=100_000, description="samples of a book that are kept")


class AuditSettings(_Section):
    """Comparing our one-minute candles with the exchange's."""

    enabled: bool = Field(True, description="whether the listener compares every closed minute")
    requests_per_s: float = Field(
        5, gt=0, le=50, description="most calls for it, within COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S"
    )
    interval_s: float = Field(
        60, ge=1, le=3600, description="minutes of a market are compared once this time of them is new"
    )
    settle_s: float = Field(
        3, ge=0, le=600, description="time after the end of a minute before it is compared"
    )
    daily: bool = Field(
        True,
        description="whether each KST day is compared as a whole once it is over",
    )


class ArchiveSettings(_Section):
    """Parquet files of what Redis keeps for some days only."""

    enabled: bool = Field(True, description="whether workers on the queue `archive` write Parquet files")
    interval_s: float = Field(
        300,
        ge=5,
        le=3600,
        description="how often new trades and candles are written, tickers and books sampled",
    )
    compact_after_h: int = Field(72, ge=1, description="the hours of a day become one file after this time")
    retention_days: int = Field(0, ge=0, description="older days are removed; 0 = never")
    query_memory_mb: int = Field(
        1024,
        ge=64,
        description="DuckDB's memory limit of a SQL query; one that needs more ends with an error",
    )
    query_threads: int = Field(2, ge=1, le=256, description="threads of a SQL query")


class RedisSettings(_Section):
    """The embedded server where `REDIS_URL` is empty, and options that an address cannot contain."""

    max_memory_mb: int = Field(1024, ge=32, description="embedded: `maxmemory`; policy `noeviction`")
    start_timeout_s: float = Field(10, gt=0, le=120, description="embedded: limit for the first answer")
    sentinel_master: str = Field(
        "mymaster", min_length=1, description="`sentinel://`: the name of the master"
    )
    sentinel_password: SecretStr = Field(
        SecretStr(""), description="`sentinel://`: password of the Sentinels, not of Redis"
    )
    tls_ca_file: str = Field(
        "", description="`rediss://`: file of the certificate authority; empty: the system's"
    )
    tls_cert_file: str = Field("", description="`rediss://`: client certificate, where Redis requires one")
    tls_key_file: str = Field("", description="`rediss://`: key of the client certificate")

    @field_validator("tls_ca_file", "tls_cert_file", "tls_key_file")
    @classmethod
    def _is_there(cls, path: str) -> str:
        if path and not Path(path).is_file():
            raise ValueError(f"there is no file {path}")
        return path


class HealthSettings(_Section):
    """Reports of a listener."""

    interval_s: float = Field(1, gt=0, le=60, description="how often health is written to Redis")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus on loopback; 0 = off")


class ServeSettings(_Section):
    """`collector serve`: API, live events and the page."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; any but loopback needs a token"
    )
    port: int = Field(8000, ge=0, le=65535, description="port; 0 = a free one")
    token: SecretStr = Field(
        SecretStr(""), description="what clients have to show; empty = none, on loopback only"
    )
    host_names: str = Field("", description="further names this server is called by, comma-separated")
    clients_max: int = Field(250, ge=1, le=10_000, description="subscribers at once")
    queue_max: int = Field(
        20_000, ge=100, description="trades that may wait for one subscriber before it is cut"
    )
    messages_per_s: float = Field(20, gt=0, description="messages a WebSocket client may send")


class AlertSettings(_Section):
    """Rules, and where their firings go; docs/alerts.md."""

    rules: str = Field(
        "system",
        description="alert rules, separated by semicolons, beside those of `alert add`; or `none`",
    )
    channels: SecretStr = Field(
        SecretStr(""),
        description="where firings go: `name=address`, separated by spaces; empty = to the log alone",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="signs webhooks (standardwebhooks.com): `whsec_` and base64, or any text"
    )
    telegram_url: str = Field("https://api.telegram.org", description="address of Telegram's Bot API")
    rate_limit: str = Field("10/s", description="most deliveries of one worker: `10/s`, `30/m`")
    timeout_s: float = Field(10, gt=0, le=30, description="limit for one delivery")
    attempts_max: int = Field(12, ge=1, le=100, description="tries before a delivery is a dead letter")
    backoff_initial_s: float = Field(
        1, gt=0, le=600, description="delay after the first failed try; it doubles each time"
    )
    backoff_max_s: float = Field(600, gt=0, le=86_400, description="ceiling of that delay")
    silence_s: float = Field(60, ge=5, description="rule `system`: no data for so long is a trouble")
    log_max: int = Field(10_000, ge=1, description="firings that `collector alert log` keeps")
    log_retention_h: int = Field(168, ge=1, description="how long a firing and its deliveries are kept")

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, limit: str) -> str:
        return _checked_rate(limit)

    @field_validator("telegram_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _checked_url(url, {"http", "https"}).rstrip("/")


class LogSettings(_Section):
    """Log lines on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
    )
    format: Literal["console", "json"] = Field("console", description="text or JSON lines")


#: Arguments of a `rediss://` address that would accept any server.
_UNCHECKED_TLS = {
    *(("ssl_cert_reqs", value) for value in ("none", "optional", "cert_none", "cert_optional")),
    *(("ssl_check_hostname", value) for value in ("false", "0", "no", "f", "n")),
}


class Settings(BaseSettings):
    """All settings, immutable, read once at start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=NESTING,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",  # other programs' variables in .env; our own are checked by `unknown_variables`
        frozen=True,
        populate_by_name=True,
    )

    redis_url: SecretStr = Field(
        SecretStr(""), validation_alias="REDIS_URL", description="broker and store; empty: a private server"
    )
    data_dir: Path = Field(Path("data"), description="spool, embedded Redis, recordings, archive")
    time_zone: str = Field(
        "Asia/Seoul",
        description="time zone of tables, of SQL, and of times without an offset",
    )
    markets: Annotated[tuple[str, ...], NoDecode] = Field(
        ("KRW-*",), description="comma-separated markets like `KRW-BTC` or `btc`; `*` allowed"
    )
    channels: Annotated[tuple[Channel, ...], NoDecode] = Field(
        (Channel.TICKER, Channel.ORDERBOOK, Channel.TRADE), description="comma-separated channels"
    )
    redundancy: int = Field(2, ge=1, le=4, description="sockets that carry the same subscription")
    shard: str = Field("1/1", pattern=r"^[1-9]\d*/[1-9]\d*$", description="shard of this listener, `i/n`")

    exchange: ExchangeSettings = ExchangeSettings()
    connection: ConnectionSettings = ConnectionSettings()
    batch: BatchSettings = BatchSettings()
    publish: PublishSettings = PublishSettings()
    spool: SpoolSettings = SpoolSettings()
    pressure: PressureSettings = PressureSettings()
    store: StoreSettings = StoreSettings()
    worker: WorkerSettings = WorkerSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    audit: AuditSettings = AuditSettings()
    archive: ArchiveSettings = ArchiveSettings()
    redis: RedisSettings = RedisSettings()
    health: HealthSettings = HealthSettings()
    serve: ServeSettings = ServeSettings()
    alert: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let a variable that is set and empty stand for the default, also over `.env`."""
        assert isinstance(dotenv_settings, EnvSettingsSource)  # noqa: S101 - its base class
        empty = {name.lower() for name, value in os.environ.items() if not value}
        known = dotenv_settings.env_vars.items()
        dotenv_settings.env_vars = {name: value for name, value in known if name.lower() not in empty}
        return init_settings, env_settings, dotenv_settings

    @field_validator("markets", "channels", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:
            raise ValueError("is an empty list")
        return parts

    @field_validator("markets")
    @classmethod
    def _are_market_patterns(cls, markets: tuple[str, ...]) -> tuple[str, ...]:
        for market in markets:
            if not is_name(market):
                raise ValueError(f"{market!r} is not a market like KRW-BTC or a pattern like KRW-*")
        return markets

    @field_validator("data_dir")
    @classmethod
    def _is_expanded(cls, data_dir: Path) -> Path:
        return data_dir.expanduser()  # no shell has read `.env`

    @field_validator("time_zone")
    @classmethod
    def _is_a_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone like Asia/Seoul or UTC") from None
        return name

    @field_validator("shard")
    @classmethod
    def _is_a_share(cls, shard: str) -> str:
        index, count = map(int, shard.split("/"))
        if index > count:
            raise ValueError(f"{shard!r}: the first number must not be above the second")
        return shard

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value():
            text = _checked_url(
                url.get_secret_value(), {"redis", "rediss", "unix", "sentinel", "redis+socket"}
            )
            if _UNCHECKED_TLS & set(parse_qsl(urlsplit(text).query.lower())):
                raise ValueError(
                    "must not disable the certificate check: put its authority's file into"
                    " COLLECTOR_REDIS__TLS_CA_FILE"
                )
            _check_arguments(text)
            return SecretStr(";".join(map(_usual_form, text.split(";"))))
        return url

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of `time_zone`."""
        return ZoneInfo(self.time_zone)

    @property
    def shard_index(self) -> int:
        """Which share, from 0."""
        return int(self.shard.split("/")[0]) - 1

    @property
    def shard_count(self) -> int:
        """Of how many shares."""
        return int(self.shard.split("/")[1])


def _checked_rate(limit: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,8}/[smh]", limit):
        raise ValueError(f"{limit!r} is not a rate: write 50/s, 5/m or 1/h")
    return limit


def _checked_url(url: str, schemes: set[str]) -> str:
    """Return `url` if it is an address of one of `schemes`; it may hold a password, so no error shows it."""
    try:
        parts = urlsplit(url)
        _ = parts.port if parts.scheme in _WITH_PORT else None  # raises ValueError for a broken one
    except ValueError:
        raise ValueError("has a broken host or port; in a password, write :/?#[]@ as %3A and so on") from None
    place = parts.hostname if parts.scheme in _WEB else parts.netloc or parts.path
    if parts.scheme not in schemes or not place:
        raise ValueError(
            f"must be an address that starts with {' or '.join(f'{s}://' for s in sorted(schemes))}"
        )
    if parts.scheme in _WEB and "@" in parts.netloc:
        raise ValueError(
            "must not contain a user or a password: the exchange needs none, and it would be logged"
        )
    return url


def _arguments(url: str) -> dict[str, str]:
    """Return what stands behind the question mark of an address, names in lower case."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return {name.lower(): value for name, value in pairs}


def _check_arguments(urls: str) -> None:
    """Refuse what redis-py and Celery's transport read differently, or not at all; it may hold a secret."""
    for url in urls.split(";"):
        taken = _REDIS_ARGUMENTS + tuple(name for name in _arguments(url) if name.startswith("ssl_"))
        if not set(_arguments(url)) <= set(taken if url.startswith("rediss:") else _REDIS_ARGUMENTS):
            raise ValueError(
                "may contain only username, password and db after the question mark:"
                " timeouts are settings; in a password, write ? as %3F"
            )
        databases = {_arguments(url).get("db", "0")}
        if url.startswith(("redis:", "rediss:")):
            databases.add(urlsplit(url).path.strip("/") or "0")
        if not all(database.isdecimal() for database in databases):
            raise ValueError("must end with the number of a database: redis://host:6379/0")


def _usual_form(url: str) -> str:
    """Write `redis://host?db=1&username=me&password=secret` as `redis://me:secret@host/1`.

    redis-py understands both, Celery's transport and Flower's masking of passwords the second only.
    """
    parts = urlsplit(url)
    arguments = _arguments(url)
    named = {name: quote(arguments.pop(name), safe="") for name in _CREDENTIALS if name in arguments}
    netloc, path = parts.netloc, parts.path
    if named:
        user, password = parts.username or "", parts.password or ""
        secret = f"{user or named.get('username', '')}:{password or named.get('password', '')}"
        netloc = f"{secret}@{netloc.rpartition('@')[2]}"
    if parts.scheme in _DB_IN_PATH and "db" in arguments:
        path = f"/{arguments.pop('db')}"
    query = f"?{urlencode(arguments, safe='/:')}" if arguments else ""
    return f"{parts.scheme}://{netloc}{path}{query}"


def variable_names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, Any]]:
    """Yield (environment variable, pydantic field) for every setting, in the order of declaration."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            yield from variable_names(field.annotation, f"{prefix}{name.upper()}{NESTING}")
        else:
            yield str(field.validation_alias or f"{prefix}{name.upper()}"), field


def old_names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> dict[str, str]:
    """Return the variables that were renamed, each with its name now; both are understood."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            section = f"{prefix}{name.upper()}{NESTING}"
            for old, now in field.annotation.renamed.items():
                found[f"{section}{old.upper()}"] = f"{section}{now.upper()}"
    return found


def unknown_variables(environment: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each `COLLECTOR_` variable that is no setting."""
    known = [name for name, _ in variable_names()]
    bare_names = [name.removeprefix(PREFIX) for name in known]  # the prefix alone would look similar
    sentences = []
    for variable in environment:
        name = variable.upper()
        if not name.startswith(PREFIX) or name in known or name in old_names():
            continue
        bare = name.removeprefix(PREFIX)  # REDIS_URL has no prefix
        close = difflib.get_close_matches(bare, bare_names, n=1)
        hint = f"did you mean {known[bare_names.index(close[0])]}?" if close else _ALL_SETTINGS
        sentences.append(f"{variable} is not a setting: {hint}")
    return sentences


def load() -> Settings:
    """Read the settings from the process environment and `.env`.

    Raises:
        ConfigurationError: an unknown variable or a value out of range; the message names it.
    """
    try:
        unknown = unknown_variables({**dotenv_values(ENV_FILE), **os.environ})
        if unknown:
            raise ConfigurationError("; ".join(unknown))
        if strange := _not_text(os.environ):
            raise ConfigurationError(f"{', '.join(strange)}: is not UTF-8 text")
        settings = Settings()
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_sentence, error.errors(include_input=False)))) from None
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{ENV_FILE} cannot be read: {error}") from None
    _check_order(settings)
    return settings


@lru_cache(maxsize=1)
def current() -> Settings:
    """Return this process's settings, read once."""
    return load()


def _not_text(environment: Mapping[str, str]) -> list[str]:
    """Return the names of our variables whose bytes are no UTF-8."""
    known = {name for name, _ in variable_names()}
    ours = {name: value for name, value in environment.items() if name.upper() in known}
    return [name for name, value in ours.items() if value != value.encode(errors="replace").decode()]


def _sentence(error: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"] if not isinstance(part, int)]
    name = location[0] if location[:1] == ["REDIS_URL"] else PREFIX + NESTING.join(location).upper()
    return f"{name}: {error['msg'].removeprefix('Value error, ')}"


def _check_order(settings: Settings) -> None:
    for section, low, high in _ORDERED:
        values = getattr(settings, section)
        if getattr(values, low) >= getattr(values, high):
            prefix = f"{PREFIX}{section.upper()}{NESTING}"
            raise ConfigurationError(
                f"{prefix}{low.upper()} ({getattr(values, low)}) must be below"
                f" {prefix}{high.upper()} ({getattr(values, high)})"
            )


#: Pairs of settings (section, lower, higher) that make sense only in this order.
_ORDERED = (
    ("pressure", "queue_low", "queue_high"),
    ("pressure", "queue_high", "queue_max"),
    ("pressure", "age_low_ms", "age_high_ms"),
    ("pressure", "redis_memory_low", "redis_memory_high"),
    ("pressure", "local_fill_low", "local_fill_high"),
    ("connection", "stall_min_s", "stall_max_s"),
)


def reference() -> str:
    """Return all settings as a Markdown table; `docs/settings.md` is this text."""
    lines = [
        "# Settings",
        "",
        "Settings come from the environment, then from `.env`. A variable that is set and empty stands for",
        "the default. This page is the output of `python -m collector.settings > docs/settings.md`.",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
    ]
    before = {now: old for old, now in old_names().items()}
    for name, field in variable_names():
        default = field.get_default()
        shown = default.get_secret_value() if isinstance(default, SecretStr) else default
        text = ",".join(shown) if isinstance(shown, tuple) else str(shown)
        old = f" (formerly `{before[name]}`, still accepted)" if name in before else ""
        lines.append(f"| `{name}` | {f'`{text}`' if text else 'empty'} | {field.description}{old} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference())
