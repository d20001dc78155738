"""The way to the exchange: which proxy, and whose certificates are believed. One answer for REST and socket.

    address     variables, the first one that is set decides (lower case before upper)
    https://    HTTPS_PROXY, ALL_PROXY
    http://     HTTP_PROXY, ALL_PROXY
    wss://      WSS_PROXY, HTTPS_PROXY, ALL_PROXY
    ws://       WS_PROXY, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY

This machine itself is never reached through a proxy, nor what `NO_PROXY` names: a domain and what is
below it (`corp.kr`, `.corp.kr`, `*.corp.kr`), an address, a network (`10.0.0.0/8`, `fd00::/8`), any of
them with `:port`, or `*` for all. Where no variable is set, macOS and Windows answer with the settings of
the system.

Certificates are believed where the system believes them (its store, or `SSL_CERT_FILE`, `SSL_CERT_DIR`);
where it has no store at all, by the list of the package `certifi`.
"""

import importlib.util
import ipaddress
import os
import ssl
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import certifi

from collector.errors import ConfigurationError

#: Scheme of an address -> the schemes whose proxy serves it.
_SERVED_BY = {
    "https": ("https", "all"),
    "http": ("http", "all"),
    "wss": ("wss", "https", "all"),
    "ws": ("ws", "https", "http", "all"),
}
_PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_SOCKS = ("socks5", "socks5h")
_SCHEMES = ("http", "https", *_SOCKS)
#: What SOCKS proxies need, from the extra `socks`.
_SOCKS_MODULES = ("python_socks", "socksio")
_SYSTEM = "the system's proxy settings"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that names it; as text without its user and password."""

    variable: str
    url: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"the proxy {parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 1080)} of {self.variable}"


@dataclass(frozen=True, slots=True)
class Way:
    """How one address is reached."""

    proxy: Proxy | None
    #: None for an address without TLS.
    tls: ssl.SSLContext | None

    @property
    def note(self) -> str:
        """What to add to a message about the connection: empty without a proxy."""
        return f" (through {self.proxy})" if self.proxy else ""


def way_to(url: str) -> Way:
    """Return the way from here to a `http(s)://` or `ws(s)://` address.

    Raises:
        ConfigurationError: the variable that decides can't be used; the message names it.
    """
    is_secure = urlsplit(url).scheme in ("https", "wss")
    return Way(proxy_for(url, os.environ), tls_context() if is_secure else None)


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy through which `url` is reached, None for none.

    Raises:
        ConfigurationError: the variable that decides can't be used; the message names it.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    exceptions = _variable("no", environment)[1]
    if is_loopback(host) or is_exception(host, port, exceptions):
        return None
    proxies = {kind: _variable(kind, environment) for kind in _SERVED_BY.get(parts.scheme, ())}
    if not any(value for _, value in proxies.values()):
        proxies = _of_the_system(parts)
    for variable, value in proxies.values():
        if value:
            return Proxy(variable, _checked(variable, value))
    return None


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine itself."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_exception(host: str, port: int, no_proxy: str) -> bool:
    """Whether the text of `NO_PROXY` names `host`; what it can't mean matches nothing."""
    entries = (entry for entry in no_proxy.lower().replace(",", " ").split())
    return any(_names(entry, host.lower().rstrip("."), port) for entry in entries)


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the TLS settings for every server of the exchange and every `https://` proxy."""
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not (
        places.cafile or (places.capath and any(Path(places.capath).iterdir())) or context.get_ca_certs()
    ):
        context.load_verify_locations(certifi.where())
    return context


def _variable(kind: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the name and the value of the variable of a kind that is in force; the value may be empty."""
    lower, upper = f"{kind}_proxy", f"{kind}_proxy".upper()
    name = lower if lower in environment else upper
    return name, environment.get(name, "").strip()


def _of_the_system(parts: SplitResult) -> dict[str, tuple[str, str]]:
    if sys.platform not in ("darwin", "win32") or urllib.request.proxy_bypass(parts.hostname or ""):
        return {}
    found = urllib.request.getproxies()
    return {kind: (_SYSTEM, found[kind]) for kind in _SERVED_BY[parts.scheme] if kind in found}


def _checked(variable: str, value: str) -> str:
    """Return the address of a proxy; it may hold a password, so no message shows it."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError for a broken one
    except ValueError:
        raise ConfigurationError(f"{variable} has a broken host or port: write http://host:port") from None
    if "://" not in value:
        raise ConfigurationError(f"{variable} has no scheme: write http://host:port or socks5h://host:port")
    if parts.scheme not in _SCHEMES:
        advice = "socks5h://host:port" if parts.scheme.startswith("socks") else "http://host:port"
        raise ConfigurationError(f"{variable}: {parts.scheme}:// is no proxy we can use: write {advice}")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(f"{variable} must be like {parts.scheme}://host:port, with nothing behind")
    if parts.username is not None and parts.password is None:
        raise ConfigurationError(
            f"{variable} has a user and no password: write {parts.scheme}://user:password@host:port"
        )
    if parts.scheme in _SOCKS and not all(map(importlib.util.find_spec, _SOCKS_MODULES)):
        raise ConfigurationError(
            f"{variable}: a SOCKS proxy needs more packages: pip install 'bithumb-collector[socks]'"
        )
    return value


def _names(entry: str, host: str, port: int) -> bool:
    """Whether one entry of `NO_PROXY` names a host."""
    if entry == "*":
        return True
    name, own_port = _without_port(entry)
    if own_port not in (None, port):
        return False
    address = _address(host)
    if address is not None:
        return any(address in network for network in _networks(name))
    domain = name.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _without_port(entry: str) -> tuple[str, int | None]:
    if entry.count(":") > 1 and not entry.startswith("["):  # IPv6, whose port needs brackets
        return entry, None
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal():
        return name.strip("[]"), int(port)
    return entry.strip("[]"), None


def _networks(text: str) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        yield ipaddress.ip_network(text, strict=False)
    except ValueError:
        return


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
