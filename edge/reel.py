"""Made-up cameras for measures of live runs: one in step with who takes its frames, one steady."""

import threading
import time
from collections.abc import Callable, Sequence

import cv2
import msgspec
import numpy as np

from edge.errors import SourceError
from edge.saved import Moment
from edge.sources.synthetic import SyntheticPortrait
from edge.types import Frame, Image

SIZE = (160, 120)
"""Width, height: how many frames are on their way then hardly shows in memory or in time."""


class Reel:
    """A camera whose next frame comes when the one before is through, over all its openings.

    Its clock runs ahead by one period a frame: a million frames are nine hours at 30 fps for all
    that goes by the frames' clock.
    """

    def __init__(self, frames: int, pictures: int, fault_every: int) -> None:
        """Paint the pictures.

        Args:
            frames: After which it ends.
            pictures: That come round again and again.
            fault_every: It goes away after so many frames, and the first opening then fails.
        """
        self.faults = 0
        self._frames, self._fault_every = frames, fault_every
        self._pictures = painted(pictures)
        self._given = 0
        self._turn = threading.Semaphore(1)
        self._refuses = False  # the next opening

    def now(self) -> float:
        """Return the time on the frames' clock: seconds, ahead of the system's by the frames."""
        return time.monotonic() + self._given / SyntheticPortrait.fps

    def moment(self) -> Moment:
        """Return this moment on the frames' clock."""
        return msgspec.structs.replace(Moment.now(), monotonic=self.now())

    def open(self) -> "Showing":
        """Open the camera.

        Raises:
            SourceError: It went away a moment ago.
        """
        refused, self._refuses = self._refuses, False
        if refused:
            raise SourceError("reel: is not there; wait for it")
        return Showing(self)

    def next(self, first: bool) -> Frame | None:
        """Wait for the frame before to be through; return the next, or None at the end.

        Args:
            first: It is the first of its opening.

        Raises:
            SourceError: The camera goes away.
        """
        if self._given and not first and self._given % self._fault_every == 0:
            self.faults, self._refuses = self.faults + 1, True
            raise SourceError("reel: was taken out; put it in again")
        self._turn.acquire()
        if self._given == self._frames:
            return None
        image = self._pictures[self._given % len(self._pictures)].copy()
        self._given += 1
        return Frame(image, 0, self.now(), "driver", time.time())

    def go_on(self) -> None:
        """Let the next frame come."""
        self._turn.release()


class Showing:
    """One opening of a reel."""

    live = True
    fps = SyntheticPortrait.fps
    description = f"reel: RGB {SIZE[0]}x{SIZE[1]}"

    def __init__(self, reel: Reel) -> None:
        """Begin with its next frame."""
        self._reel, self._index, self._closed = reel, 0, False

    def read(self) -> Frame | None:
        """Return the next frame when the one before has been through."""
        if self._closed:
            return None
        try:
            frame = self._reel.next(first=self._index == 0)
        except SourceError:
            self._closed = True
            raise
        if frame is None:
            return None
        self._index += 1
        return Frame(frame.image, self._index - 1, frame.captured_at, frame.clock, frame.time)

    def close(self) -> None:
        """End the pictures of this opening."""
        if not self._closed:
            self._closed = True
            self._reel.go_on()


class Steady:
    """A camera at 30 fps that dates its frames as a driver does.

    A machine that is late for a frame does not get it; the index tells.
    """

    live = True
    fps = SyntheticPortrait.fps
    description = f"steady: RGB {SIZE[0]}x{SIZE[1]} at {SyntheticPortrait.fps:g} fps"

    def __init__(
        self,
        pictures: Sequence[Image],
        frames: int = 0,
        there: Callable[[], bool] = lambda: True,
    ) -> None:
        """Begin; the first frame comes at once.

        Args:
            pictures: That come round again and again.
            frames: After which it ends; 0: never.
            there: Says whether it can still be read.
        """
        self._pictures, self._frames, self._there = pictures, frames, there
        self._index, self._due_at = 0, time.monotonic()
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        """Return the next frame when it is due, None at the end or once closed.

        Raises:
            SourceError: It is not there any more.
        """
        if self._frames and self._index >= self._frames:
            return None
        if self._closed.wait(max(0.0, self._due_at - time.monotonic())):
            return None
        if not self._there():
            raise SourceError("steady: was taken out; put it in again")
        index, now = self._index, time.monotonic()
        passed = 1 + int((now - self._due_at) * self.fps)  # frames, with those that it is late for
        self._index, self._due_at = index + passed, self._due_at + passed / self.fps
        image = self._pictures[index % len(self._pictures)].copy()
        return Frame(image, index, now, "driver", time.time())

    def close(self) -> None:
        """End a pending read."""
        self._closed.set()


def painted(n: int) -> list[Image]:
    """Return n pictures of one round of the synthetic camera, which is 10 s, evenly."""
    portrait = SyntheticPortrait(frames=0)
    indices = np.linspace(0, 300, n, endpoint=False).astype(int)
    pictures = (portrait.image(int(index)) for index in indices)
    return [
        np.asarray(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        for picture in pictures
    ]
