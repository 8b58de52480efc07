"""A recording as a source: its frames with the clocks they were captured by."""

import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import cast

from edge.recording.reader import open_recording
from edge.recording.segment import Shot
from edge.sources.quiet import silence_opencv
from edge.types import Frame

silence_opencv()


class RecordedFrames:
    """What a camera delivered; frames in whose place nothing came are left out.

    Where one run ends and another begins, index and `captured_at` go on: a machine that was
    started again counts seconds from 0. `edgetrack replay` begins anew there, and leaves nothing
    out.
    """

    live = False
    fps = 0.0

    def __init__(self, path: Path) -> None:
        """Open a recording; see `open_recording`."""
        recording = open_recording(path)
        self.description = f"{path}: recorded from {recording.head.camera}"
        self._shots = cast("Generator[Shot, None, None]", recording.shots())
        self._reading = threading.Lock()
        self._closed = threading.Event()
        self._last: Shot | None = None
        self._later, self._later_s = 0, 0.0  # what is added to this run's index and clock

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end.

        Raises:
            DataError: A segment is damaged; raised after all frames before it.
        """
        with self._reading:
            while not self._closed.is_set() and (shot := next(self._shots, None)) is not None:
                self._carry_on(shot)
                if shot.frame.condition != "absent":
                    return self._shifted(shot.frame)
        return None

    def close(self) -> None:
        """Close the recording once the read in progress, if any, is over."""
        self._closed.set()
        with self._reading:
            self._shots.close()

    def _carry_on(self, shot: Shot) -> None:
        """Where another run begins, go on from the clocks of the one before."""
        last, self._last = self._last, shot
        if last is not None and last.head.run != shot.head.run:
            before = self._shifted(last.frame)
            pause_s = max(shot.frame.time - last.frame.time, 0.0)  # the wall clock may have stepped
            self._later = before.index + 1 - shot.frame.index
            self._later_s = before.captured_at + pause_s - shot.frame.captured_at

    def _shifted(self, frame: Frame) -> Frame:
        if not self._later and not self._later_s:
            return frame
        at = frame.captured_at + self._later_s
        return replace(frame, index=frame.index + self._later, captured_at=at)
