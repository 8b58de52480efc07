"""Whether a driver's timestamp can be believed: some count from another moment, or not at all."""

from edge.types import Clock

_OLDEST_S = 5.0
_NEWEST_S = 1.0


def moment(taken: float, now: float) -> tuple[float, Clock]:
    """Return when a picture was taken, and whose word that is.

    Args:
        taken: What the driver says, in monotonic seconds.
        now: When the picture arrived; it counts where the age would be absurd.
    """
    if -_NEWEST_S <= now - taken <= _OLDEST_S:
        return min(taken, now), "driver"
    return now, "arrival"
