"""A folder of images as a source: every image once, sorted by name, at a given rate."""

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError, SourceError
from edge.sources import IMAGE_SUFFIXES
from edge.sources.quiet import silence_opencv
from edge.types import Array, Frame, Image

silence_opencv()

_OF_INTEREST = "jpg, png, bmp, webp, tif, ppm or pgm"


class ImageFolder:
    """Images in the given order as frames of a constant rate; they may differ in size."""

    live = False

    def __init__(self, name: str, paths: list[Path], fps: float) -> None:
        self.fps = fps
        self.description = f"{name}: {len(paths)} images at {fps:g} fps"
        self._paths = paths
        self._index = 0
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        """Return the next image as a frame, or None after the last."""
        if self._closed.is_set() or self._index == len(self._paths):
            return None
        image = read_image(self._paths[self._index])
        at = self._index / self.fps
        frame = Frame(image, self._index, at, "nominal", at)
        self._index += 1
        return frame

    def close(self) -> None:
        """End the source."""
        self._closed.set()


def open_images(path: Path, fps: float) -> ImageFolder:
    """Open a folder of images, or a single image as a folder of one.

    Raises:
        SourceError: The folder cannot be read.
        DataError: The folder holds no image.
    """
    if path.is_file():
        return ImageFolder(str(path), [path], fps)
    try:
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the folder") from None
    paths = sorted(found)
    if not paths:
        raise DataError(f"{path}: the folder holds no images; put {_OF_INTEREST} files there")
    return ImageFolder(str(path), paths, fps)


def _decode(data: NDArray[np.uint8]) -> Array | None:
    """Decode to BGR; None where that fails, also at a header that claims a billion pixels."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def read_image(path: Path) -> Image:
    """Decode an image file to RGB.

    Raises:
        SourceError: The file cannot be read.
        DataError: The file is no image, or it is damaged.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    # OpenCV before 4.11 fills what is missing of a JPEG with grey; a whole one has an end marker.
    cut = data[:2].tobytes() == b"\xff\xd8" and data.tobytes().rfind(b"\xff\xd9") < 0
    bgr = _decode(data) if data.size and not cut else None
    if bgr is None:
        raise DataError(
            f"{path}: not a readable image, or damaged ({data.size} bytes); replace or remove it"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
