"""Where frames come from: one file per driver, all behind `FrameSource`.

The only place that knows which address means which driver is `open_source`.
"""

import os
import re
import stat
from pathlib import Path
from typing import Literal, Protocol

from edge.config import SourceSettings
from edge.errors import DataError, SourceError, UsageError
from edge.recording import is_recording
from edge.types import Frame

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
_KNOWN = (
    "a camera (0, /dev/video0, csi:0), rtsp://..., a video file, a folder of images, synthetic:NAME"
)

Kind = Literal["camera", "stream", "csi", "synthetic", "images", "video", "recording"]


class FrameSource(Protocol):
    """A stream of frames, read by one thread and closed by any.

    Closing ends a pending read at the latest after the driver's own time-out (2 to 3 seconds);
    a read after closing returns None.
    """

    live: bool
    """True where frames come at their own pace and the newest one counts."""
    description: str
    """What was opened and the format it really delivers, for people; never holds a password."""
    fps: float
    """Nominal frames a second; 0 where nobody knows."""

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end.

        The image is a fresh array that the source never writes to again.

        Raises:
            SourceError: The source went away.
            DataError: The data is damaged.
        """

    def close(self) -> None:
        """Release the device or file; may be called twice."""


def open_source(uri: str, settings: SourceSettings) -> FrameSource:
    """Open the source that an address names.

    Args:
        uri: `0`, `/dev/video0`, `/dev/v4l/by-id/...`, `csi:0`, `rtsp://...`, a video file, an
            image, a folder of images, a recording or `synthetic:NAME[?frames=N&seed=S]`.
        settings: What a camera is asked for, and the rate of a folder of images.

    Raises:
        UsageError: The address names no kind of source that this version knows, or one whose
            driver is not installed.
        SourceError: The camera, stream or file is not there, is busy or does not answer.
        DataError: The file is no video, or it is damaged.
    """
    # Drivers are imported here, so that a command without video never loads OpenCV.
    match kind_of(uri):
        case "synthetic":
            from edge.sources.synthetic import open_synthetic

            return open_synthetic(uri)
        case "images":
            from edge.sources.images import open_images

            return open_images(Path(uri), settings.fps)
        case "video":
            from edge.sources.opencv import open_video

            return open_video(Path(uri), settings.fps)
        case "recording":
            from edge.sources.recording import RecordedFrames

            return RecordedFrames(Path(uri))
        case kind:
            return _open_camera(kind, uri, settings)


def _open_camera(
    kind: Literal["camera", "stream", "csi"], uri: str, settings: SourceSettings
) -> FrameSource:
    match kind:
        case "camera":
            from edge.sources.opencv import open_camera

            return open_camera(f"/dev/video{uri}" if uri.isdecimal() else uri, settings)
        case "stream":
            from edge.sources.opencv import open_stream

            return open_stream(uri)
        case "csi":
            from edge.sources.picamera import open_csi

            return open_csi(uri, settings)


def is_camera(uri: str) -> bool:
    """Say whether an address names what may come and go: a camera or a stream, and no file.

    Raises:
        EdgeError: As `kind_of`.
    """
    return kind_of(uri) in {"camera", "stream", "csi"}


def kind_of(uri: str) -> Kind:
    """Tell from an address, and from what lies at that path, which driver it needs.

    Raises:
        UsageError: The address names no kind of source that this version knows.
        SourceError: It names a file or folder, and there is none.
        DataError: It names something else.
    """
    # A name with a colon is a file if there is one.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", uri)
    if scheme and not os.path.exists(uri):  # unlike Path.exists, it takes names of any length
        return _kind_of_scheme(scheme[1].lower(), uri)
    if uri.isdecimal() or uri.startswith("/dev/v"):
        return "camera"
    if not uri:
        raise UsageError(f"source '': the address is empty; give {_KNOWN}")
    return _kind_of_file(Path(uri))


def _kind_of_file(path: Path) -> Kind:
    """Tell the driver from what lies at a path."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path}: there is no such file or folder; give {_KNOWN}") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if stat.S_ISCHR(mode):
        return "camera"
    if stat.S_ISDIR(mode):
        return "recording" if is_recording(path) else "images"
    if not stat.S_ISREG(mode):  # a named pipe would make us wait until somebody writes to it
        raise DataError(f"{path}: is no video file but {_what(mode)}; give {_KNOWN}")
    if is_recording(path):
        return "recording"
    return "images" if path.suffix.lower() in IMAGE_SUFFIXES else "video"


def _what(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a disk"


def _kind_of_scheme(scheme: str, uri: str) -> Kind:
    """Tell the driver from what stands before the first colon."""
    if scheme in {"synthetic", "csi"}:
        return "synthetic" if scheme == "synthetic" else "csi"
    if scheme in {"rtsp", "rtsps"} and "://" in uri:
        return "stream"
    if "://" in uri or scheme.startswith("rtsp"):  # the rest is not shown, it may hold a password
        raise UsageError(f"{scheme}://...: no source of this kind is known; give {_KNOWN}")
    raise SourceError(f"{uri}: there is no such file or folder; give {_KNOWN}")
