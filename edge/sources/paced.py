"""Let a file behave like a camera: frames come when they are due, whether or not anybody waits."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edge.sources import FrameSource
from edge.types import Frame

_log = logging.getLogger(__name__)

_SLIP_S = 1.0


class Paced:
    """A source played at its own speed; `captured_at` is monotonic time.

    A source that cannot keep up (slow decoding, a machine that slept) plays later from then on,
    rather than delivering ever older frames.
    """

    live = True

    def __init__(
        self,
        source: FrameSource,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """Take over a source that is not live.

        Args:
            source: Closed by `close`.
            monotonic: Seconds.
            wait: Sleeps that many seconds, or returns True as soon as the source is closed.
        """
        self.fps = source.fps
        self.description = f"{source.description}, played at its own speed"
        self._source = source
        self._monotonic = monotonic
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._start: float | None = None
        """The monotonic time of media time 0."""

    def read(self) -> Frame | None:
        """Return the next frame when it is due, or None at the end or once closed."""
        frame = self._source.read()
        if frame is None:
            return None
        now = self._monotonic()
        if self._start is None:
            self._start = now - frame.captured_at
        late = now - (self._start + frame.captured_at)
        if late > _SLIP_S:
            _log.warning("%s: %.1f s late, going on from here", self.description, late)
            self._start += late
        if late < 0 and self._wait(-late):
            return None
        captured_at = self._start + frame.captured_at
        wall = time.time() - (self._monotonic() - captured_at)
        return replace(frame, captured_at=captured_at, time=wall)

    def close(self) -> None:
        """End a pending wait and close the source."""
        self._closing.set()
        self._source.close()
