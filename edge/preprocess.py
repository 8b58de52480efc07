"""From a frame to a network's image tensor, in buffers made once, and the way back for boxes."""

from dataclasses import dataclass

import cv2
import numpy as np

from edge.manifest import ImageInput
from edge.types import Array, Floats, Image, TensorSpec

Region = tuple[int, int, int, int]  # left, top, right, bottom; whole frame pixels


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture stands in the network's input: input = frame * scale + offset."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_frame(self, boxes: Floats) -> Floats:
        """Map boxes (n, 4) left, top, right, bottom from input pixels to frame pixels."""
        offset = (self.offset_x, self.offset_y, self.offset_x, self.offset_y)
        scale = (self.scale_x, self.scale_y, self.scale_x, self.scale_y)
        placed: Floats = (boxes - offset) / scale
        return placed


class ImageTensor:
    """A network's image input; `fill` reuses one buffer, so its result holds until the next one."""

    def __init__(self, spec: ImageInput, tensor: TensorSpec) -> None:
        """Allocate the buffers.

        Args:
            spec: How pixels become values.
            tensor: The interpreter's word on type and quantisation.
        """
        self._spec = spec
        height, width = spec.size
        self._canvas = np.full((height, width, 3), spec.pad, np.uint8)  # (h, w, 3) RGB
        self._grey = np.full((height, width), spec.pad, np.uint8) if spec.colour == "GREY" else None
        pixels = self._canvas[..., ::-1] if spec.colour == "BGR" else self._canvas
        pixels = pixels if self._grey is None else self._grey[..., None]
        self._pixels = pixels.transpose(2, 0, 1) if spec.layout == "NCHW" else pixels
        self._tensor = np.empty((1, *self._pixels.shape), spec.dtype)
        self._table = _integer_table(spec, tensor)
        mean, scale = _channels(spec)
        self._mean = mean if spec.dtype == "float32" and mean.any() else None
        self._scale = scale if spec.dtype == "float32" and (scale != 1).any() else None
        self._covered = (0, 0, 0, 0)  # left, top, width, height: what the last picture covered

    def fill(self, image: Image, region: Region | None = None) -> tuple[Array, Placement]:
        """Fit a frame, or a region of it, into the input.

        Args:
            image: (height, width, 3) RGB.
            region: Must lie inside the frame and have an area; None for the whole frame.

        Returns:
            The tensor (1, h, w, channels) or (1, channels, h, w), and where the frame stands in it.
        """
        left, top, right, bottom = region or (0, 0, image.shape[1], image.shape[0])
        part = image[top:bottom, left:right]
        x, y, width, height = self._fit(right - left, bottom - top)
        if (x, y, width, height) != self._covered:
            self._canvas[...] = self._spec.pad
            if self._grey is not None:
                self._grey[...] = self._spec.pad
            self._normalise(np.s_[:], np.s_[:])
            self._covered = (x, y, width, height)
        rows, columns = slice(y, y + height), slice(x, x + width)
        view = self._canvas[rows, columns]
        cv2.resize(part, (width, height), dst=view, interpolation=cv2.INTER_LINEAR)
        if self._grey is not None:
            self._grey[rows, columns] = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
        self._normalise(rows, columns)
        scale_x, scale_y = width / (right - left), height / (bottom - top)
        return self._tensor, Placement(scale_x, scale_y, x - left * scale_x, y - top * scale_y)

    def _fit(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, width and height in the input for a picture of that size."""
        full_height, full_width = self._spec.size
        if self._spec.fit != "letterbox":
            return 0, 0, full_width, full_height
        scale = min(full_width / width, full_height / height)
        fit_width = min(full_width, max(1, round(width * scale)))
        fit_height = min(full_height, max(1, round(height * scale)))
        if self._spec.place == "top-left":
            return 0, 0, fit_width, fit_height
        return (full_width - fit_width) // 2, (full_height - fit_height) // 2, fit_width, fit_height

    def _normalise(self, rows: slice, columns: slice) -> None:
        """Write the values of some rows and columns; the bars beside a picture keep theirs."""
        nchw = self._spec.layout == "NCHW"
        part = np.s_[:, rows, columns] if nchw else np.s_[rows, columns]
        pixels, values = self._pixels[part], self._tensor[0][part]
        if self._table is not None:
            for channel, table in enumerate(self._table):
                one = np.s_[channel] if nchw else np.s_[..., channel]
                values[one] = table[pixels[one]]
            return
        # In three passes numpy is as fast as one pass of OpenCV, and it takes any layout.
        values[...] = pixels
        if self._mean is not None:
            values -= self._mean
        if self._scale is not None:
            values *= self._scale


def normalise(pixels: Image, spec: ImageInput) -> Array:
    """Return float32 network values of pixels that already have the input's layout and size."""
    mean, scale = _channels(spec)
    return ((pixels.astype(np.float32) - mean) * scale).astype(np.float32)


def _channels(spec: ImageInput) -> tuple[Array, Array]:
    """Return mean and scale, scalar where all channels agree: that is four times faster."""
    values = []
    for channels in (spec.mean, spec.scale):
        array = np.asarray(channels, np.float32)
        if len(set(channels)) == 1 or spec.colour == "GREY":
            array = array[0]
        elif spec.layout == "NCHW":
            array = array.reshape(3, 1, 1)
        values.append(array)
    return values[0], values[1]


def _integer_table(spec: ImageInput, tensor: TensorSpec) -> Array | None:
    """Return what is stored for every channel and pixel value, (channels, 256).

    None where nothing has to be done: real values, or bytes that are stored as they are.
    """
    if spec.dtype == "float32":
        return None
    pixels = np.arange(256, dtype=np.float64)
    real = (pixels - np.array(spec.mean)[:, None]) * np.array(spec.scale)[:, None]
    stored = real / tensor.scale + tensor.zero_point if tensor.scale else real
    limits = np.iinfo(spec.dtype)
    table = np.clip(np.rint(stored), limits.min, limits.max).astype(spec.dtype)
    table = table[:1] if spec.colour == "GREY" else table
    return None if spec.dtype == "uint8" and (table == pixels).all() else table
