"""From boxes in a frame to a batch of crops: what a recurrent tracker looks at, and the way back.

The geometry is that of `train/crops.py`: the region of a box (w, h) with the root s of w * h is
centred on it and context * w ** (1 - square) * s ** square wide, and as high likewise. The crop
samples it at its own pixels' centres, bilinear, at the frame's full resolution; beyond the frame
its edge is repeated.
"""

import cv2
import numpy as np

from edge.manifest import ImageInput
from edge.types import Floats, Image

_MARGIN_PX = 2.0
"""What is sampled beside a region's edges, and a little more."""
_MOST_PX = 32_000


class Crops:
    """A batch of crops in one buffer, which grows with the most targets and is used again.

    Invariant: what `fill` returned holds until the next `fill`.
    """

    def __init__(self, spec: ImageInput, room: int = 8) -> None:
        """Allocate the buffer.

        Args:
            spec: Of bytes, RGB, layout NHWC; its size, `context` and `square` make the crop.
            room: Targets that there is room for at first.
        """
        self._context, self._square = spec.context, spec.square
        self._buffer = np.empty((room, *spec.shape), np.uint8)  # (room, h, w, 3)
        self._size = np.array((spec.size[1], spec.size[0]), np.float64)  # (2,) width, height
        self._map = np.zeros((2, 3))  # of the crop being cut

    def fill(self, image: Image, boxes: Floats) -> tuple[Image, Floats]:
        """Cut a crop around every box.

        Args:
            image: (height, width, 3) RGB.
            boxes: (n, 4) left, top, right, bottom in frame pixels; each has an area.

        Returns:
            crops (n, h, w, 3), a part of the buffer; what they cover (n, 4) left, top, right,
            bottom in frame pixels.
        """
        n = len(boxes)
        if n > len(self._buffer):
            self._buffer = np.empty((2 * n, *self._buffer.shape[1:]), np.uint8)
        views = region(boxes, self._context, self._square)
        limits = np.array((image.shape[1], image.shape[0]))
        parts = _parts(views, limits)
        scale = (views[:, 2:] - views[:, :2]) / self._size  # (n, 2) frame pixels a crop pixel
        start = views[:, :2] + scale / 2 - 0.5 - parts[:, :2]  # (n, 2) of the first pixel's centre
        for crop, part, by, at in zip(
            self._buffer, parts.tolist(), scale.tolist(), start.tolist(), strict=False
        ):
            self._cut(image, part, by, at, crop)
        return self._buffer[:n], views

    def _cut(
        self, image: Image, part: list[int], scale: list[float], start: list[float], crop: Image
    ) -> None:
        """Sample a part of the frame into one crop, in place."""
        left, top, right, bottom = part
        (self._map[0, 0], self._map[1, 1]), self._map[:, 2] = scale, start
        cv2.warpAffine(
            image[top:bottom, left:right],
            self._map,
            crop.shape[1::-1],
            dst=crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )


def region(boxes: Floats, context: float, square: float) -> Floats:
    """Return what crops cover, (n, 4) left, top, right, bottom in frame pixels.

    Args:
        boxes: (n, 4) likewise; each has an area.
        context: How many times the box: the root of the ratio of their areas.
        square: 0: of the box's shape, to 1: a square.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2  # (n, 2)
    extent = boxes[:, 2:] - boxes[:, :2]  # (n, 2)
    side = np.sqrt(extent.prod(axis=1, keepdims=True))  # (n, 1)
    half = extent * (side / extent) ** square * (context / 2)  # (n, 2)
    return np.concatenate((centre - half, centre + half), axis=1)  # (n, 4)


def _parts(views: Floats, limits: Floats) -> Floats:
    """Return the whole pixels of the frame that views (n, 4) need, (n, 4), at least one each.

    OpenCV counts pixels in 16 bits: it is given what is needed of a frame, and of a region that
    is larger still the upper left, whose edge is then repeated.
    """
    low = np.maximum(np.floor(views[:, :2] - _MARGIN_PX), 0)  # (n, 2)
    low = np.minimum(low, limits - 1)  # (n, 2)
    high = np.minimum(np.ceil(views[:, 2:] + _MARGIN_PX), limits)  # (n, 2)
    high = np.minimum(np.maximum(high, low + 1), low + _MOST_PX)  # (n, 2)
    return np.concatenate((low, high), axis=1).astype(np.int64)  # (n, 4)
