"""OpenCV's own trackers as followers: CSRT and KCF, of its contrib modules."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from edge.follower import Followed
from edge.types import Box, Image

_SMALLEST_PX = 4


class OpenCvTracker:
    """One of OpenCV's trackers at its defaults; its boxes are whole pixels.

    OpenCV expects BGR: the conversion is part of a step, some hundredths of a millisecond.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name = name
        self._make = make
        self._box: Box = (0.0, 0.0, 0.0, 0.0)

    def start(self, image: Image, box: Box, captured_at: float) -> None:  # noqa: ARG002
        """Begin with the whole pixels of the box that are in the picture."""
        limits = np.array([image.shape[1], image.shape[0]])
        low = np.clip(np.round(box[:2]), 0, limits - _SMALLEST_PX).astype(int)
        high = np.clip(np.round(box[2:]), low + _SMALLEST_PX, limits).astype(int)
        self._tracker = self._make()
        self._tracker.init(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (*low, *(high - low)))
        self._box = box

    anchor = start

    def step(self, image: Image, captured_at: float) -> Followed:  # noqa: ARG002
        """Search; where it says that it lost the target, its last box stays."""
        found, rectangle = self._tracker.update(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if found:
            left, top, width, height = map(float, rectangle)
            self._box = (left, top, left + width, top + height)
        return Followed(self._box, float(found))
