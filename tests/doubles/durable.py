"""Redis' append-only file, as far as a test relies on what is in it."""

import redis

WITHIN_MS = 30_000


def wait_until_on_disk(client: redis.Redis) -> None:
    """Wait until everything that was written so far is in the append-only file and on disk.

    With `appendfsync everysec` a write is answered before it is in the file while the disk is busy, up to two
    seconds: a server killed then has lost what it answered.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.set("on disk", 1)  # WAITAOF waits for what its own connection wrote
        pipe.waitaof(1, 0, WITHIN_MS)
        _, (local, _) = pipe.execute()
    assert local == 1, f"not on disk within {WITHIN_MS} ms"
