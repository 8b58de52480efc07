"""Read a recording: a folder of segments, one segment, or a report."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from edge.errors import DataError, EdgeError, SourceError
from edge.recording import REPORT_SUFFIX, segments
from edge.recording.segment import Head, Shot, read_head, read_shots

ABOUT = "report.json"
"""The file of a report that says what made it; see `edge.report`."""
_LARGEST_ABOUT = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)

_Segment = tuple[str, Callable[[], BinaryIO]]


class Recording:
    """Frames of one camera in the order of capture, of one run of the program or several."""

    def __init__(self, name: str, parts: Sequence[_Segment], about: bytes | None = None) -> None:
        """Read the first head.

        Args:
            name: What the user wrote; errors begin with it.
            parts: The name of each segment, and what opens it.
            about: What a report says of itself.

        Raises:
            DataError: Nothing was recorded there, or not by edgetrack.
            SourceError: It cannot be read.
        """
        self.name, self.about = name, about
        self._parts = parts
        heads = (self._head(part) for part in parts)
        first = next((head for head in heads if head is not None), None)
        if first is None:
            raise DataError(f"{name}: holds no frames; name a folder that was recorded into")
        self.head: Head = first
        """Of the first segment."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the run that recorded last; empty where nobody said."""
        for part in reversed(self._parts):
            with suppress(EdgeError):  # told when its frames are read
                if (head := self._head(part)) is not None:
                    return head.settings
        return {}

    def shots(self) -> Iterator[Shot]:
        """Read every frame in order.

        Raises:
            DataError: A segment is damaged; raised after all frames before it.
            SourceError: A segment cannot be read.
        """
        last: Shot | None = None
        for name, opened in self._parts:
            with _told(name), opened() as file:
                head = read_head(file, name)
                for shot in read_shots(file, name, head) if head else ():
                    _refuse_backwards(last, shot, name)
                    yield shot
                    last = shot

    def _head(self, part: _Segment) -> Head | None:
        name, opened = part
        with _told(name), opened() as file:
            return read_head(file, name)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what a file or a zip file refuses into one line that begins with its name."""
    try:
        yield
    except EdgeError:
        raise
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}); check the file") from error
    except _BROKEN as error:
        raise DataError(f"{name}: is damaged, {error}; copy it again") from error


def open_recording(path: Path) -> Recording:
    """Open a recording.

    Raises:
        SourceError: There is nothing at that path, or it cannot be read.
        DataError: Nothing was recorded there, or not by edgetrack.
    """
    name = str(path)
    with _told(name):
        if os.path.isdir(path):
            files = segments(path).files()
            return Recording(name, [_of_file(file) for file in files])
        if not os.path.isfile(path):  # a named pipe would make us wait
            raise SourceError(f"{name}: there is no such file or folder; name a recording")
        if path.suffix.lower() == REPORT_SUFFIX:
            return _open_report(path)
        return Recording(name, [_of_file(path)])


def _open_report(path: Path) -> Recording:
    archive = zipfile.ZipFile(path)  # open for as long as its segments are read
    ring = segments(path)
    numbers = {name: ring.number(PurePosixPath(name).name) for name in archive.namelist()}
    names = sorted((name for name in numbers if numbers[name]), key=lambda name: numbers[name])
    if ABOUT not in numbers:
        raise DataError(f"{path}: is no report of edgetrack, it has no {ABOUT}; name another file")
    parts = [(f"{path}: {name}", _of_archive(archive, name)) for name in names]
    with archive.open(ABOUT) as file:
        return Recording(str(path), parts, file.read(_LARGEST_ABOUT))


def _of_file(path: Path) -> _Segment:
    return str(path), lambda: path.open("rb")


def _of_archive(archive: zipfile.ZipFile, name: str) -> Callable[[], BinaryIO]:
    return lambda: cast("BinaryIO", archive.open(name))


def _refuse_backwards(last: Shot | None, shot: Shot, name: str) -> None:
    """Refuse what no camera delivers, and no tracker can follow."""
    if last is None or last.head.run != shot.head.run:
        return
    if shot.frame.captured_at < last.frame.captured_at:
        raise DataError(
            f"{name}: frame {shot.frame.index} was captured before frame {last.frame.index}; "
            "segments of other recordings are among these, remove them"
        )
