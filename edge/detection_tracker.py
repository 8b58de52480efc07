"""Association alone: boxes from any detector in, tracks out."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edge.association import (
    Pairs,
    assign,
    contested,
    iou,
    lone_pairs,
    overlapping,
    widened,
)
from edge.config import TrackingSettings
from edge.errors import UsageError
from edge.lifecycle import TENTATIVE, TrackTable
from edge.motion import Motion
from edge.motion_lstm import open_motion
from edge.saved import SavedTracks
from edge.types import Array, Carried, Detections, Event, Floats, Ints, Track

MAX_COORDINATE_PX = 1e6
"""A box with a side beyond this is none, nor is one with an infinite side."""
MIN_SIZE_PX = 0.01
"""A box thinner than this has no area: written with two decimals it would have none."""


class DetectionTracker:
    """Turns detections into tracks: `tracks = tracker.update(boxes, scores, labels, captured_at)`.

    Invariant: the output depends on the frames so far alone, and equal input gives equal output.
    The box of a matched track is the filter's estimate, which is nearer to the truth than the
    detection where detections are noisy, and as near where they are not.
    """

    def __init__(
        self,
        settings: TrackingSettings | None = None,
        label_names: Sequence[str] = (),
        thresholds: Sequence[float] = (),
    ) -> None:
        """Begin without tracks.

        Args:
            settings: None: the defaults.
            label_names: By label; a label without a name is called by its number.
            thresholds: By label the score, over 0 and under 1, from which that detector is to be
                believed. Scores are then compared with the settings as if it were `birth_score`,
                odds for odds, so that one setting serves detectors of every temper. Left out:
                scores are compared as they are.
        """
        self.rejected = 0
        """Detections dropped so far because they were not finite or had no area."""
        self._settings = settings or TrackingSettings()
        self._names = _LabelNames(enumerate(label_names))
        birth = self._settings.birth_score
        self._odds = np.array([_odds(birth) / _odds(threshold) for threshold in thresholds])
        learnt = self._settings.motion == "lstm"
        motion = open_motion() if learnt else Motion(reach_s=self._settings.reach)
        self._table = TrackTable(self._settings, motion)
        self._now = -math.inf

    @property
    def events(self) -> list[Event]:
        """What changed in the latest frame: new (once confirmed), lost, found, end."""
        return self._table.events

    def update(
        self,
        boxes: ArrayLike,
        scores: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        captured_at: float | None = None,
        carried: Carried | None = None,
    ) -> list[Track]:
        """Take one frame's detections and return all live tracks, oldest first.

        Args:
            boxes: (n, 4) left, top, right, bottom in pixels; n may be 0.
            scores: (n,) in 0..1; None: all 1.
            labels: (n,) int; None: all 0. A track only ever takes detections of its own label.
            captured_at: seconds, required. Time that stands still or steps back counts as no time
                passed; a gap of more than `max_lost_s` ends all tracks.
            carried: where a recurrent tracker sees tracks in this frame; without it they are where
                their motion leads.

        Raises:
            UsageError: the arrays do not fit together, or the time is missing or not finite.
        """
        found = self._read(boxes, scores, labels)
        followed = self._advance(captured_at, carried)
        pairs = self._associate(found, None)
        self._match(pairs, found)
        seen = pairs.tracks if followed is None else np.union1d(pairs.tracks, followed)
        self._table.settle(seen, self._now)
        if len(pairs.detections) < len(found.scores):
            self._give_birth(pairs, found)
        return self.emit(self._now)

    def coast(self, captured_at: float, carried: Carried | None = None) -> list[Track]:
        """Carry all tracks over a frame that no detector looked at: skipped, frozen or black.

        Args:
            captured_at: seconds.
            carried: where a recurrent tracker, which did look at it, sees tracks.
        """
        followed = self._advance(captured_at, carried)
        self._table.coast(self._now, followed)
        return self.emit(self._now)

    def emit(self, at: float, later: Carried | None = None) -> list[Track]:
        """Return the latest frame's tracks, `box_now` carried forward to the time `at`, seconds.

        Args:
            at: seconds.
            later: where a recurrent tracker expects tracks then; without it the filter does.
        """
        return self._table.tracks(self._now, at, self._names, later)

    def live(self) -> tuple[Ints, Floats, Array]:
        """Return which tracks there are now, for a recurrent tracker to follow.

        Returns:
            ids (n,), rising; boxes (n, 4) left, top, right, bottom; a mask (n,) of those that a
            detector saw in the latest frame.
        """
        table = self._table
        return table.ids.copy(), widened(table.boxes, 0.0).T, table.detected_at == self._now

    def missed(self) -> Detections:
        """Return where to look again: the tracks the latest look did not see, tentative ones apart.

        Returns:
            predicted boxes, the tracks' presence as scores, and their labels.
        """
        columns = self._unseen().nonzero()[0]
        if not len(columns):
            return Detections.none()
        boxes = widened(self._table.boxes[:, columns], 0.0).T
        presence = self._table.scores * self._table.freshness(self._now)
        return Detections(boxes, presence[columns], self._table.labels[columns])

    def look_again(
        self, boxes: ArrayLike, scores: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> list[Track]:
        """Add detections of a second look at the same frame; they match `missed` tracks only.

        Returns:
            the frame's tracks anew; `events` is as if the first look had seen them.
        """
        found = self._read(boxes, scores, labels)
        pairs = self._associate(found, self._unseen())
        self._match(pairs, found)
        self._table.rescue(pairs.tracks)
        return self.emit(self._now)

    def saved(self) -> SavedTracks:
        """Return all that is known of the tracks, as plain values."""
        at = self._now if math.isfinite(self._now) else None
        return self._table.saved(at, self._names)

    def restore(self, saved: SavedTracks, *, known: bool = True) -> None:
        """Go on from what a tracker knew, this one or another; to be called before any frame.

        Tracks whose label has the same name here keep their ids; the others end with the next
        frame, and so do all where they are not `known` any more.
        """
        labels = {name: label for label, name in reversed(self._names.items()) if known}
        self._table.restore(saved, labels)
        self._now = -math.inf if saved.at is None else saved.at

    def copy(self) -> "DetectionTracker":
        """Return a tracker that goes its own way from here."""
        other = copy.copy(self)
        other._table = self._table.copy()
        return other

    def overtake(self, other: "DetectionTracker") -> list[Event]:
        """Take the place of a tracker that went on from an earlier copy of this one.

        Returns:
            what changes thereby; a track that the other has ended does not come back.
        """
        self._table.overtake(other._table)
        return self.events

    def _advance(self, captured_at: float | None, carried: Carried | None) -> Ints | None:
        """Carry the tracks on to a frame; return which a recurrent tracker saw, if there is one."""
        if captured_at is None or not math.isfinite(captured_at):
            raise UsageError(f"captured_at: {captured_at} is no time; give the frame's in seconds")
        self._table.begin_frame(captured_at - self._now)
        self._now = max(self._now, float(captured_at))
        return None if carried is None else self._table.place(carried, self._now)

    def _read(
        self, boxes: ArrayLike, scores: ArrayLike | None, labels: ArrayLike | None
    ) -> "_Found":
        """Return the usable rows of the caller's arrays, turned to columns."""
        rows = _box_rows(boxes)
        n = len(rows)
        sure = np.ones(n) if scores is None else np.asarray(scores, np.float64)
        kinds = np.zeros(n, np.int64) if labels is None else np.asarray(labels, np.int64)
        if sure.shape != (n,) or kinds.shape != (n,):
            given = f"{n} boxes, scores of shape {sure.shape} and labels of shape {kinds.shape}"
            raise UsageError(f"detections: {given} do not fit; give one score and label a box")
        ltrb = rows.T.copy()
        lowest = float(sure.min()) if n else 1.0
        if not (_all_usable(ltrb) and lowest > -math.inf):
            good = _usable(ltrb, sure)
            self.rejected += n - int(np.count_nonzero(good))
            ltrb, sure, kinds = ltrb[:, good], sure[good], kinds[good]
            lowest = -math.inf
        scores = np.minimum(sure, 1.0)
        if not len(self._odds):
            return _Found(ltrb, scores, scores, kinds, lowest)
        if n and not 0 <= kinds.min(initial=0) <= kinds.max(initial=0) < len(self._odds):
            raise UsageError(
                f"labels: from {kinds.min()} to {kinds.max()}, thresholds are given for "
                f"{len(self._odds)}; give one a label"
            )
        odds = self._odds[kinds]
        sure = scores * odds / (1.0 - scores + scores * odds)
        return _Found(ltrb, scores, sure, kinds, -math.inf)

    def _associate(self, found: "_Found", allowed: Array | None) -> Pairs:
        """Pair tracks, all or those of the mask `allowed` (n,), with detections."""
        pairs = self._overlapping(found, allowed)
        if len(pairs.tracks) == len(self._table) or len(pairs.detections) == len(found.scores):
            return pairs
        jumped = self._jumped(found, pairs, allowed)
        if not len(jumped.tracks):
            return pairs
        both = Pairs(
            np.concatenate((pairs.tracks, jumped.tracks)),
            np.concatenate((pairs.detections, jumped.detections)),
        )
        return both.where(np.argsort(both.tracks))

    def _jumped(self, found: "_Found", pairs: Pairs, allowed: Array | None) -> Pairs:
        """Pair what `pairs` left over where a track can only have jumped to a detection.

        A detection must be sure enough to begin a track: to continue one is the likelier story.
        """
        settings, table = self._settings, self._table
        least = settings.birth_score if allowed is None else settings.high_score
        new = found.sure >= least
        new[pairs.detections] = False
        known = table.status != TENTATIVE
        lost = known & (self._now - table.matched_at <= settings.jump_s)
        lost[pairs.tracks] = False
        if allowed is not None:
            lost &= allowed
        tracks, detections = lost.nonzero()[0], new.nonzero()[0]
        if not (len(tracks) and len(detections)):
            return Pairs(tracks[:0], detections[:0])
        jumped = lone_pairs(
            table.boxes[:, tracks],
            table.boxes[:, known],
            found.centred(detections),
            found.centred((found.sure >= settings.high_score).nonzero()[0]),
            settings.jump,
        )
        jumped = Pairs(tracks[jumped.tracks], detections[jumped.detections])
        return jumped.where(table.labels[jumped.tracks] == found.labels[jumped.detections])

    def _overlapping(self, found: "_Found", allowed: Array | None) -> Pairs:
        """Pair tracks with detections that overlap where the track is expected."""
        settings, table = self._settings, self._table
        track_boxes = widened(table.boxes, table.reach(self._now))
        pairs = overlapping(track_boxes, found.boxes)
        tracks, detections = pairs
        fit = iou(track_boxes.take(tracks, axis=1), found.boxes.take(detections, axis=1))
        good = fit >= settings.min_overlap
        good &= table.labels.take(tracks) == found.labels.take(detections)
        if found.lowest < settings.high_score:
            score = found.sure.take(detections)
            known = table.status.take(tracks) != TENTATIVE
            good &= (score >= settings.high_score) | ((score >= settings.low_score) & known)
        if allowed is not None:
            good &= allowed[tracks]
        if np.count_nonzero(good) < len(good):
            pairs, fit = pairs.where(good), fit[good]
        if not contested(pairs):
            return pairs
        fit *= table.freshness(self._now)[pairs.tracks]
        return assign(pairs, fit, found.sure[pairs.detections] < settings.high_score)

    def _match(self, pairs: Pairs, found: "_Found") -> None:
        boxes = found.centred(pairs.detections)
        self._table.match(pairs.tracks, boxes, found.scores.take(pairs.detections), self._now)

    def _give_birth(self, pairs: Pairs, found: "_Found") -> None:
        fresh = found.sure >= self._settings.birth_score
        fresh[pairs.detections] = False
        rows = fresh.nonzero()[0]
        if len(rows):
            boxes = found.centred(rows)
            at_once = found.sure[rows] >= self._settings.confirm_score
            self._table.add(boxes, found.scores[rows], found.labels[rows], at_once, self._now)

    def _unseen(self) -> Array:
        unseen: Array = self._table.matched_at < self._now
        unseen &= self._table.status != TENTATIVE
        return unseen


@dataclass(slots=True)
class _Found:
    """One frame's usable detections, a column each."""

    boxes: Floats
    """(4, n) left, top, right, bottom."""
    scores: Floats
    """(n,) at most 1."""
    sure: Floats
    """(n,) scores as the settings understand them."""
    labels: Ints
    """(n,)"""
    lowest: float
    """No `sure` is less."""

    def centred(self, columns: Ints) -> Floats:
        """Return centre x, centre y, width, height (4, m) of some columns (m,)."""
        boxes = self.boxes.take(columns, axis=1)
        low, high = boxes[:2], boxes[2:]
        return np.concatenate(((low + high) * 0.5, high - low))


class _LabelNames(dict[int, str]):
    """Names by label; a label without a name is called by its number."""

    def __missing__(self, label: int) -> str:
        name = self[label] = str(label)
        return name


def _odds(share: float) -> float:
    share = min(max(share, 1e-3), 1.0 - 1e-3)  # nothing is impossible, and nothing certain
    return share / (1.0 - share)


def _box_rows(boxes: ArrayLike) -> Floats:
    try:
        rows = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"boxes: {error}; give (n, 4) left, top, right, bottom") from error
    if rows.size == 0:
        return rows.reshape(0, 4)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise UsageError(f"boxes: the shape is {rows.shape}; give (n, 4) left, top, right, bottom")
    return rows


def _all_usable(ltrb: Floats) -> bool:
    """Say, at little cost, whether all boxes are usable; NaN fails every comparison."""
    return not ltrb.size or bool(
        ltrb.min() > -MAX_COORDINATE_PX
        and ltrb.max() < MAX_COORDINATE_PX
        and (ltrb[2:] - ltrb[:2]).min() >= MIN_SIZE_PX
    )


def _usable(ltrb: Floats, scores: Floats) -> Array:
    """Return the mask (n,) of boxes (4, n) and scores (n,) that are finite and have an area."""
    inside: Array = np.abs(ltrb) < MAX_COORDINATE_PX
    thick: Array = ltrb[2:] >= ltrb[:2] + MIN_SIZE_PX
    return inside.all(axis=0) & thick.all(axis=0) & np.isfinite(scores)
