"""The targets of the live tracks: begun with them, stepped every frame, anchored by detections."""

import numpy as np

from edge.geometry import iou
from edge.recurrent import RecurrentTracker, joined
from edge.types import Array, Carried, Floats, Frame, Ints

GOOD_OVERLAP = 0.3
"""A detection that overlaps its track less is of a target that was lost: what the state knows of
its way there is worth nothing."""


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
