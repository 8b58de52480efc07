"""Looks on a thread of their own: which ones, and one at a time; tracks go on meanwhile.

A look that takes longer than a frame would hold up the frames that come while it lasts. It is
given a copy of the tracks as they were before its frame, and brings that copy to it; then the copy
catches up with what came since.
"""

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from edge.detection_tracker import DetectionTracker
from edge.errors import BackendError
from edge.types import Box, Carried, Frame
from edge.vitals import Stages

_log = logging.getLogger(__name__)

LONGEST_LOOK_S = 20.0
"""A look that takes longer will not end."""
BACK = 0.5
"""Looks are taken in the path again when they take less than this share of a frame."""
_LOOKS = 3  # of whose times the median counts
_MEMORY = 0.1  # share of the newest interval in the mean
_LONGEST_INTERVAL_S = 1.0  # from frame to frame: what is longer is a camera that was away


@dataclass(slots=True)
class Look:
    """All that a look at one frame needs, and what comes of it."""

    frame: Frame
    carried: Carried | None
    """Where a tracker bundle sees the tracks in it."""
    tracks: DetectionTracker
    """Not advanced to the frame yet; the look does it."""
    stages: Stages
    given: list[Box] = field(default_factory=list)
    """Targets that begin here, as if a detector saw them."""
    since: list[tuple[float, Carried | None]] = field(default_factory=list)
    """Frames that came while it was under way: time, and where a tracker bundle saw the tracks."""


class Aside:
    """The thread beside the path, and the choice between the two.

    Invariant: detectors are used by one thread at a time.
    """

    def __init__(
        self,
        mode: Literal["auto", "always", "never"] = "never",
        start: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin with no look under way.

        Args:
            mode: auto: on the thread while a look takes longer than a frame lasts.
            start: Runs what it is given, at once or later; None: a thread each.
            clock: Seconds, for what takes how long.
        """
        self.clock = clock
        self.look: Look | None = None
        """Under way; who steps the tracks meanwhile adds to its `since`."""
        self._auto, self._wanted = mode == "auto", mode == "always"
        self._start = start or self._in_thread
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._waited_s, self._asked_at = 0.0, 0.0
        self._interval_s = 0.0
        self._last = -1, 0.0  # index and time of the last frame
        self._took_s: deque[float] = deque(maxlen=_LOOKS)

    def saw(self, frame: Frame) -> None:
        """Note that a frame came, also one that is not looked at."""
        index, at = self._last
        frames = frame.index - index
        if frames <= 0:  # the camera is away
            return
        self._last = frame.index, frame.captured_at
        if index >= 0 and 0 < frame.captured_at - at < _LONGEST_INTERVAL_S * frames:
            interval_s = (frame.captured_at - at) / frames
            known = self._interval_s or interval_s
            self._interval_s = known + (interval_s - known) * _MEMORY

    def took(self, seconds: float) -> None:
        """Note what the detectors took for a look."""
        self._took_s.append(seconds)

    def wanted(self) -> bool:
        """Say whether the next look belongs on the thread."""
        if self._auto and self._took_s and self._interval_s:
            self._choose(statistics.median(self._took_s))
        return self._wanted

    def _choose(self, look_s: float) -> None:
        wanted = look_s > self._interval_s * (BACK if self._wanted else 1.0)
        if wanted != self._wanted:
            self._wanted = wanted
            _log.info(
                "detection: a look takes %.1f ms, frames are %.1f ms apart; it is taken %s",
                look_s * 1e3,
                self._interval_s * 1e3,
                "on a thread of its own" if wanted else "between frames again",
            )

    def begin(self, look: Look, see: Callable[[Look], object]) -> None:
        """Take a look on the thread; none may be under way."""

        def job() -> None:
            try:
                see(look)
            except Exception as error:  # noqa: BLE001  the thread of the frames raises it
                self._error = error
            finally:
                self._ended.set()

        self.look, self._error = look, None
        self._waited_s, self._asked_at = 0.0, self.clock()
        self._ended.clear()
        self._start(job)

    def late(self) -> Look | None:
        """Return the look that was under way, if it has come to its end.

        Raises:
            BackendError: It will not.
            Exception: Whatever ended it.
        """
        look = self.look
        if look is None:
            return None
        if not self._ended.is_set():
            self._refuse_hanging()
            return None
        self.look = None
        if self._error is not None:
            raise self._error
        return look

    def _refuse_hanging(self) -> None:
        """Raise if a look has been waited for too long, pauses of the whole process apart."""
        now = self.clock()
        self._waited_s += min(now - self._asked_at, _LONGEST_INTERVAL_S)
        self._asked_at = now
        if self._waited_s > LONGEST_LOOK_S:
            raise BackendError(
                f"detection: a look has taken more than {LONGEST_LOOK_S:g} s, the interpreter "
                "hangs; start edgetrack again"
            )

    def close(self, wait_s: float) -> None:
        """Wait for the thread, at most so long; a look under way comes to nothing."""
        if self._thread is not None:
            self._thread.join(wait_s)
        self.look = None

    def _in_thread(self, job: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=job, name="look", daemon=True)
        self._thread.start()
