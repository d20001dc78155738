"""Channels as they are set, and what is sent to each."""

import base64
import hashlib
import hmac
import json

import pytest

from collector.alerts import channels
from collector.alerts.engine import Firing
from collector.alerts.rules import Kind
from collector.errors import ConfigurationError

FIRING = Firing("1.KRW-BTC.2", "1", "price KRW-BTC above 1", Kind.PRICE, "KRW-BTC", "BTC is dear", "5", 1_000)
ALL = (
    "ops=https://example.com/hook?a=1 slack=slack+https://hooks.slack.com/services/T/B/x"
    " chat=discord+https://discord.com/api/webhooks/1/x phone=telegram://123:AbC@-1001"
    " mail=apprise+mailto://me:secret@example.com"
)


def test_each_kind_is_read() -> None:
    """By the beginning of its address."""
    found = channels.parse(ALL)
    assert {name: each.kind for name, each in found.items()} == {
        "ops": "webhook",
        "slack": "slack",
        "chat": "discord",
        "phone": "telegram",
        "mail": "apprise",
    }
    assert found["phone"].address == "123:AbC@-1001"
    assert channels.parse("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "https://secret.example/x",
        "ops=secret",
        "ops=ftp://secret.example",
        "o/p=https://secret.example",
        "a=https://secret.example/1 a=https://secret.example/2",
        "phone=telegram://secret",
        "mail=apprise+secret",
    ],
)
def test_what_is_no_channel_is_refused_without_its_address(text: str) -> None:
    """Addresses are secrets."""
    with pytest.raises(ConfigurationError, match="COLLECTOR_ALERT__CHANNELS") as caught:
        channels.parse(text)
    assert "secret" not in str(caught.value)


def test_no_address_is_shown() -> None:
    """Not in a traceback or a log line either."""
    found = channels.parse(ALL)
    shown = repr(found) + repr([_request(each) for each in found.values() if each.kind != "apprise"])
    assert not any(part in shown for part in ("example.com", "hooks.slack.com", "AbC", "secret"))


def _request(channel: channels.Channel, secret: str = "") -> channels.Request:
    return channels.request(channel, FIRING, secret=secret, telegram_url="https://tg", now_s=7)


@pytest.mark.parametrize("secret", ["text", "whsec_" + base64.b64encode(b"key").decode()])
def test_webhooks_are_signed_as_the_standard_has_it(secret: str) -> None:
    """HMAC-SHA256 over id, time and body; the id is that of the firing."""
    sent = _request(channels.parse(ALL)["ops"], secret)
    key = b"key" if secret.startswith("whsec_") else secret.encode()
    digest = hmac.new(key, b"1.KRW-BTC.2.7." + sent.body, hashlib.sha256).digest()
    assert sent.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert (sent.headers["webhook-id"], sent.headers["webhook-timestamp"]) == ("1.KRW-BTC.2", "7")
    body = json.loads(sent.body)
    assert (body["id"], body["market"], body["time"]) == (
        "1.KRW-BTC.2",
        "KRW-BTC",
        "1970-01-01T00:00:01Z",
    )
    assert "webhook-signature" not in _request(channels.parse(ALL)["ops"]).headers


def test_a_damaged_secret_is_named() -> None:
    """It is not sent unsigned."""
    with pytest.raises(ConfigurationError, match="WEBHOOK_SECRET"):
        _request(channels.parse(ALL)["ops"], "whsec_%%%")


def test_messages_for_people() -> None:
    """Each service has its own field; Telegram's token is part of the address."""
    found = channels.parse(ALL)
    assert "BTC is dear" in json.loads(_request(found["slack"]).body)["text"]
    discord = json.loads(_request(found["chat"]).body)
    assert "1.KRW-BTC.2" in discord["content"]
    assert discord["allowed_mentions"] == {"parse": []}
    telegram = _request(found["phone"])
    assert telegram.url == "https://tg/bot123:AbC/sendMessage"
    assert json.loads(telegram.body)["chat_id"] == "-1001"


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3.0), ("0.5", 0.5), ("Wed, 21 Oct 2026", None), ("", None)]
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Seconds are understood."""
    assert channels.retry_after_s({"retry-after": text} if text else {}) == seconds
