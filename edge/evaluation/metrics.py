"""What a pass is worth: overlap, precision, presence, forecast, and finding a target again."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge.evaluation.passes import HORIZONS_S, Pass
from edge.evaluation.sequences import AnnotatedSequence
from edge.geometry import iou
from edge.types import Array, Floats, Ints

ON_TARGET, OFF_TARGET = 0.4, 0.05
"""Intersection over union above which a follower is on its target, and below which it is off."""
FOUND_WITHIN_S = 1.0
"""After a target has come back into view."""
MEANS = ("iou", "auc", "p20", "np", "f33", "f100", "f333")
_THRESHOLDS = np.linspace(0, 1, 21)  # of success; Wu, Lim, Yang: Object Tracking Benchmark, 2015
_SHARES = np.linspace(0, 0.5, 51)  # of normalised precision; Mueller et al.: TrackingNet, 2018
_NEAR_PX = 20


@dataclass(frozen=True)
class Found:
    """Of so many targets that were gone, how many were found again."""

    found: int = 0
    gone: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(self.found + other.found, self.gone + other.gone)

    @property
    def share(self) -> float:
        """0..1; NaN where none was gone."""
        return self.found / self.gone if self.gone else np.nan


@dataclass(frozen=True)
class Scores:
    """One pass, judged."""

    seed: int
    scored: int
    """Frames that count: no box was given, and the target has one and is not hidden."""
    means: dict[str, float]
    """By the names in `MEANS`; NaN where there was nothing to measure."""
    on: Floats
    """(n,) presence in the frames where the follower was on its target."""
    off: Floats
    """(m,) presence in those where it was off, or where the target was hidden."""
    recovered: Found
    """After the target had been out of view."""
    refound: Found
    """After the follower had lost a target in full view."""


def judge(done: Pass, sequence: AnnotatedSequence) -> Scores:
    """Compare one pass with the truth."""
    truth = sequence.truth[done.frames]
    visible = ~np.isnan(truth).any(axis=1) & ~done.hidden
    scored = visible & (done.since > 0)
    overlap = np.where(scored, _overlaps(done.boxes, truth), np.nan)
    on, off = overlap > ON_TARGET, overlap < OFF_TARGET
    miss = _centre(done.boxes) - _centre(truth)
    size = truth[:, 2:] - truth[:, :2]
    ahead = np.where(on[:, None], _forecast_errors(done, sequence), np.nan)
    means = {
        "iou": _mean(overlap[scored]),
        "auc": _area(overlap[scored][:, None] > _THRESHOLDS),
        "p20": _mean(np.linalg.norm(miss[scored], axis=1) <= _NEAR_PX),
        "np": _area(np.linalg.norm(miss[scored] / size[scored], axis=1)[:, None] <= _SHARES),
        **{f"f{1000 * s:.0f}": _mean(ahead[:, k]) for k, s in enumerate(HORIZONS_S)},
    }
    within = round(FOUND_WITHIN_S * sequence.fps)
    recovered = refound = Found()
    for rows in _stretches(done):
        recovered += _recovered(done.frames[rows], visible[rows], on[rows], within)
        refound += _refound(on[rows], off[rows])
    presence_on, presence_off = done.presence[on], done.presence[off | done.hidden]
    frames = int(scored.sum())
    return Scores(done.seed, frames, means, presence_on, presence_off, recovered, refound)


def presence_auc(on: Floats, off: Floats) -> float:
    """Return the chance that presence is higher in a frame on the target than in one off it.

    Args:
        on: (n,) presence on the target.
        off: (m,) presence off it.

    Returns:
        Ties count half; NaN where either is empty.
    """
    if not len(on) or not len(off):
        return np.nan
    order = np.sort(off)
    below, not_above = np.searchsorted(order, on, "left"), np.searchsorted(order, on, "right")
    return float((below + not_above).mean() / (2 * len(off)))


def _overlaps(boxes: Floats, truth: Floats) -> Floats:
    """Return the intersection over union of each row with its own; 0 where one is no box."""
    pairs = [iou(one[None], true[None])[0, 0] for one, true in zip(boxes, truth, strict=True)]
    return np.nan_to_num(np.array(pairs))


def _centre(boxes: Floats) -> Floats:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _mean(values: Array) -> float:
    """Return the mean of what is there; NaN of nothing."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else np.nan


def _area(passed: Array) -> float:
    """Return the mean over thresholds of the share of frames that passed each (n, thresholds)."""
    return float(passed.mean()) if len(passed) else np.nan


def _forecast_errors(done: Pass, sequence: AnnotatedSequence) -> Floats:
    """Return (n, horizons) how far forecast centres are from the true ones, in true sizes.

    Between frames the truth is a straight line; NaN where there is none at that time.
    """
    errors = np.full(done.forecasts.shape[:2], np.nan)
    for column, ahead_s in enumerate(HORIZONS_S):
        at = np.round(done.frames + ahead_s * sequence.fps, 6)  # 3.0000000001 is frame 3
        inside = np.flatnonzero(at <= len(sequence) - 1)
        before = np.floor(at[inside]).astype(int)
        share = (at[inside] - before)[:, None]
        after = np.minimum(before + (share[:, 0] > 0), len(sequence) - 1)
        truth = (1 - share) * sequence.truth[before] + share * sequence.truth[after]
        size = np.sqrt(np.prod(truth[:, 2:] - truth[:, :2], axis=1))
        miss = _centre(done.forecasts[inside, column]) - _centre(truth)
        errors[inside, column] = np.linalg.norm(miss, axis=1) / size
    return errors


def _stretches(done: Pass) -> list[slice]:
    """Return the rows from each given box to the next."""
    starts = [*np.flatnonzero(done.since == 0), len(done.since)]
    return [slice(a, b) for a, b in pairwise(starts)]


def _recovered(frames: Ints, visible: Array, on: Array, within: int) -> Found:
    """Count, in one stretch, the targets that went out of view while they were followed.

    One that comes back counts; it is found if the follower is on it within so many frames.
    """
    events = Found()
    edges = np.flatnonzero(np.diff(visible.astype(int)))
    for gone, back in zip(edges[:-1] + 1, edges[1:] + 1, strict=True):
        followed = gone == 1 or on[gone - 1]  # in its first row the stretch was given the box
        if visible[gone] or not followed:
            continue
        soon = frames[back:] < frames[back] + within
        events += Found(int(on[back:][soon].any()), 1)
    return events


def _refound(on: Array, off: Array) -> Found:
    """Count, in one stretch, how often the follower left its target, and came back to it."""
    found = gone = 0
    following = True
    for is_on, is_off in zip(on, off, strict=True):
        if following and is_off:
            gone, following = gone + 1, False
        elif is_on and not following:
            found, following = found + 1, True
    return Found(found, gone)
