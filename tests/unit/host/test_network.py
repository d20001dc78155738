"""Which proxy an address is reached through, decided alike for REST and socket."""

import pytest

from collector.errors import ConfigurationError
from collector.util import network
from collector.util.network import proxy_for

REST = "https://api.bithumb.com"
SOCKET = "wss://ws-api.bithumb.com/websocket/v1"
PROXY = "http://proxy.corp.kr:3128"


def chosen(url: str, **environment: str) -> str | None:
    """Return the variable that decides."""
    proxy = proxy_for(url, environment)
    return proxy.variable if proxy else None


@pytest.mark.parametrize(
    ("variables", "rest", "socket"),
    [
        ((), None, None),
        (("HTTPS_PROXY",), "HTTPS_PROXY", "HTTPS_PROXY"),
        (("https_proxy", "HTTPS_PROXY"), "https_proxy", "https_proxy"),
        (("ALL_PROXY",), "ALL_PROXY", "ALL_PROXY"),
        (("ALL_PROXY", "HTTPS_PROXY"), "HTTPS_PROXY", "HTTPS_PROXY"),
        (("HTTP_PROXY",), None, None),
        (("WSS_PROXY", "HTTPS_PROXY"), "HTTPS_PROXY", "WSS_PROXY"),
    ],
)
def test_the_first_variable_that_is_set_decides(
    variables: tuple[str, ...], rest: str | None, socket: str | None
) -> None:
    """REST and the socket go the same way, unless one is told otherwise."""
    environment = dict.fromkeys(variables, PROXY)
    assert (rest, socket) == (chosen(REST, **environment), chosen(SOCKET, **environment))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ws://127.0.0.1:8765/websocket/v1",
            "http://localhost:8765",
            "http://[::1]:80",
            "https://127.8.8.8",
        ),
        *("ws://LOCALHOST", "http://a.localhost", "http://[::ffff:127.0.0.1]", "http://0.0.0.0:1"),
    ],
)
def test_this_machine_is_never_reached_through_a_proxy(url: str) -> None:
    """Whatever is set, and whether the proxy could be used or not."""
    for value in (PROXY, "socks://x", "nonsense"):
        assert chosen(url, ALL_PROXY=value, HTTP_PROXY=value, HTTPS_PROXY=value) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("api.bithumb.com", REST, True),
        ("bithumb.com", SOCKET, True),
        (".bithumb.com", REST, True),
        ("*.bithumb.com", REST, True),
        ("thumb.com", REST, False),
        ("localhost, BITHUMB.COM ,10.0.0.0/8", REST, True),
        ("localhost 10.0.0.0/8", REST, False),
        ("*", REST, True),
        ("bithumb.com:443", REST, True),
        ("bithumb.com:8443", REST, False),
        ("10.0.0.0/8", "http://10.20.30.40", True),
        ("10.0.0.0/8", "http://11.20.30.40", False),
        ("10.20.30.40:80", "http://10.20.30.40", True),
        ("fd00::/8", "https://[fd12::1]", True),
        ("fd00::/8", REST, False),
        ("::1,fe80::/10,[fd12::1]:443", "https://[fd12::1]", True),
        ("fd00::/200,%%,/", REST, False),
        ("", REST, False),
    ],
)
def test_no_proxy(no_proxy: str, url: str, is_direct: bool) -> None:
    """Domains, addresses and networks of both kinds; what can't be read matches nothing."""
    assert (chosen(url, ALL_PROXY=PROXY, NO_PROXY=no_proxy) is None) is is_direct


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("proxy.corp.kr:3128", "has no scheme: write http://host:port"),
        ("proxy", "has no scheme"),
        ("socks://proxy:1080", "socks:// is no proxy we can use: write socks5h://host:port"),
        ("ftp://proxy:21", "ftp:// is no proxy we can use: write http://host:port"),
        ("http://user@proxy:3128", "has a user and no password: write http://user:password@host:port"),
        ("http://proxy:port", "has a broken host or port"),
        ("http://[::1", "has a broken host or port"),
        ("http://", "must be like http://host:port"),
        ("http://proxy:3128/path", "must be like http://host:port"),
    ],
)
@pytest.mark.parametrize("variable", ["ALL_PROXY", "https_proxy", "HTTPS_PROXY"])
def test_a_proxy_that_can_not_be_used_is_one_line_that_names_the_variable(
    variable: str, value: str, said: str
) -> None:
    """A mistake of the user, with what to write instead; a password is never shown."""
    with pytest.raises(ConfigurationError) as failure:
        proxy_for(REST, {variable: value})
    assert str(failure.value).startswith(variable)
    assert said in str(failure.value)
    assert failure.value.exit_code == 2


def test_a_password_is_not_in_the_text() -> None:
    """Messages name host, port and variable."""
    proxy = proxy_for(REST, {"HTTPS_PROXY": "http://me:hunter2@proxy.corp.kr:3128"})
    assert str(proxy) == "the proxy proxy.corp.kr:3128 of HTTPS_PROXY"


def test_a_socks_proxy_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr(network, "_SOCKS_MODULES", ("no_such_module",))
    with pytest.raises(ConfigurationError, match=r"^ALL_PROXY: .*pip install 'bithumb-collector\[socks\]'$"):
        proxy_for(REST, {"ALL_PROXY": "socks5h://proxy:1080"})
