"""How long to wait before the next try: the one formula of this project. Pure."""

#: Doublings after which a delay grows no more; a float would overflow long after that.
_GROWTHS_MAX = 64


def delay_s(failures: int, first_s: float, longest_s: float, *, factor: float = 2.0) -> float:
    """Return the delay after `failures` failures in a row, in seconds.

    Args:
        failures: 1 after the first failure; less counts as 1.
        first_s: delay after the first failure.
        longest_s: ceiling of the delay.
        factor: growth with each further failure.
    """
    growths = min(max(failures - 1, 0), _GROWTHS_MAX)
    return min(longest_s, first_s * factor**growths)
