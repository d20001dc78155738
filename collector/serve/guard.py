"""Who may ask: the right host name, the right origin, the token, and not too often. Pure.

A browser sends whatever page it shows to loopback as well, so loopback alone protects nothing: a request has
to name a host that is ours, and one that changes anything or opens a socket has to come from our own page.
"""

import hmac
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

#: Name of the cookie that carries the token for the page: EventSource and WebSocket can't send headers.
COOKIE = "collector_token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Decides about requests.

    Args:
        hosts: names that this server is called by, without port.
        token: what has to be shown; empty for none.
    """

    def __init__(self, hosts: Iterable[str], token: str = "") -> None:
        self._hosts = frozenset(name.lower() for name in hosts)
        self._token = token

    @property
    def needs_token(self) -> bool:
        """Whether a token has to be shown."""
        return bool(self._token)

    def is_ours(self, host: str) -> bool:
        """Tell whether the header `Host` names this server."""
        return _name_of(host) in self._hosts

    def is_same_origin(self, host: str, origin: str | None) -> bool:
        """Tell whether a request comes from our own page, or from no page at all."""
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()

    def knows(self, token: str) -> bool:
        """Tell whether this is the token."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def may(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the token was shown, where one is needed."""
        if not self._token:
            return True
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.knows(shown.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self.knows(cookie.value)


class Allowance:
    """So many messages a second, some more at once.

    Args:
        per_s: in the long run; `burst`: at once.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, 0.0

    def take(self, now_s: float) -> bool:
        """Take one; return False where none is left."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
