"""Every key in Redis that is ours, in one place.

    key (after the prefix)         type    holds                                            lives
    candle:{market}:{yyyymmdd}     HASH    minute open (epoch ms) -> candle, msgpack, see   candle_retention_h
                                           `collector.store.minute_layout`
    trades:{market}:{minute_ms}    LIST    chunks of trades, as above                       trade_retention_h
    events                         STREAM  what was counted, `collector.store.event_log`    event_retention_…
    changed                        -       publish/subscribe: names of the tickers and books  not stored
                                           that were written, separated by spaces
    ticker:{market}                HASH    `stamp` (what is compared), `value` (JSON)       for ever
    book:{market}                  HASH    `stamp`, `0`, `1`, see                           for ever
                                           `collector.store.book_layout`
    gaps:{market}                  HASH    `channel:from_ms:reason` -> `[to_ms, reason,     gap_retention_h
                                           recovered]`
    markets                        SET     every market ever seen                           for ever
    listings                       HASH    market -> what the list of markets last said,   for ever
                                           JSON, written by the listener
    newest                         HASH    `as_of`, `trade:{market}` -> epoch ms; `doubted` for ever
    coverage                       HASH    shard -> `analytics.completeness.Status`; for ever
                                           `{shard}:markets` -> JSON list; by the listener
    coverage-alive:{shard}         STRING  the shard's listener lives, written by it        seconds
    verified:{market}:{yyyymmdd}   HASH    KST day; minute open -> verdict, see             candle_retention_h
                                           `collector.analytics.verdicts`                   and a day
    audits                         HASH    `{yyyy-mm-dd}:{i}/{n}` -> result of a KST day    100 of them
    counters                       HASH    name -> integer, names in `collector.counters`       for ever
    proven                         ZSET    market, by the end of the newest minute that was for ever
                                           found to be the exchange's, epoch ms
    recovered                      HASH    market -> trades counted that a backfill brought for ever
    dead-letters                   LIST    newest first, JSON                               dead_letters_max
    rejected-frames                    LIST    newest first, JSON, written by the listener        200
    attempts:{task id}             STRING  deliveries of a batch that came back             a day
    unconfirmed                    HASH    batch id -> letter, by the listener until it is stored   for ever
    unconfirmed-due                ZSET    batch id, by the epoch ms it may be sent again from      for ever
    unconfirmed-from               ZSET    batch id, by the exchange's time of its oldest trade     for ever
    lease:{i}/{n}                      STRING  the listener that serves share i of n              lease_ttl_s
    book-samples:{market}          LIST    samples of the book, oldest first, JSON          book_samples_kept
    answers:{analysis}:{arguments} LIST    answers of a periodic analysis, oldest first     periodic_kept
    periodic:{what}                STRING  `run` or `sample` is not due before it expires   seconds
    archive:{what}                 STRING  `run` or `sweep` is not due before it expires            seconds
    health:listener:{id}           STRING  JSON, written by the listener                    seconds
    health:worker:{hostname}       STRING  JSON, written by the worker                      seconds
    alert:rules                    HASH    rule id -> rule, as `alert add` took it          for ever
    alert:state                    HASH    what the evaluator remembers, see                for ever
                                           `collector.alerts.ledger`
    alert:firing:{id}              HASH    `firing`, JSON; `to:{channel}` -> its delivery   log_retention_h
    alert:log                      LIST    ids of firings, newest first                     log_max
    alert:due                      ZSET    `{firing id} {channel}`, by when to send, epoch ms   until sent
    alert:evaluator                STRING  which worker evaluates the rules                 seconds
    workers-started                STRING  how many workers have started                    for ever

Days are UTC. Times to live start with the first write of a minute, a day's again with each new minute, and a
minute's trades never outlive its candle.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime

from collector.model import Channel
from collector.util.korean_time import DAY_MS, day_number

#: Ends the field of `coverage` that holds the markets of a shard.
SHARD_MARKETS = ":markets"


@lru_cache(maxsize=1024)
def _day(number: int) -> str:
    return strftime("%Y%m%d", gmtime(number * 86_400))


def listener_name(host: str, pid: int, shard: str) -> str:
    """Return the name of a listener: machine, process and share (`i/n`)."""
    return f"{host}-{pid}-{shard.replace('/', 'of')}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of our keys under one prefix."""

    prefix: str

    def candle(self, market: str, time_ms: int) -> str:
        """The day of one-minute candles that holds `time_ms`."""
        return f"{self.prefix}candle:{market}:{_day(time_ms // DAY_MS)}"

    def trades(self, market: str, minute_ms: int) -> str:
        """The trades of one minute."""
        return f"{self.prefix}trades:{market}:{minute_ms}"

    def state(self, channel: Channel, market: str) -> str:
        """The newest ticker or book of a market."""
        kind = "ticker" if channel is Channel.TICKER else "book"
        return f"{self.prefix}{kind}:{market}"

    def book_samples(self, market: str) -> str:
        """The samples of a market's book."""
        return f"{self.prefix}book-samples:{market}"

    def answers(self, analysis: str, arguments: Iterable[str]) -> str:
        """The kept answers of a periodic analysis."""
        return f"{self.prefix}answers:{':'.join((analysis, *arguments))}"

    def periodic(self, what: str) -> str:
        """Whose turn it is to send a periodic task."""
        return f"{self.prefix}periodic:{what}"

    def gaps(self, market: str) -> str:
        """The gaps of a market."""
        return f"{self.prefix}gaps:{market}"

    def attempts(self, task_id: str) -> str:
        """Deliveries of one task that came back."""
        return f"{self.prefix}attempts:{task_id}"

    def listener(self, listener: str) -> str:
        """Health of a listener; `*` matches all."""
        return f"{self.prefix}health:listener:{listener}"

    def worker(self, hostname: str) -> str:
        """Health of a worker; `*` matches all."""
        return f"{self.prefix}health:worker:{hostname}"

    def verified(self, market: str, time_ms: int) -> str:
        """The verdicts of the Korean day that holds `time_ms`."""
        return f"{self.prefix}verified:{market}:{_day(day_number(time_ms))}"

    @property
    def events(self) -> str:
        """What was counted, in the order of the commits."""
        return f"{self.prefix}events"

    @property
    def changed(self) -> str:
        """Where the names of written tickers and books are published."""
        return f"{self.prefix}changed"

    @property
    def markets(self) -> str:
        """Every market ever seen."""
        return f"{self.prefix}markets"

    @property
    def listings(self) -> str:
        """The newest market list entry of each market."""
        return f"{self.prefix}listings"

    @property
    def workers_started(self) -> str:
        """How many workers have started: each may have followed one that took states along."""
        return f"{self.prefix}workers-started"

    @property
    def newest(self) -> str:
        """Newest event times."""
        return f"{self.prefix}newest"

    @property
    def coverage(self) -> str:
        """How far each share of the markets is covered, and which markets it has."""
        return f"{self.prefix}coverage"

    def coverage_alive(self, shard: str) -> str:
        """Whether the listener of a share (`i/n`) is alive."""
        return f"{self.prefix}coverage-alive:{shard}"

    @property
    def audits(self) -> str:
        """Results of whole days compared with the exchange's."""
        return f"{self.prefix}audits"

    @property
    def counters(self) -> str:
        """What workers counted."""
        return f"{self.prefix}counters"

    @property
    def proven(self) -> str:
        """Until when the trades of each market were found to be the exchange's."""
        return f"{self.prefix}proven"

    @property
    def recovered(self) -> str:
        """How many trades of each market a backfill brought that no socket had brought before."""
        return f"{self.prefix}recovered"

    @property
    def dead_letters(self) -> str:
        """Batches that could not be stored."""
        return f"{self.prefix}dead-letters"

    @property
    def rejected_frames(self) -> str:
        """Messages of the exchange that could not be understood."""
        return f"{self.prefix}rejected-frames"

    @property
    def unconfirmed(self) -> str:
        """Batches of facts that were sent and are not known to be stored."""
        return f"{self.prefix}unconfirmed"

    @property
    def unconfirmed_due(self) -> str:
        """When to send them again."""
        return f"{self.prefix}unconfirmed-due"

    @property
    def unconfirmed_from(self) -> str:
        """From when on their trades are."""
        return f"{self.prefix}unconfirmed-from"

    def lease(self, shard: str) -> str:
        """Which listener serves a share (`i/n`)."""
        return f"{self.prefix}lease:{shard}"

    def archive(self, what: str) -> str:
        """Who may run the archive next, and when."""
        return f"{self.prefix}archive:{what}"

    def alert(self, what: str) -> str:
        """What there is of alerts: `rules`, `state`, `log`, `due`, `evaluator`, `firing:{id}`."""
        return f"{self.prefix}alert:{what}"
