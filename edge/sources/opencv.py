"""Cameras, RTSP streams and video files: the only home of cv2.VideoCapture.

OpenCV and FFmpeg say nothing of their own on stderr; what goes wrong is raised here, once.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from edge.config import SourceSettings
from edge.errors import DataError, SourceError
from edge.shown import without_secrets
from edge.sources.container import stated_size
from edge.sources.quiet import silence_opencv
from edge.sources.rtsp import check_stream
from edge.sources.stamps import moment
from edge.sources.v4l2 import check_device
from edge.types import Array, Clock, Frame, Image

_log = logging.getLogger(__name__)

CAMERA_TIMEOUT_S = 3.0
STREAM_TIMEOUT_S = 2.0
_FIRST_LOOK_S = 6.0
_ALMOST = 0.95
_LONGEST_BACKLOG_S = 5.0
_TIMEOUTS_AT_THE_START = 3  # cameras warm up, streams wait for a key frame
_BAD_FRAMES_IN_A_ROW = 10  # of a camera or stream, before it counts as lost
_BAD_PACKETS_IN_A_ROW = 64  # of a file, before that counts as its end
_UNPLAYED_S = 1.0
_HIGHEST_FPS = 1000.0

# OpenCV reads these when it first opens a stream or waits for a camera. FFmpeg would look at a
# stream for 2 s before it delivers what it saw, all at once.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|analyzeduration;1000000")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", f"{CAMERA_TIMEOUT_S:.0f}")
silence_opencv()


class LiveCapture:
    """A camera or stream that is read as fast as it delivers; `captured_at` is monotonic time."""

    live = True

    def __init__(
        self,
        capture: cv2.VideoCapture,
        name: str,
        *,
        timeout_s: float,
        driver_stamps: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over an opened capture.

        Args:
            capture: Opened; released by `close`.
            name: The device or address, as error messages and the description show it.
            timeout_s: After which the driver gives a pending read up.
            driver_stamps: CAP_PROP_POS_MSEC is the driver's buffer timestamp, as with V4L2.
            monotonic: Seconds.
        """
        self.fps = _sane_fps(capture)
        self.description = f"{name}: {_format_of(capture)}"
        self._capture = capture
        self._name = name
        self._timeout_s = timeout_s
        self._driver_stamps = driver_stamps
        self._monotonic = monotonic
        self._bgr: Array | None = None  # decoded into again and again; frames are copies
        self._reading = threading.Lock()
        self._closing = threading.Event()
        self._index = 0
        self._last = float("-inf")

    def read(self) -> Frame | None:
        """Wait for the next frame; pictures damaged in transit are skipped."""
        patience = 1 if self._index else _TIMEOUTS_AT_THE_START
        with self._reading:
            for _ in range(_BAD_FRAMES_IN_A_ROW):
                if self._closing.is_set():
                    return None
                grabbed, waited_s = self._grab()
                if waited_s > _ALMOST * self._timeout_s:
                    # Even if something came: FFmpeg then empties its decoder of older pictures.
                    patience -= 1
                    if patience == 0:
                        break
                elif grabbed and (frame := self._retrieve()) is not None:
                    return frame
        raise SourceError(
            f"{self._name}: no more pictures arrive after {self._index} frames; "
            "check power, cable and network, and open it again"
        )

    def skip_backlog(self) -> None:
        """Throw away what queued while the stream was opened, up to the first that takes time.

        Arrival stamps of queued pictures would say that seconds of motion took a millisecond.
        """
        interval_s = 1.0 / (self.fps or 30.0)
        with self._reading:
            for _ in range(round(_LONGEST_BACKLOG_S / interval_s)):
                grabbed, waited_s = self._grab()
                if not grabbed or waited_s > interval_s / 2:
                    return

    def close(self) -> None:
        """Release the device once the read in progress, if any, is over."""
        self._closing.set()
        with self._reading:
            self._capture.release()

    def _grab(self) -> tuple[bool, float]:
        """Fetch the next picture, undecoded; return whether one came, and the seconds it took."""
        asked_at = self._monotonic()
        grabbed = self._capture.grab()
        return grabbed, self._monotonic() - asked_at

    def _stamp(self) -> tuple[float, Clock]:
        """Tell when the picture just grabbed was taken, in monotonic seconds."""
        now = self._monotonic()
        if not self._driver_stamps:
            return now, "arrival"
        return moment(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0, now)

    def _retrieve(self) -> Frame | None:
        """Decode the picture just grabbed; None if it is damaged."""
        captured_at, clock = self._stamp()
        decoded, self._bgr = self._capture.retrieve(self._bgr)
        if not decoded or self._bgr is None:
            return None
        captured_at = self._last = max(captured_at, self._last)
        wall = time.time() - (self._monotonic() - captured_at)
        self._index += 1
        return Frame(_to_rgb(self._bgr), self._index - 1, captured_at, clock, wall)


class VideoFile:
    """A video file, every frame in order; `captured_at` is the presentation time in seconds.

    Where presentation times are missing or fall back, 1 / fps is added instead (clock `nominal`).
    If the size changes within the file, OpenCV 4.14 and 5 scale later frames to that of the first;
    4.11 repeats its last picture without a word, and `ConditionCheck` finds those frozen.
    """

    live = False

    def __init__(self, capture: cv2.VideoCapture, path: Path, fps: float) -> None:
        """Take over an opened capture; `fps` counts where the file states none."""
        self.fps = _sane_fps(capture) or fps
        self.description = f"{path}: {_format_of(capture)}"
        self._capture = capture
        self._path = path
        self._bgr: Array | None = None  # decoded into again and again; frames are copies
        self._reading = threading.Lock()
        self._closing = threading.Event()
        self._index = 0
        self._gaps = 0
        self._last = -1.0 / self.fps

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end.

        Raises:
            DataError: The file is cut short or damaged; raised after all readable frames.
        """
        with self._reading:
            if self._closing.is_set():
                return None
            bgr = self._next_picture()
            if bgr is None:
                self._closing.set()  # a read after the end finds the end
                self._check_end()
                return None
            captured_at, clock = self._stamp()
            self._last = captured_at
            self._index += 1
            return Frame(_to_rgb(bgr), self._index - 1, captured_at, clock, captured_at)

    def close(self) -> None:
        """Release the file once the read in progress, if any, is over."""
        self._closing.set()
        with self._reading:
            self._capture.release()

    def _stamp(self) -> tuple[float, Clock]:
        """Tell the media time of the picture just grabbed."""
        pts = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        if max(self._last, -0.001) < pts < float("inf"):  # false for NaN, too
            return max(pts, 0.0), "pts"
        return max(self._last + 1.0 / self.fps, 0.0), "nominal"

    def _next_picture(self) -> Array | None:
        """Decode the next picture; OpenCV fails alike at damaged packets and at the end."""
        for attempt in range(_BAD_PACKETS_IN_A_ROW):
            if self._capture.grab():
                decoded, self._bgr = self._capture.retrieve(self._bgr)
                if decoded:
                    self._gaps += attempt > 0 and self._index > 0  # many streams begin amid a scene
                    return self._bgr
        return None

    def _check_end(self) -> None:
        """Raise or warn if the end came too early."""
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        of = f" of {count}" if count > self._index else ""
        readable = f"{self._index}{of} frames were readable"
        if shortage := _shortage(self._path):
            raise DataError(f"{shortage}, {readable}; copy it again")
        if self._gaps or self._index == 0:
            raise DataError(f"{self._path}: the file is damaged, {readable}; copy it again")
        # Only a hint: a sound track or a trimmed beginning makes healthy files look too long.
        missing_s = count / self.fps - (self._last + 1.0 / self.fps)
        if missing_s > _UNPLAYED_S and stated_size(self._path):
            _log.warning("%s: the last %.1f s hold no readable picture", self._path, missing_s)


def open_camera(path: str, settings: SourceSettings) -> LiveCapture:
    """Open a V4L2 device; Motion JPEG is asked for first, raw pictures limit USB to a few fps.

    Raises:
        SourceError: The device is absent, busy, forbidden or no camera.
    """
    camera = check_device(path)
    capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{path}: {camera} does not start; unplug it and plug it in again")
    ask_format(capture, settings)
    source = LiveCapture(
        capture, f"{path} ({camera})", timeout_s=CAMERA_TIMEOUT_S, driver_stamps=True
    )
    warn_of_format(source.description, f"MJPG {settings.width}x{settings.height}")
    return source


@cache  # one that gives no picture is opened every few seconds, for as long as it takes
def warn_of_format(found: str, wanted: str) -> None:
    """Say that a camera delivers another format than it was asked for, once."""
    if wanted not in found:
        _log.warning("%s, though %s was asked for", found, wanted)


def ask_format(capture: cv2.VideoCapture, settings: SourceSettings) -> None:
    """Ask a camera for Motion JPEG, then size and rate: in this order V4L2 honours them."""
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
    capture.set(cv2.CAP_PROP_FPS, settings.fps)


def open_stream(uri: str) -> LiveCapture:
    """Open an RTSP stream over TCP; who does not answer within 2 seconds is not there.

    Raises:
        SourceError: Nobody answers, or there is no such stream.
    """
    check_stream(uri, STREAM_TIMEOUT_S)
    shown = without_secrets(uri)
    # The first look needs longer: FFmpeg reads the stream for up to 2 s, and a time-out within
    # that leaves a capture that is open and deaf.
    capture = cv2.VideoCapture(
        uri,
        cv2.CAP_FFMPEG,
        [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(_FIRST_LOOK_S * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(STREAM_TIMEOUT_S * 1000),
            cv2.CAP_PROP_N_THREADS,  # every thread more is a frame of delay
            1,
        ],
    )
    if not capture.isOpened():
        raise SourceError(
            f"{shown}: the server gives no video at this address; "
            "check path, user name and password"
        )
    source = LiveCapture(capture, shown, timeout_s=STREAM_TIMEOUT_S)
    source.skip_backlog()
    return source


def open_video(path: Path, fps: float) -> VideoFile:
    """Open a video file; `fps` counts where the file states none.

    Raises:
        DataError: The file is empty, cut short or no video.
    """
    # An absolute path, or FFmpeg would take a colon in the name for a protocol. One thread: the
    # next frame is never worth the memory of a second decoder.
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        if shortage := _shortage(path):
            raise DataError(f"{shortage}; copy it again")
        raise DataError(f"{path}: not a video that can be read; convert it to H.264 in MP4")
    return VideoFile(capture, path, fps)


def _shortage(path: Path) -> str:
    """Say how much of a file is missing; nothing if it is whole, or if its kind does not tell."""
    try:
        size = path.stat().st_size
        stated = stated_size(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if size == 0:
        return f"{path}: the file is empty"
    if size < stated:
        return f"{path}: the file is cut short, {size} of {stated} bytes are there"
    return ""


def _sane_fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return float(fps) if 0.0 < fps <= _HIGHEST_FPS else 0.0


def _format_of(capture: cv2.VideoCapture) -> str:
    """Say what is really delivered, such as `MJPG 640x480 at 30 fps`."""
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    letters = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
    fps = _sane_fps(capture)
    rate = f"{fps:.4g} fps" if fps else "an unknown rate"
    return f"{letters if letters.isalnum() else 'raw'} {width}x{height} at {rate}"


def _to_rgb(bgr: Array) -> Image:
    """Return a fresh RGB array."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
