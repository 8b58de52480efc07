"""The targets of the live tracks: begun with them, stepped every frame, anchored by detections."""

from dataclasses import dataclass, replace

import numpy as np

from edge.forecast import moved
from edge.geometry import iou
from edge.lifecycle import common
from edge.recurrent import RecurrentTracker, Targets, joined
from edge.types import Array, Carried, Floats, Frame, Ints

GOOD_OVERLAP = 0.3
"""A detection that overlaps its track less is of a target that was lost: what the state knows of
its way there is worth nothing."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a late look changes in where the targets have been seen since its frame."""

    ids: Ints
    """(m,) rising: of targets that a detector found near where they were."""
    moves: Floats
    """(m, 4) from there to the detection; see `edge.forecast.moved`."""
    begun: Ints
    """Of targets that begin anew: where they were seen since means nothing."""

    def of(self, carried: Carried) -> Carried:
        """Return where the targets would have been seen."""
        kept = ~np.isin(carried.ids, self.begun)
        ids, boxes = carried.ids[kept], carried.boxes[kept]
        rows, which = common(ids, self.ids)
        boxes[rows] = moved(boxes[rows], self.moves[which])
        return Carried(ids, boxes, carried.presence[kept])


class LiveTargets:
    """One target a track, in the order of the tracks.

    Invariant: only a good frame reaches the recurrent state.
    """

    def __init__(self, recurrent: RecurrentTracker) -> None:
        """Begin without targets."""
        self._recurrent = recurrent
        self._targets = recurrent.none()
        self._ids = np.empty(0, np.int64)
        self._presence_before = np.empty(0)

    def step(self, frame: Frame) -> Carried:
        """Find all targets in the next good frame, and return where they are in it."""
        self._presence_before = self._targets.presence
        self._targets = self._recurrent.step(frame.image, self._targets, frame.captured_at)
        return self.at(frame.captured_at)

    def at(self, time: float) -> Carried:
        """Return where the targets are, or are expected, at a time in seconds."""
        return Carried(self._ids, self._targets.at(time), self._targets.presence)

    def doubted(self, share: float) -> tuple[bool, bool]:
        """Say whether a presence is below a share, and whether one fell there in the last step."""
        low = self._targets.presence < share
        return bool(low.any()), bool((low & (self._presence_before >= share)).any())

    def correct(
        self, frame: Frame, seen: Carried, ids: Ints, boxes: Floats, detected: Array
    ) -> Correction:
        """Take what a detector found in an earlier frame, from which targets were stepped on since.

        A target near its detection is moved by as much as it was off, wherever it is by now, and
        compared with the new template; what its state knows stays. One that was far away, or is
        new, begins in the earlier frame, and the next step leads from there to the present.

        Args:
            frame: The earlier one.
            seen: Where the targets were in it.
            ids: (n,) of the tracks after the look at it, rising.
            boxes: (n, 4) left, top, right, bottom; where they were in it.
            detected: (n,) True where a detector said so.
        """
        there, (rows, which) = np.zeros((len(ids), 4)), common(ids, seen.ids)
        there[rows] = seen.boxes[which]
        new = ~np.isin(ids, seen.ids)
        taken = (detected & (np.isin(ids, self._ids) | new)).nonzero()[0]
        begun = self._recurrent.start(frame.image, boxes[taken], frame.captured_at)
        far = iou(there[taken], boxes[taken]).diagonal() < GOOD_OVERLAP
        near = taken[~far]
        moves = _moves(there[near], boxes[near])
        self._move(ids[near], moves, begun[~far])
        left = ~np.isin(self._ids, ids[taken[far]])
        known = np.concatenate((self._ids[left], ids[taken[far]]))
        order = np.argsort(known)
        self._targets = joined((self._targets[left], begun[far]))[order]
        self._ids = known[order]
        return Correction(ids[near], moves, ids[taken[far]])

    def _move(self, ids: Ints, moves: Floats, begun: Targets) -> None:
        """Move targets (m,) by moves (m, 4), and give them the templates of others."""
        rows, _ = common(self._ids, ids)
        boxes, templates = self._targets.boxes.copy(), self._targets.templates.copy()
        boxes[rows], templates[rows] = moved(boxes[rows], moves), begun.templates
        self._targets = replace(self._targets, boxes=boxes, templates=templates)

    def keep(self, frame: Frame, ids: Ints, boxes: Floats, detected: Array) -> None:
        """Begin and end targets as tracks do, and anchor those that a detector found.

        A detection near its track gives a new template and corrects the box; what the state knows
        stays. One that is far away begins anew.

        Args:
            frame: The one last stepped to.
            ids: (n,) of the live tracks, rising.
            boxes: (n, 4) left, top, right, bottom; where they are now.
            detected: (n,) True where a detector said so.
        """
        known = np.isin(ids, self._ids)
        if not known.all() or len(ids) < len(self._ids):
            new = self._recurrent.none(int(np.count_nonzero(~known)))
            self._targets = joined((self._targets[np.isin(self._ids, ids)], new))
            self._ids = ids
        rows = (detected | ~known).nonzero()[0]
        if not len(rows):
            return
        overlap = iou(self._targets.at(frame.captured_at)[rows], boxes[rows]).diagonal()
        self._targets = self._recurrent.anchor(
            frame.image,
            self._targets,
            rows,
            boxes[rows],
            frame.captured_at,
            fresh=overlap < GOOD_OVERLAP,
        )


def _moves(before: Floats, after: Floats) -> Floats:
    """Return what `moved` needs to lead from boxes (n, 4) to others."""
    extent = before[:, 2:] - before[:, :2]  # (n, 2)
    size = np.sqrt(extent.prod(axis=1, keepdims=True))  # (n, 1)
    way = (after[:, :2] + after[:, 2:] - before[:, :2] - before[:, 2:]) / 2  # (n, 2)
    growth = np.log((after[:, 2:] - after[:, :2]) / extent)  # (n, 2)
    return np.concatenate((way / size, growth), axis=1)  # (n, 4)
