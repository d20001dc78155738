"""Models of the answers for the API's description, made of the rows that the interface documents."""

import types
import typing
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import BaseModel, Field, create_model

#: A decimal in JSON: text without exponent.
DecimalText = typing.Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", examples=["1234.5"])]


class Problem(BaseModel):
    """What is wrong, and what to do about it."""

    code: str = Field(examples=["unknown_market"])
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is no success."""

    error: Problem


class Info(BaseModel):
    """About this server."""

    version: str
    #: Epoch ms.
    now_ms: int
    #: How long the event stream is kept, minutes.
    event_retention_minutes: int
    channels: list[str]
    intervals: list[str]


class EventBody(BaseModel):
    """One live event."""

    id: str = Field(examples=["1796106881557-0-2"])
    channel: str
    market: str | None
    #: Epoch ms.
    ms: int
    data: dict[str, Any]


@lru_cache
def model_of(row: type) -> type[BaseModel]:
    """Return the model of a msgspec struct as its JSON is: decimals and times are text."""
    hints = typing.get_type_hints(row)
    fields: dict[str, Any] = {}
    for each in msgspec.structs.fields(row):
        fields[each.encode_name] = (_type(hints[each.name]), ...)
    return create_model(row.__name__, __doc__=(row.__doc__ or "").split("\n")[0], **fields)


def _type(hint: Any) -> Any:  # noqa: ANN401 - annotations are any object
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Decimal:
        return DecimalText
    if hint is datetime:
        return str
    if isinstance(hint, type) and issubclass(hint, Enum):
        return typing.Literal[tuple(member.value for member in hint)]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        if hint.__struct_config__.array_like:
            return list[Any]
        return model_of(hint)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_type(each) for each in arguments)]  # noqa: UP007 - made at run time
    if origin is tuple:
        return _list(arguments[0]) if arguments[-1] is Ellipsis else list[Any]
    if origin is list:
        return _list(arguments[0])
    if origin is dict:
        return types.GenericAlias(dict, (str, _type(arguments[1])))
    return hint


def _list(hint: Any) -> Any:  # noqa: ANN401 - as `_type`
    return types.GenericAlias(list, (_type(hint),))
