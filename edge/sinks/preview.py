"""The newest picture with the tracks on it, drawn when somebody asks and not before."""

import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

from edge.sinks.overlay import Trails, draw
from edge.sinks.video import as_jpeg
from edge.types import Frame, Image, Record

_AGAIN_S = 1.0  # a reader that left is noticed when it is sent something


class Picture(NamedTuple):
    """A frame with the record on it."""

    number: int
    """Counts what was put, from 1."""
    captured_at: float
    jpeg: bytes


class Preview:
    """Holds one frame; who puts the next never waits for who looks, and readers share a drawing."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: tuple[int, Record, Image] | None = None
        self._open = True
        self._drawing = threading.Lock()  # this and what follows belong to readers
        self._drawn = Picture(0, 0.0, b"")
        self._trails = Trails()

    def put(self, record: Record, frame: Frame | None) -> None:
        """Take the newest frame; a record without one is drawn on the last picture."""
        with self._changed:
            number, _, image = self._newest or (0, None, None)
            image = image if frame is None else frame.image
            if image is not None:
                self._newest = number + 1, record, image
                self._changed.notify_all()

    def close(self) -> None:
        """Send every reader away."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def picture(self) -> Picture | None:
        """Return the newest picture, drawn now unless it was already; None before the first."""
        with self._drawing:
            newest = self._newest
            if newest is not None and newest[0] != self._drawn.number:
                number, record, image = newest
                canvas = draw(image, record, self._trails.follow(record))
                self._drawn = Picture(number, record.captured_at, as_jpeg(canvas))
            return self._drawn if newest else None

    def pictures(self, fps: float) -> Iterator[bytes]:
        """Yield the newest picture whenever one comes, until closed.

        Where none comes for a second, the last one is yielded again.

        Args:
            fps: Pictures a second at most, by the capture clock.
        """
        number, due = 0, -math.inf
        while self._wait(number, due) and (picture := self.picture()):
            number = picture.number
            due = due_after(due, picture.captured_at, fps)
            yield picture.jpeg

    def _wait(self, number: int, due: float) -> bool:
        """Wait for a picture after `number` that was taken at `due` or later, or for a second."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._is_due(number, due), _AGAIN_S)
            return self._open

    def _is_due(self, number: int, due: float) -> bool:
        return (
            self._newest is not None
            and self._newest[0] != number
            and self._newest[1].captured_at >= due
        )


def due_after(due: float, captured_at: float, fps: float) -> float:
    """Return when the next picture is due after one that was, so that the mean rate is `fps`.

    All in seconds of the capture clock.
    """
    return max(due, captured_at - 0.5 / fps) + 1 / fps
