"""Rows of answers are the structs of the analytics, checked as strictly as the answers themselves."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from collector.analyses.results import Walls
from collector.analytics.bookstats import Wall

ROW = {"side": "bid", "price": "0.10", "size": "7", "relative_size": "21.5", "distance_bps": None}


def answer(**changes: Any) -> dict[str, Any]:
    return {"market": "KRW-BTC", "exchange_ms": 1, "walls": [{**ROW, **changes}]}


def test_a_row_is_the_struct_with_exact_decimals() -> None:
    """From the wire and back, digit for digit."""
    (wall,) = Walls.model_validate(answer()).walls
    assert wall == Wall("bid", Decimal("0.10"), Decimal(7), Decimal("21.5"), None)
    assert json.loads(Walls.model_validate(answer()).model_dump_json()) == answer()


@pytest.mark.parametrize("wrong", [{"sise": "7"}, {"size": "much"}, {"side": 3}, {"price": None}])
def test_a_row_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    """A field too many, a number that is none."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Walls.model_validate(answer(**wrong))


def test_a_field_that_is_missing_is_refused() -> None:
    """Which one is said."""
    row = {name: value for name, value in ROW.items() if name != "size"}
    with pytest.raises(ValidationError, match="size"):
        Walls.model_validate({"market": "KRW-BTC", "exchange_ms": 1, "walls": [row]})
