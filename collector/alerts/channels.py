"""Where firings go, read from `COLLECTOR_ALERT__CHANNELS`, and what is sent there. Pure.

    ops=https://example.com/hook                            webhook: JSON, signed where there is a secret
    slack=slack+https://hooks.slack.com/services/…          incoming webhook of Slack
    chat=discord+https://discord.com/api/webhooks/…         webhook of Discord
    phone=telegram://BOT-TOKEN@CHAT                         bot of Telegram
    mail=apprise+mailto://user:password@example.com         anything else that apprise sends (extra `alerts`)

Addresses are secrets: nothing of them is printed, logged or stored.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from collector.alerts.engine import Firing
from collector.analytics.candles import iso
from collector.errors import ConfigurationError

WEBHOOK, SLACK, DISCORD, TELEGRAM, APPRISE = "webhook", "slack", "discord", "telegram", "apprise"
_PREFIXES = {"slack+": SLACK, "discord+": DISCORD, "apprise+": APPRISE}
_NAME = re.compile(r"[\w-]{1,32}", re.ASCII)
_TELEGRAM = re.compile(r"telegram://([^@/\s]+)@([^/\s]+)")
_HOW = "write name=https://…, name=slack+https://…, name=discord+https://…, name=telegram://TOKEN@CHAT or"


@dataclass(frozen=True)
class Channel:
    """One place where firings go."""

    name: str
    kind: str
    #: Of Telegram `TOKEN@CHAT`.
    address: str = field(repr=False)


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    url: str = field(repr=False)
    body: bytes
    headers: dict[str, str]


def parse(text: str) -> dict[str, Channel]:
    """Read the channels, by name.

    Raises:
        ConfigurationError: one is none; the message does not show its address.
    """
    found: dict[str, Channel] = {}
    for number, part in enumerate(text.split(), 1):
        name, equals, address = part.partition("=")
        if not equals or not _NAME.fullmatch(name) or name in found:
            raise ConfigurationError(
                f"COLLECTOR_ALERT__CHANNELS: number {number} has no name of its own: {_HOW} apprise+…"
            )
        found[name] = _channel(name, address)
    return found


def _channel(name: str, address: str) -> Channel:
    if telegram := _TELEGRAM.fullmatch(address):
        return Channel(name, TELEGRAM, f"{telegram[1]}@{telegram[2]}")
    kind = WEBHOOK
    for prefix, its_kind in _PREFIXES.items():
        if address.startswith(prefix):
            kind, address = its_kind, address.removeprefix(prefix)
    parts = urlsplit(address)
    if (kind == APPRISE and parts.scheme) or (parts.scheme in ("http", "https") and parts.hostname):
        return Channel(name, kind, address)
    raise ConfigurationError(f"COLLECTOR_ALERT__CHANNELS: {name} has no address: {_HOW} name=apprise+…")


def request(channel: Channel, firing: Firing, *, secret: str, telegram_url: str, now_s: int) -> Request:
    """Return what is sent to a channel that is no apprise one.

    Args:
        secret: signs webhooks; empty for none.
        now_s: epoch seconds, part of what is signed.
    """
    headers = {"content-type": "application/json"}
    match channel.kind:
        case "slack":
            body: object = {"text": line(firing)}
        case "discord":
            body = {"content": line(firing), "allowed_mentions": {"parse": []}}
        case "telegram":
            token, _, chat = channel.address.rpartition("@")
            chat_id = chat if chat.lstrip("-").isdecimal() else f"@{chat}"
            text = _encode({"chat_id": chat_id, "text": line(firing)})
            return Request(f"{telegram_url}/bot{token}/sendMessage", text, headers)
        case _:
            body = payload(firing)
    encoded = _encode(body)
    if channel.kind == WEBHOOK:
        headers |= signature(firing.id, now_s, encoded, secret)
    return Request(channel.address, encoded, headers)


def payload(firing: Firing) -> dict[str, object]:
    """Return a firing as a webhook's JSON."""
    return {**msgspec.to_builtins(firing), "time": iso(firing.ms)}


def line(firing: Firing) -> str:
    """Return a firing as a line for people; the id shows that two are the same."""
    mark = "✅" if firing.state == "resolved" else "🔔"
    return f"{mark} {firing.text} · {iso(firing.ms)} · {firing.id}"


def signature(message_id: str, now_s: int, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of https://www.standardwebhooks.com; `webhook-id` is the same at each delivery."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(now_s)}
    if secret:
        signed = b".".join((message_id.encode(), str(now_s).encode(), body))
        digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a receiver asks to wait; dates are not understood."""
    text = headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) else None


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ConfigurationError(
                "COLLECTOR_ALERT__WEBHOOK_SECRET: what follows whsec_ is not base64"
            ) from None
    return secret.encode()


_encode = msgspec.json.Encoder().encode
