"""A forecast read at a time: where boxes will be then, and how far that may be off.

A forecast holds one row a horizon, relative to the box it starts from, whose centre is (cx, cy) and
whose size s is the root of width times height: dx / s, dy / s, change of log width, of log height,
then the log of two Laplace scales (mean absolute errors): of the centre in sizes, of the log sizes.
"""

import numpy as np

from edge.types import Array, Floats

HORIZONS_S = np.array((0.0, 1 / 30, 1 / 10, 1 / 3, 1.0))
N_VALUES = 6
_INNER_S, _SPANS_S = HORIZONS_S[1:-1], np.diff(HORIZONS_S)


def read(forecast: Array, dt: Floats | float) -> tuple[Floats, Floats]:
    """Read forecasts at a time: linear between horizons, and still beyond the last.

    Args:
        forecast: (n, 5, 6), rows at `HORIZONS_S`.
        dt: Seconds from the frame that the forecast was made at, (n,) or one for all; before that
            frame is at it.

    Returns:
        displacement (n, 4): dx / s, dy / s, change of log width, of log height;
        scales (n, 2): of the centre in sizes, of the log sizes. Beyond the last horizon they grow
        as the root of time.
    """
    n = len(forecast)
    rows, time = np.arange(n), np.zeros(n)
    np.maximum(dt, time, out=time)  # (n,)
    left = np.searchsorted(_INNER_S, time, "right")  # (n,) of the horizons
    share = np.minimum((time - HORIZONS_S[left]) / _SPANS_S[left], 1.0)[:, None]  # (n, 1)
    before, after = forecast[rows, left], forecast[rows, left + 1]  # (n, 6) each
    values = before + (after - before) * share  # (n, 6)
    later = np.maximum(time / HORIZONS_S[-1], 1.0) ** 0.5  # (n,)
    return values[:, :4], np.exp(values[:, 4:]) * later[:, None]


def moved(boxes: Floats, displacement: Floats) -> Floats:
    """Return boxes (n, 4) left, top, right, bottom after a displacement (n, 4) as `read` gives."""
    extent = boxes[:, 2:] - boxes[:, :2]  # (n, 2)
    size = np.sqrt(extent.prod(axis=1, keepdims=True))  # (n, 1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + displacement[:, :2] * size  # (n, 2)
    half = extent * np.exp(displacement[:, 2:]) / 2  # (n, 2)
    return np.concatenate((centre - half, centre + half), axis=1)  # (n, 4)
