"""Which detection belongs to which track: candidate pairs, how well they fit, assignment.

Candidates are a list of pairs, not a matrix: of many targets most are far apart, and where no track
and no detection stands in two pairs there is nothing to solve.
"""

import math
from typing import NamedTuple

import lap
import numpy as np

from edge.types import Array, Floats, Ints

LARGEST_GROWTH = math.log(2.0)
"""A target that jumped has at most doubled or halved."""


class Pairs(NamedTuple):
    """Pairs of a track and a detection, in order of tracks."""

    tracks: Ints
    """(p,) columns of the track table."""
    detections: Ints
    """(p,) columns of the detections."""

    def where(self, keep: Array) -> "Pairs":
        """Return the pairs that a mask (p,) or a list of indices keeps."""
        return Pairs(self.tracks[keep], self.detections[keep])


def widened(boxes: Floats, buffer: Floats | float) -> Floats:
    """Return left, top, right, bottom (4, n) of boxes widened on every side.

    Args:
        boxes: (4, n) centre x, centre y, width, height.
        buffer: (n,) or a number, in sizes of the box.
    """
    half = boxes[2:] * (buffer + 0.5)
    return np.concatenate((boxes[:2] - half, boxes[:2] + half))


def overlapping(tracks: Floats, detections: Floats) -> Pairs:
    """Return all pairs of boxes that overlap; both are (4, n) left, top, right, bottom."""
    hit = tracks[:2, :, None] < detections[2:, None]  # (2, n, m), across and down
    hit &= tracks[2:, :, None] > detections[:2, None]
    both = hit[0] & hit[1]
    # Of many boxes few overlap, and then this takes a seventh of the time of both.nonzero().
    return Pairs(*np.unravel_index(both.ravel().nonzero()[0], both.shape))


def iou(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union (p,) of the boxes of `overlapping` pairs, (4, p) ltrb."""
    extent = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = extent[0] * extent[1]
    size_a, size_b = a[2:] - a[:2], b[2:] - b[:2]
    union = size_a[0] * size_a[1] + size_b[0] * size_b[1] - shared
    ratio: Floats = shared / union
    return ratio


def apart(a: Floats, b: Floats) -> Floats:
    """Return how far centres are apart (n, m), across or down, whichever is more.

    Args:
        a: (4, n) centre x, centre y, width, height.
        b: (4, m) likewise.

    Returns:
        Distances in sizes of the box in `a`.
    """
    distance = np.abs(a[:2, :, None] - b[:2, None, :]) / a[2:, :, None]
    larger: Floats = np.maximum(distance[0], distance[1])
    return larger


def lone_pairs(
    tracks: Floats, company: Floats, detections: Floats, others: Floats, jump: float
) -> Pairs:
    """Return the pairs of similar size within a jump of each other that nobody else stands near.

    Args:
        tracks: (4, n) centre x, centre y, width, height: those without a detection.
        company: (4, k) likewise, all tracks.
        detections: (4, m) likewise, those without a track.
        others: (4, l) likewise, all detections.
        jump: How far centres may be apart, in sizes.
    """
    near = apart(tracks, detections) < jump
    if near.any():
        growth = np.abs(np.log(tracks[2:, :, None] / detections[2:, None, :]))
        near &= np.maximum(growth[0], growth[1]) < LARGEST_GROWTH
        lone = np.count_nonzero(apart(tracks, company) < jump, axis=1) == 1
        lone &= np.count_nonzero(apart(tracks, others) < jump, axis=1) == 1
        near &= lone[:, None]
        near &= np.count_nonzero(apart(detections, others) < jump, axis=1) == 1
        near &= np.count_nonzero(near, axis=0) == 1
    return Pairs(*near.nonzero())


def contested(pairs: Pairs) -> bool:
    """Say whether a track or a detection stands in two pairs."""
    n = len(pairs.tracks)
    return len(set(pairs.tracks.tolist())) < n or len(set(pairs.detections.tolist())) < n


def assign(pairs: Pairs, fit: Floats, late: Array) -> Pairs:
    """Choose pairs so that no track and no detection has two, with the greatest sum of fits.

    Args:
        pairs: the candidates.
        fit: (p,) above 0.
        late: (p,) True for pairs that may only take what the others left.
    """
    in_track, in_detection = np.bincount(pairs.tracks), np.bincount(pairs.detections)
    rivals = (in_track[pairs.tracks] > 1) | (in_detection[pairs.detections] > 1)
    chosen = ~rivals
    _choose(pairs, fit, rivals & ~late, chosen)
    if late.any():
        taken = pairs.where(chosen)
        rivals &= late
        rivals &= ~np.isin(pairs.tracks, taken.tracks)
        rivals &= ~np.isin(pairs.detections, taken.detections)
        _choose(pairs, fit, rivals, chosen)
    return pairs.where(chosen)


def _choose(pairs: Pairs, fit: Floats, rivals: Array, chosen: Array) -> None:
    """Solve the assignment among the pairs of the mask `rivals`, and mark it in `chosen`."""
    open_pairs = rivals.nonzero()[0]
    if not len(open_pairs):
        return
    row, n_rows = _dense(pairs.tracks[open_pairs])
    column, n_columns = _dense(pairs.detections[open_pairs])
    cost = np.zeros((n_rows, n_columns))  # 0, what strangers cost, is as good as no partner
    cost[row, column] = -fit[open_pairs]
    partner, _ = lap.lapjv(cost, extend_cost=True, return_cost=False)
    chosen[open_pairs[partner[row] == column]] = True


def _dense(numbers: Ints) -> tuple[Ints, int]:
    """Renumber without gaps; return the new numbers and how many differ."""
    present = np.bincount(numbers) > 0
    return (np.cumsum(present) - 1)[numbers], int(np.count_nonzero(present))
