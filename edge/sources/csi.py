"""A running camera on the CSI connector: frames out of picamera2's buffers."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from edge.errors import SourceError
from edge.sources.stamps import moment
from edge.types import Array, Clock, Frame, Image

_log = logging.getLogger(__name__)

_TIMEOUT_S = 3.0
_TIMEOUT_FRAMES = 3.0  # cameras of less than a frame a second get longer
# libcamera names formats by their order in a register: in memory, red is first in "BGR888".
TO_RGB: Mapping[str, Callable[[Array, int], Array]] = {
    "BGR888": lambda pixels, _: pixels,
    "RGB888": lambda pixels, _: np.ascontiguousarray(pixels[..., ::-1]),
    # Rows of brightness, then of colour, as long as the buffer's, which may be longer.
    "YUV420": lambda pixels, width: np.ascontiguousarray(
        cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_I420)[:, :width]
    ),
}


class CsiCamera:
    """A running camera; `captured_at` is the sensor's own timestamp in monotonic seconds."""

    live = True

    def __init__(
        self,
        camera: Any,
        name: str,
        stream: str,
        monotonic: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """Take over a started camera.

        Args:
            camera: A `Picamera2`; stopped and closed by `close`.
            name: The address and the sensor, as error messages and the description show it.
            stream: Which of its pictures count: `main` or `lores`.
            monotonic: Seconds.
            boottime: Seconds, which go on while the machine sleeps.
        """
        configured = camera.camera_configuration()[stream]
        self._width, height = configured["size"]
        self._format = configured["format"]
        self.fps = _fps_of(camera)
        self.description = f"{name}: {self._format} {self._width}x{height} at {self.fps:.4g} fps"
        self._camera = camera
        self._name = name
        self._stream = stream
        self._timeout_s = max(_TIMEOUT_S, _TIMEOUT_FRAMES / self.fps)
        self._monotonic = monotonic
        self._slept_s = boottime() - monotonic()
        self._ahead_s: float | None = None
        """How far the sensor's clock is ahead of ours."""
        self._reading = threading.Lock()
        self._closing = threading.Event()
        self._index = 0
        self._last = float("-inf")

    def read(self) -> Frame | None:
        """Wait for the next frame; the newest one, should several have come meanwhile."""
        with self._reading:
            if self._closing.is_set():
                return None
            try:
                return self._frame(self._camera.capture_request(wait=self._timeout_s))
            except CancelledError:  # by `close`
                return None
            except TimeoutError:
                # Else it stays in the queue, where it would take a picture and block what follows.
                self._camera.cancel_all_and_flush()
                problem = f"no picture within {self._timeout_s:g} s"
            except (RuntimeError, OSError) as error:
                problem = str(error)
            if self._closing.is_set():
                return None
        raise SourceError(
            f"{self._name}: {problem} after {self._index} frames; "
            "check that the ribbon cable sits firmly at both ends, and the power supply"
        )

    def close(self) -> None:
        """End a pending read, stop the camera and let go of it."""
        if self._closing.is_set():
            return
        self._closing.set()
        # A capture that waits would keep `stop` from its turn, for ever where no picture comes.
        self._camera.cancel_all_and_flush()
        with self._reading:
            release(self._camera, self._name)

    def _frame(self, request: Any) -> Frame:
        """Copy a picture out of the camera's buffer and give that back."""
        now = self._monotonic()
        try:
            pixels = request.make_array(self._stream)
            stamp_ns = request.get_metadata().get("SensorTimestamp", 0)
        finally:
            request.release()
        captured_at, clock = self._stamp(stamp_ns * 1e-9, now)
        captured_at = self._last = max(captured_at, self._last)
        wall = time.time() - (self._monotonic() - captured_at)
        image: Image = TO_RGB[self._format](pixels, self._width)  # (height, width, 3)
        self._index += 1
        return Frame(image, self._index - 1, captured_at, clock, wall)

    def _stamp(self, sensor_s: float, now: float) -> tuple[float, Clock]:
        """Tell when a picture was taken, in monotonic seconds.

        libcamera documents CLOCK_BOOTTIME and passes on what the kernel stamps with
        CLOCK_MONOTONIC. They differ by the time that the machine slept; the first picture tells
        which one it is.
        """
        if self._ahead_s is None:
            ages = {ahead_s: abs(now - sensor_s + ahead_s) for ahead_s in (0.0, self._slept_s)}
            self._ahead_s = min(ages, key=ages.__getitem__)
        return moment(sensor_s - self._ahead_s, now)


def release(camera: Any, name: str) -> None:
    """Stop and close a camera, whatever became of it."""
    try:
        with suppress(RuntimeError):  # it was not started
            # Without its thread picamera2 stops in ours: that one may have died of a fault.
            camera.stop_preview()
        camera.close()
    except (RuntimeError, OSError) as error:
        _log.warning("%s: is not closed properly, %s", name, error)


def _fps_of(camera: Any) -> float:
    """Return the rate that was asked for, as far as the sensor's mode allows it."""
    asked_us = camera.camera_configuration()["controls"]["FrameDurationLimits"][0]
    shortest_us, longest_us, _ = camera.camera_controls["FrameDurationLimits"]
    return 1e6 / float(min(max(asked_us, shortest_us), longest_us))
