"""Bytes on their way out: one file or standard output, written without a buffer of our own."""

import errno
import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from edge.config import FileSettings
from edge.errors import OutputClosed, SinkError
from edge.ring import Bound, Ring

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

    With `files` a file that is full gets the next free name of PATH.1, PATH.2, ..., and another
    PATH is begun, as it is when somebody else moved or removed it. Pipes and devices have no end.
    """

    def __init__(
        self, uri: str, path: str, *, keep: bool = False, files: FileSettings | None = None
    ) -> None:
        """Open `path`, or standard output where it is `-`.

        Args:
            uri: What the user wrote; errors begin with it.
            path: May begin with `~`.
            keep: Append lines to what the file holds; the file is emptied otherwise.
            files: How much PATH and PATH.1, PATH.2, ... may hold together; None: without end.

        Raises:
            SinkError: No such folder, no permission, or no standard output.
        """
        self.uri = uri
        self._fd = -1
        self._fd = _standard_output(uri) if path == "-" else _open(uri, expanded(path), keep)
        self._regular = S_ISREG(os.fstat(self._fd).st_mode)
        self._written = 0
        self._place = Path(os.path.realpath(expanded(path)))  # what a link leads to is renamed
        bounded = self._regular and path != "-"
        self._bound = bound_of(files) if files and bounded else None
        self._ring = Ring(self._place.parent, f"{self._place.name}.")
        self._pruned = False

    @property
    def length(self) -> int:
        """Bytes in the file, or since it was opened where it is a pipe or a device."""
        return self.found().st_size if self._regular else self._written

    def found(self) -> os.stat_result:
        """Return what the file system says of the open file."""
        return os.fstat(self._fd)

    def append(self, data: bytes | bytearray, head: bytes = b"") -> None:
        """Write all of `data`, or raise and leave none of it in the file.

        On a full disk the oldest of PATH.1, PATH.2, ... make way.

        Args:
            data: Whole lines, which stay in one file; none: only what time demands is done.
            head: Comes first wherever the file holds nothing yet.

        Raises:
            SinkError: No space, or the device fails.
            OutputClosed: The reader of the pipe went away.
        """
        bound = self._bound
        if bound is None:
            self._append(data, head)
            return
        while True:
            try:
                self._make_room(bound, len(data) + len(head))
                self._append(data, head)
            except SinkError as error:
                if not has_made_way(error, self._ring):
                    raise
            else:
                return

    def _append(self, data: bytes | bytearray, head: bytes) -> None:
        if head and self.length == 0:
            data = head + data
        done = 0
        try:
            while done < len(data):
                done += self._write(data[done:] if done else data)
        except BrokenPipeError as error:
            raise OutputClosed(f"{self.uri}: the reader closed the pipe; nothing to do") from error
        except OSError as error:
            self._take_back(done)
            raise refusal(self.uri, error) from error
        self._written += done

    def _make_room(self, bound: Bound, count: int) -> None:
        """Begin another file where this one is full, moved or gone, and let the oldest go."""
        if count > bound.max_bytes:
            raise too_large(self.uri, count)
        now = time.time()
        try:
            there = self._is_there()
            if not there or bound.is_full(self.found(), count, now):
                self._pruned = False
                self._begin_anew(there)
            elif self._pruned and count <= bound.file_bytes:
                return
            self._ring.prune(bound, max(bound.file_bytes, self.length + count), now)
            self._pruned = True
        except OSError as error:
            raise error if isinstance(error, SinkError) else refusal(self.uri, error) from error

    def _is_there(self) -> bool:
        """Tell whether the path still leads to the file that is open."""
        try:
            return os.path.samestat(self._place.stat(), self.found())
        except FileNotFoundError:
            return False

    def _begin_anew(self, there: bool) -> None:
        """Give the file another name, if nobody did, and open the path again."""
        if there:
            self._place.rename(self._ring.next())
        fd, self._fd = self._fd, _open(self.uri, self._place, keep=True)
        os.close(fd)

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
            self._ring.tell()


def bound_of(files: FileSettings) -> Bound:
    """Return what the files of one sink may hold together."""
    return Bound(int(files.max_mb * 1e6), files.max_age_h * 3600.0)


def has_made_way(error: SinkError, ring: Ring, kept: Path | None = None) -> bool:
    """Remove a ring's oldest file if it was a full disk that refused; see `Ring.make_way`."""
    cause = error.__cause__
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    with suppress(OSError):  # nothing helps then, and the error at hand says more
        return full and ring.make_way(kept)
    return False


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
        raise refusal(uri, error) from error
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


def refusal(uri: str, error: OSError) -> SinkError:
    """Return what the operating system refused, as one line with advice."""
    advice = _ADVICE.get(error.errno or 0, "check the path and the device behind it")
    return SinkError(f"{uri}: {(error.strerror or str(error)).lower()}; {advice}")


def too_large(uri: str, count: int) -> SinkError:
    """Return that one record alone is more than all files together may hold."""
    return SinkError(f"{uri}: {count} bytes at once are more than files.max_mb allows; raise it")
