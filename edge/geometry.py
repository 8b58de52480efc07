"""Boxes against boxes."""

import numpy as np

from edge.types import Floats


def iou(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union of every pair.

    Args:
        a: (n, 4) left, top, right, bottom.
        b: (m, 4) likewise.

    Returns:
        (n, m) in 0..1; 0 where neither has an area.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(bottom_right - top_left, 0.0), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
