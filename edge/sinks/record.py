"""A recording: the frames themselves, with their clocks, so that a run can be replayed."""

from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from edge.config import FileSettings
from edge.errors import SinkError, UsageError
from edge.recording import segments
from edge.recording.segment import FORMAT, SIGNATURE, Head, Stamp, encoded, head_bytes, shot_bytes
from edge.sinks.output import expanded, refusal
from edge.sinks.series import Series
from edge.types import Frame, Image, Record
from edge.vitals import Vitals

_AROUND = 1024  # bytes of a stamp, at most


class Recorder:
    """Appends each frame to the newest segment of a folder; see `edge.recording`.

    A picture equal to the one before it is written once. Every run begins a segment of its own.
    """

    wants_frame = True

    def __init__(
        self,
        uri: str,
        folder: Path,
        *,
        quality: int | None = None,
        files: FileSettings | None = None,
        vitals: Vitals | None = None,
    ) -> None:
        """Begin a segment.

        Args:
            uri: What the user wrote; errors begin with it.
            folder: Made where it is missing, in a folder that is there.
            quality: Of JPEG, 1 to 100; None: pictures are kept to the bit.
            files: How much all segments may hold together; None: without end.
            vitals: Of the run; its settings are kept with its frames.

        Raises:
            SinkError: The folder cannot be made or written.
        """
        self.name = uri
        self._quality, self._vitals = quality, vitals
        _make(uri, folder)
        self._files = Series(uri, segments(folder, SIGNATURE), files)
        self._image: Image | None = None
        self._picture = b""  # of that image

    def write(self, record: Record, frame: Frame | None = None) -> None:
        """Append one frame; without one there is nothing to record.

        Raises:
            SinkError: It cannot be written, or is too large; no part of it is in the file.
        """
        if frame is None:
            return
        known = frame.condition != "good" and self._holds(frame.image)
        picture = self._picture if known else self._encoded(frame.image)
        stamp = _stamp(frame, record)
        head = self._head(record)
        if self._files.begins(len(picture) + len(head) + _AROUND):
            data = head + shot_bytes(stamp, picture)
        else:
            data = shot_bytes(stamp, b"" if known else picture)
        self._files.append(data)
        self._image, self._picture = frame.image, picture

    def close(self) -> None:
        """Close the segment; may be called twice."""
        self._files.close()

    def _head(self, record: Record) -> bytes:
        settings = self._vitals.settings if self._vitals else {}
        return head_bytes(
            Head(
                format=FORMAT,
                camera=record.camera,
                run=record.run,
                quality=self._quality,
                settings=settings,
            )
        )

    def _holds(self, image: Image) -> bool:
        """Tell whether the picture written last is this one."""
        return self._image is not None and np.array_equal(image, self._image)

    def _encoded(self, image: Image) -> bytes:
        try:
            return encoded(image, self._quality)
        except ValueError as error:
            raise SinkError(f"{self.name}: {error}; scale the source down") from error


def folder_and_quality(path: str) -> tuple[Path, int | None]:
    """Read what follows `record:`: `FOLDER` or `FOLDER?quality=Q`.

    Raises:
        UsageError: There is no such option, or the quality is none.
    """
    folder, _, query = path.partition("?")
    quality: int | None = None
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key != "quality" or not value.isdecimal() or not 1 <= int(value) <= 100:
            raise UsageError(
                f"record:{path}: {key}={value} is no option here; use quality=Q, 1 to 100"
            )
        quality = int(value)
    return expanded(folder), quality


def _stamp(frame: Frame, record: Record) -> Stamp:
    return Stamp(
        index=frame.index,
        captured_at=frame.captured_at,
        time=frame.time,
        clock=frame.clock,
        condition=frame.condition,
        state=record.state,
    )


def _make(uri: str, folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise SinkError(f"{uri}: {folder} is a file; name a folder") from error
    except FileNotFoundError as error:
        raise SinkError(f"{uri}: folder {folder.parent} does not exist; create it") from error
    except OSError as error:
        raise refusal(uri, error) from error
