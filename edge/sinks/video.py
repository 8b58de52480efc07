"""Annotated video: the frames with the tracks drawn on them, written frame by frame."""

import os
from pathlib import Path

import cv2
import numpy as np

from edge.config import FileSettings
from edge.errors import SinkError
from edge.ring import Ring
from edge.sinks.fmp4 import TICKS, fragment, head, padding
from edge.sinks.output import expanded
from edge.sinks.overlay import Trails, draw
from edge.sinks.series import Series
from edge.types import Frame, Image, Record

SUFFIXES = (".mp4", ".mov")
QUALITY = 85
"""Of the JPEG pictures: 21 kB a frame at 640x480, 85 kB at 1920x1080."""
LARGEST = 65_500
"""Pixels across or down that a JPEG picture may have at most, by the choice of libjpeg."""
MAX_GAP_S = 10.0
"""A camera that was away for longer is shown as away for this long."""
_AROUND = 1024  # bytes of a file's head, a fragment's head and the padding before it, at most
_BEGIN = head(0, 0)[:24]  # the file type, which no other program writes so


class Video:
    """Writes Motion JPEG in fragmented MP4; whatever was written can be played, closed or not.

    A frame is shown at its `captured_at`, so dropped frames and odd rates leave the pace right.
    All pictures have the size of the first; a frame of another size is fitted between black bars.
    A frame that is absent is not written.
    """

    wants_frame = True

    def __init__(
        self, uri: str, path: str, *, keep: bool = False, files: FileSettings | None = None
    ) -> None:
        """Open the file; see `open_sink`.

        Raises:
            SinkError: It cannot be opened, or it is no kind of video that can be written.
        """
        if Path(path).suffix.lower() not in SUFFIXES:
            raise SinkError(f"{uri}: cannot write this kind of video; use {' or '.join(SUFFIXES)}")
        place = expanded(path)
        ring = Ring(place.parent, f"{place.stem}-", place.suffix, _BEGIN, place.name)
        anew = keep and (os.path.isfile(place) or not os.path.exists(place))  # no pipe or device
        self._files = Series(uri, ring, files, None if anew else place)
        self.name = uri
        self._trails = Trails()
        self._size = (0, 0)
        self._number = 0
        self._start_s = 0.0
        self._captured_at: float | None = None

    def write(self, record: Record, frame: Frame | None = None) -> None:
        """Append one frame; without one, the tracks are drawn on black.

        Raises:
            SinkError: It cannot be written, or is too large; no part of it is in the file.
            OutputClosed: The reader of the pipe went away.
        """
        if record.condition == "absent":
            return
        image = _black(record.size) if frame is None else frame.image
        width, height = self._size if any(self._size) else (image.shape[1], image.shape[0])
        if max(width, height) > LARGEST:
            raise SinkError(
                f"{self.name}: pictures of {width}x{height} are too large for a video of JPEG, "
                f"at most {LARGEST} each way; scale the source down or leave this output out"
            )
        picture = draw(image, record, self._trails.follow(record))
        jpeg = as_jpeg(_fit(picture, (width, height)))
        if begins := self._files.begins(len(jpeg) + _AROUND):
            self._number, self._start_s, self._captured_at = 0, 0.0, None
        start, duration = self._show_at(record.captured_at)
        before = head(width, height) if begins else padding(self._files.length)
        self._files.append(before + fragment(self._number + 1, start, duration, jpeg))
        self._size = (width, height)
        self._number += 1

    def _show_at(self, captured_at: float) -> tuple[int, int]:
        """Return start and likely duration of the next frame in ticks."""
        if self._captured_at is None:
            step_s = 0.04
        else:
            # a source that was opened anew may count from 0 again; players want time to go on
            step_s = min(max(captured_at - self._captured_at, 1 / TICKS), MAX_GAP_S)
            self._start_s += step_s
        self._captured_at = captured_at
        return round(self._start_s * TICKS), round(step_s * TICKS)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._files.close()


def _black(size: tuple[int, int]) -> Image:
    return np.zeros((size[1], size[0], 3), np.uint8)


def _fit(image: Image, size: tuple[int, int]) -> Image:
    """Return the image scaled into `size` (width, height), centred between black bars."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    scale = min(size[0] / width, size[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = _black(size)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=cv2.INTER_AREA
    )
    return canvas


def as_jpeg(image: Image) -> bytes:
    """Return a picture as a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
