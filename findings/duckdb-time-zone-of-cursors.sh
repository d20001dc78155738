#!/bin/sh
# Library:   duckdb 2.0.1 (Python)
# Guess:     `SET TimeZone` on a connection holds for the cursors that are made of it, as `SET threads` does.
# Behaviour: a cursor has the host's zone again, without a word: the same SELECT gives another day.
#            `SET GLOBAL TimeZone` reaches cursors made later.
# So:        `SET GLOBAL TimeZone`, or set it on each cursor.
#
# Output seen (TZ=UTC):
#   connection: 2026-09-22 00:33:00+09  day 2026-09-22
#   cursor:     2026-09-21 15:33:00+00  day 2026-09-21
#   cursor after SET GLOBAL: 2026-09-22 00:33:00+09  day 2026-09-22
#
# Ends with 0 while the behaviour is as described.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'duckdb==2.0.1'
TZ=UTC "$folder/venv/bin/python" - <<'PYTHON'
import duckdb

SQL = "SELECT t::VARCHAR, t::DATE::VARCHAR FROM (SELECT make_timestamptz(1790004780000000) AS t)"
connection = duckdb.connect()
connection.execute("SET TimeZone = 'Asia/Seoul'")
own, cursor = (one.execute(SQL).fetchone() for one in (connection, connection.cursor()))
connection.execute("SET GLOBAL TimeZone = 'Asia/Seoul'")
after = connection.cursor().execute(SQL).fetchone()
print("connection: {}  day {}".format(*own))
print("cursor:     {}  day {}".format(*cursor))
print("cursor after SET GLOBAL: {}  day {}".format(*after))
assert (own[1], cursor[1], after[1]) == ("2026-09-22", "2026-09-21", "2026-09-22"), "the behaviour has changed"
PYTHON
