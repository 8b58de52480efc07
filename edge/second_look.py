"""A closer look, at full resolution, where the first was unsure or missed a track.

The whole frame is scaled down to the detector's input, so a small or blurred target is a few pixels
there. A region around it, shown to a small network made for near targets, costs a tenth of the
first look, and only where it is needed.
"""

from collections.abc import Sequence

import numpy as np

from edge.decode import suppress
from edge.detector import Detector
from edge.geometry import iou
from edge.preprocess import Region
from edge.types import Array, Detections, Floats, Image

REGION = 4.0
"""Sides of a region in sides of the box it is around."""
SURE = 0.8
"""A detection from this score is not looked at again."""
DOUBT = 0.7
"""The score of an unsure detection that a closer look does not find falls by this factor."""
SAME = 0.3
"""Boxes that overlap by more intersection over union are of one target."""
FURTHEST = 1.5
"""How far from the expected centre a missed track may be found, in sizes of its box."""
LARGEST_GROWTH = 2.0
_SMALLEST_PX = 8


class SecondLook:
    """Looks at so many regions a frame at most; the unsure detections come before missed tracks."""

    def __init__(self, closer: Sequence[Detector | None], most: int) -> None:
        """Take the networks.

        Args:
            closer: For every label the detector that looks closer, None where there is none.
            most: Looks a frame.
        """
        self._closer = closer
        self._most = most
        self._left = most

    def confirm(self, image: Image, found: Detections) -> Detections:
        """Look at the unsure detections of a new frame, best first.

        Returns:
            The same detections: with the closer look's box and the better score where it agrees,
            with a lower score where it sees nothing.
        """
        self._left = self._most
        unsure = np.flatnonzero(found.scores < SURE)
        if not len(unsure) or not self._most:
            return found
        boxes, scores = found.boxes.copy(), found.scores.copy()
        for row in unsure[np.argsort(-found.scores[unsure])]:
            closer = self._look(image, boxes[row], int(found.labels[row]))
            if closer is None:
                continue
            overlap = iou(boxes[row : row + 1], closer.boxes)[0]
            if overlap.max(initial=0.0) > SAME:
                best = int(overlap.argmax())
                boxes[row] = closer.boxes[best]
                scores[row] = max(scores[row], closer.scores[best])
            else:
                scores[row] *= DOUBT
        # Two unsure boxes may have become one: of each target the better stays.
        return suppress(Detections(boxes, scores, found.labels), SAME)

    def search(self, image: Image, missed: Detections, found: Detections) -> Detections:
        """Look for missed tracks where they are expected, the most present first.

        Args:
            image: Of the same frame as `confirm` had.
            missed: Expected boxes, presence and labels of the tracks.
            found: What was found already; it is not found a second time.
        """
        parts = [Detections.none()]
        if not len(missed):
            return parts[0]
        for row in np.argsort(-missed.scores):
            closer = self._look(image, missed.boxes[row], int(missed.labels[row]))
            if closer is not None and len(closer):
                news = iou(closer.boxes, found.boxes).max(axis=1, initial=0.0) <= SAME
                kept = closer[_plausible(missed.boxes[row], closer.boxes) & news]
                labels = np.full(len(kept), missed.labels[row])
                parts.append(Detections(kept.boxes, kept.scores, labels))
        return joined(parts)

    def _look(self, image: Image, box: Floats, label: int) -> Detections | None:
        """Return what stands around a box; None where no look was taken."""
        region = around(box, image)
        closer = self._closer[label]
        if closer is None or region is None or not self._left:
            return None
        self._left -= 1
        return closer.detect(image, region)


def around(box: Floats, image: Image) -> Region | None:
    """Return the region around a box (4,) left, top, right, bottom; None outside the frame."""
    centre = (box[:2] + box[2:]) / 2
    half = (box[2:] - box[:2]).max() * REGION / 2
    height, width = image.shape[:2]
    left, top = np.maximum(centre - half, 0).astype(int).tolist()
    right, bottom = np.minimum(centre + half, (width, height)).astype(int).tolist()
    if right - left < _SMALLEST_PX or bottom - top < _SMALLEST_PX:
        return None
    return left, top, right, bottom


def joined(parts: Sequence[Detections]) -> Detections:
    """Return several sets of detections as one."""
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _plausible(expected: Floats, found: Floats) -> Array:
    """Return which of the boxes (n, 4) can be the target expected at a box (4,)."""
    size = expected[2:] - expected[:2]
    sizes = found[:, 2:] - found[:, :2]
    away = np.abs((found[:, :2] + found[:, 2:] - expected[:2] - expected[2:]) / 2) / size
    growth = np.maximum(sizes / size, size / sizes)
    return np.logical_and((away < FURTHEST).all(axis=1), (growth < LARGEST_GROWTH).all(axis=1))
