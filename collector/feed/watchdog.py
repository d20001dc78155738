"""Is a socket still telling the truth? Judged on data alone, channel by channel. Pure.

Keepalives and pongs prove a live peer, not a live feed: whole sockets have gone silent for 40 s with pongs
flowing (facts sheet section 4). A quiet market is normal, a quiet channel is not, and what is quiet depends
on the channel: the limit follows each channel's own rhythm and widens when a reconnect brought nothing new.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from collector.model import Channel
from collector.settings import ConnectionSettings

#: Silence is called a stall after this many usual silences.
_TOLERANCE = 10.0
#: Weight of the newest silence in the usual one; longer ones count at once, shorter ones slowly.
_SMOOTHING = 0.05


@dataclass(frozen=True, slots=True)
class Stall:
    """A channel has been silent for longer than its rhythm allows."""

    channel: Channel
    silent_s: float
    limit_s: float


@dataclass(slots=True)
class Rhythm:
    """How long a channel is usually silent between two data frames; shared by all sockets that carry it."""

    settings: ConnectionSettings
    usual_s: float = 0.0
    patience: float = 1.0
    #: How long no silence has been above the limit that holds without patience.
    calm_s: float = 0.0

    def heard_after(self, silence_s: float) -> None:
        """Learn one silence that ended by itself."""
        self._forgive(silence_s)
        if silence_s > self.usual_s:
            self.usual_s = silence_s
        else:
            self.usual_s += (silence_s - self.usual_s) * _SMOOTHING

    def called_a_stall(self) -> None:
        """Be more patient next time: a channel that is merely quiet must not be reconnected for ever."""
        self.patience = min(self.patience * 2, 64.0)
        self.calm_s = 0.0

    @property
    def limit_s(self) -> float:
        """Silence above which the channel is stalled."""
        return self.patience * self._impatient_limit_s

    @property
    def _impatient_limit_s(self) -> float:
        usual_s = self.usual_s * _TOLERANCE
        return min(max(usual_s, self.settings.stall_min_s), self.settings.stall_max_s)

    def _forgive(self, silence_s: float) -> None:
        """Halve the patience for every `stall_max_s` in which none was needed: the stalls were real ones."""
        if silence_s > self._impatient_limit_s:
            self.calm_s = 0.0
            return
        self.calm_s += silence_s
        if self.calm_s >= self.settings.stall_max_s:
            self.patience = max(1.0, self.patience / 2)
            self.calm_s = 0.0


class Watchdog:
    """Watch one socket from its subscription to its end."""

    def __init__(
        self,
        channels: Iterable[Channel],
        rhythms: dict[Channel, Rhythm],
        settings: ConnectionSettings,
        now_s: float,
    ) -> None:
        self._settings = settings
        self._rhythms = rhythms
        self._started_s = now_s
        self._last_s: dict[Channel, float | None] = dict.fromkeys(channels)
        self._last_any_s: float | None = None

    def heard(self, channel: Channel, now_s: float) -> None:
        """Note a data frame of `channel`."""
        last_s = self._last_s.get(channel)
        if last_s is not None:
            self._rhythms[channel].heard_after(now_s - last_s)
        self._last_s[channel] = now_s
        self._last_any_s = now_s

    def check(self, now_s: float) -> Stall | None:
        """Return the worst stall, or None while all is well.

        Before the first data of all, the limit is the first-message deadline: a socket that is silent from
        birth is noticed too. A channel without data yet on a socket with data is given
        `stall_max_s`.
        """
        if self._last_any_s is None:
            silent_s = now_s - self._started_s
            limit_s = self._settings.first_message_timeout_s
            channel = next(iter(self._last_s))
            return Stall(channel, silent_s, limit_s) if silent_s > limit_s else None
        stalls = [stall for channel in self._last_s if (stall := self._check_channel(channel, now_s))]
        return max(stalls, key=lambda stall: stall.silent_s / stall.limit_s, default=None)

    def _check_channel(self, channel: Channel, now_s: float) -> Stall | None:
        last_s = self._last_s[channel]
        rhythm = self._rhythms[channel]
        if last_s is None:
            silent_s, limit_s = now_s - self._started_s, self._settings.stall_max_s * rhythm.patience
        else:
            silent_s, limit_s = now_s - last_s, rhythm.limit_s
        return Stall(channel, silent_s, limit_s) if silent_s > limit_s else None


def new_rhythms(settings: ConnectionSettings) -> dict[Channel, Rhythm]:
    """Make the rhythms of one listener, one for each channel."""
    return {channel: Rhythm(settings) for channel in Channel}
