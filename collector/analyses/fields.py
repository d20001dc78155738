"""Arguments of analyses: what they mean and what they allow."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from collector.analytics.profile import ROWS_MAX

DEFAULT_WINDOW = "15m"
#: For figures that need more than a few minutes.
LONG_WINDOW = "1h"

Market = Annotated[str, Field(min_length=1, description="a market like `KRW-BTC` or `btc`")]
Markets = Annotated[
    str, Field(min_length=1, description="markets: codes or patterns such as `KRW-*`, commas between")
]
Window = Annotated[str, Field(description="how far back from the newest data: `15m`, `4h`, `1d`")]

GapMs = Annotated[int, Field(ge=0, le=60_000, description="longest pause within a burst, in ms")]
MinTrades = Annotated[int, Field(ge=2, le=10_000, description="fewest trades of a burst")]
WithinMs = Annotated[int, Field(ge=0, le=60_000, description="longest time a sweep takes, in ms")]
MinLevels = Annotated[int, Field(ge=2, le=1_000, description="fewest price levels of a sweep")]
Buckets = Annotated[int, Field(ge=1, le=10_000, description="buckets the volume is cut into")]
Rows = Annotated[int, Field(ge=1, le=ROWS_MAX, description="most rows of prices, where no step is given")]
Step = Annotated[Decimal | None, Field(gt=0, description="height of a row, in the quote currency")]
Share = Annotated[Decimal, Field(gt=0, le=1, description="share of the volume the value area holds")]
ZScore = Annotated[Decimal, Field(gt=0, le=1_000, description="robust z-score from which a trade is large")]
Limit = Annotated[int, Field(ge=1, le=1_000, description="most rows of each list")]
Windows = Annotated[int, Field(ge=1, le=1_000, description="windows before, whose mean is usual")]
Times = Annotated[Decimal, Field(gt=0, description="how many times the usual is reported")]

Levels = Annotated[int, Field(ge=1, le=1_000, description="best levels of each side to look at")]
Size = Annotated[
    Decimal | None,
    Field(gt=0, description="size of the order in the base currency; else a tenth of the thinner side"),
]
