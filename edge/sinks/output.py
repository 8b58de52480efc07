"""Bytes on their way out: one file or standard output, written without a buffer of our own."""

import errno
import os
import select
import stat
import sys
from pathlib import Path

from edge.errors import OutputClosed, SinkError

_ADVICE = {
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some space or write elsewhere",
    errno.EACCES: "write where this user may write",
    errno.EPERM: "write where this user may write",
    errno.EROFS: "write elsewhere",
    errno.EISDIR: "name a file in it",
}


class Output:
    """One open file; each `append` is there as a whole or not at all.

    Bytes go straight to the kernel: they outlive a killed process, though not a power cut before
    the kernel has written them out. A kill in the very microsecond of a write may leave half a
    last line (Linux stops between two pages); opening with `keep` puts an end to that line. The
    file is opened for appending, so a log rotation that copies and truncates it works.
    """

    def __init__(self, uri: str, path: str, *, keep: bool = False) -> None:
        """Open `path`, or standard output where it is `-`.

        Args:
            uri: What the user wrote; errors begin with it.
            path: May begin with `~`.
            keep: Append lines to what the file holds; the file is emptied otherwise.

        Raises:
            SinkError: No such folder, no permission, or no standard output.
        """
        self.uri = uri
        self._fd = -1
        self._fd = _standard_output(uri) if path == "-" else _open(uri, expanded(path), keep)
        found = os.fstat(self._fd)
        self._regular = stat.S_ISREG(found.st_mode)
        self.is_empty = found.st_size == 0
        """Whether the file held nothing when it was opened; true of pipes."""

    def append(self, data: bytes | bytearray) -> None:
        """Write all of `data`, or raise and leave none of it in the file.

        Raises:
            SinkError: No space, or the device fails.
            OutputClosed: The reader of the pipe went away.
        """
        done = 0
        try:
            while done < len(data):
                done += self._write(data[done:] if done else data)
        except BrokenPipeError as error:
            raise OutputClosed(f"{self.uri}: the reader closed the pipe; nothing to do") from error
        except OSError as error:
            self._take_back(done)
            raise _refusal(self.uri, error) from error

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # whoever shares our standard output made it non-blocking
            select.select([], [self._fd], [])
            return 0

    def _take_back(self, count: int) -> None:
        """Cut the last `count` bytes off: half a line would be glued to the next one."""
        if self._regular and count:
            end = os.lseek(self._fd, 0, os.SEEK_CUR) - count
            os.ftruncate(self._fd, end)
            os.lseek(self._fd, end, os.SEEK_SET)

    def close(self) -> None:
        """Close the file; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def expanded(path: str) -> Path:
    """Return the path with the home directory in place of `~`; of an unknown user it stays."""
    return Path(os.path.expanduser(path))  # Path.expanduser raises RuntimeError of unknown users


def _standard_output(uri: str) -> int:
    if sys.__stdout__ is None:  # started with it closed; number 1 may be another file by now
        raise SinkError(f"{uri}: standard output is closed; name a file")
    return os.dup(1)


def _open(uri: str, path: Path, keep: bool) -> int:
    # Without O_NONBLOCK, opening a named pipe waits for a reader, for ever if need be.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags if keep else flags | os.O_TRUNC, 0o666)
        os.set_blocking(fd, True)
        if keep and _ends_in_half_a_line(path):
            os.write(fd, b"\n")
    except FileNotFoundError as error:
        raise _missing(uri, path) from error
    except OSError as error:
        if error.errno == errno.ENXIO and path.is_fifo():
            raise SinkError(f"{uri}: nobody reads this pipe; start the reader first") from error
        raise _refusal(uri, error) from error
    return fd


def _missing(uri: str, path: Path) -> SinkError:
    if path.parent.is_dir():  # as in /proc, or behind a link that leads nowhere
        return SinkError(f"{uri}: cannot be created in {path.parent}; write elsewhere")
    return SinkError(f"{uri}: folder {path.parent} does not exist; create it")


def _ends_in_half_a_line(path: Path) -> bool:
    """Tell whether a power cut, or someone else, left the last line without its end."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _refusal(uri: str, error: OSError) -> SinkError:
    advice = _ADVICE.get(error.errno or 0, "check the path and the device behind it")
    return SinkError(f"{uri}: {(error.strerror or str(error)).lower()}; {advice}")
