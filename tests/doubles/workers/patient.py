"""The workers' app for a machine of any load: what must not be waited for never comes, all else may be slow.

`celery -A tests.doubles.workers.patient worker`. A worker that is told to stop leaves by force after
a minute here, not after seconds, so that status 0 shows that it stopped by itself even where every step of
that is slow.
`PATIENT_PAUSE_S` is the pause between two attempts to store a batch, where a test wants it very long.
"""

import os

from tasks import delivery, shutdown
from tasks.app import app

__all__ = ["app"]

shutdown.END_S = 60.0
if pause := os.environ.get("PATIENT_PAUSE_S"):
    delivery.PAUSE_FIRST_S = delivery.PAUSE_MAX_S = float(pause)
