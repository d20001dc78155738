"""What the garbage collector does in a process that runs for long."""

import gc

#: Of the three generations. What we make is freed by its count of references; cycles come from libraries.
THRESHOLDS = (10_000, 20, 100)


def settle() -> None:
    """Leave what is there at the end of a start alone for good, and look for cycles less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
