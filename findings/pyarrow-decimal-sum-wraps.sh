#!/bin/sh
# Library:   pyarrow 26.0.1
# Guess:     the sum of decimal128 numbers that needs more than 38 digits is an error, as in DuckDB and polars.
# Behaviour: it wraps around in silence: the sum of twenty turnovers of 9,999,999,999,999,999 is negative.
# So:        leave room in the type (a sum of decimal128(37, 21) is right up to 1.7e17), or sum in DuckDB.
#
# Output seen:
#   type of the sum: decimal128(38, 21)
#   sum of 20 x 9999999999999999: -140282366920938483.463374607431768211456
#
# Ends with 0 while the behaviour is as described.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pyarrow==26.0.1'
"$folder/venv/bin/python" - <<'PYTHON'
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

number = Decimal(9_999_999_999_999_999)
found = pc.sum(pa.array([number] * 20, pa.decimal128(37, 21)))
print("type of the sum:", found.type)
print(f"sum of 20 x {number}:", found.as_py())
assert found.as_py() == Decimal("-140282366920938483.463374607431768211456"), "the behaviour has changed"
PYTHON
