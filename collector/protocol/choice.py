"""The codec of the protocol that the settings name. Pure."""

from collector.protocol.codec import Codec
from collector.protocol.current import CurrentCodec
from collector.protocol.legacy import LegacyCodec
from collector.protocol.repeats import RepeatedBooks
from collector.settings import ExchangeSettings


def new_codec(exchange: ExchangeSettings, repeats: RepeatedBooks | None = None) -> Codec:
    """Return the translator for one socket of the chosen protocol."""
    return LegacyCodec() if exchange.protocol == "legacy" else CurrentCodec(exchange.format, repeats)
