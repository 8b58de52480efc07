"""Numbered files within a bound: what a live run writes for years, the oldest of it goes first.

Everything is told from the disk alone, by names, sizes and the times of the last change, so what
an earlier run left counts like what this one wrote.
"""

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

_log = logging.getLogger(__name__)

SHARES = 8
"""A file takes at most an eighth of its bound, in bytes and in time: so much goes at once."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What the files of one writer may hold together, and for how long."""

    max_bytes: int
    max_age_s: float

    @property
    def file_bytes(self) -> int:
        """What one file may hold."""
        return self.max_bytes // SHARES

    def is_full(self, file: os.stat_result, count: int, now: float) -> bool:
        """Tell whether `count` bytes more, at `now` in epoch seconds, belong into another file.

        Time is cut into eighths of the longest age, and a file holds one of them: when its first
        line was written is then known from when it was last changed.
        """
        over = file.st_size + count > self.file_bytes
        return file.st_size > 0 and (over or self._eighth(file.st_mtime) != self._eighth(now))

    def has_outlived(self, file: os.stat_result, now: float) -> bool:
        """Tell whether a file may hold anything that is older than the longest age."""
        return self._eighth(now) - self._eighth(file.st_mtime) >= SHARES

    def _eighth(self, at: float) -> int:
        return int(at // (self.max_age_s / SHARES))


class Ring:
    """The files of one writer, oldest first: `prefix` NUMBER `suffix` in one folder.

    Invariant: no file of another name, or with another beginning, is ever counted or removed.
    """

    def __init__(
        self, folder: Path, prefix: str, suffix: str = "", begin: bytes = b"", first: str = ""
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: Need not exist.
            prefix: Before the number.
            suffix: After it.
            begin: The first bytes of each file.
            first: The name of number 1, where that bears no number.
        """
        self.folder = folder
        self.given_up = 0
        """Files that went before their time, because the disk was full."""
        self._name = re.compile(re.escape(prefix) + "([1-9][0-9]{0,17})" + re.escape(suffix))
        self._words = prefix, suffix
        self._begin, self._first = begin, first

    def number(self, name: str) -> int:
        """Return the number of a file's name, 0 of one that is not of this ring."""
        if self._first and name == self._first:
            return 1
        found = self._name.fullmatch(name)
        number = int(found[1]) if found else 0
        return 0 if self._first and number == 1 else number

    def files(self) -> list[Path]:
        """Return the files, oldest first.

        Raises:
            OSError: The folder cannot be listed.
        """
        return [path for _, path in self._numbered() if self._is_ours(path)]

    def next(self) -> Path:
        """Return the path of the next file: its number is above all others, of files or not.

        Raises:
            OSError: The folder cannot be listed.
        """
        number = max((number for number, _ in self._numbered()), default=0) + 1
        prefix, suffix = self._words
        return self.folder / (
            self._first if self._first and number == 1 else f"{prefix}{number}{suffix}"
        )

    def prune(self, bound: Bound, room: int, now: float) -> None:
        """Remove what is too old, and the oldest until so many bytes more are within the bound.

        Args:
            bound: Of all files together.
            room: Bytes.
            now: Epoch seconds.

        Raises:
            OSError: One cannot be removed.
        """
        files = [(path, found) for path in self.files() if (found := _found(path)) is not None]
        held = sum(found.st_size for _, found in files)
        for path, found in files:
            if held + room > bound.max_bytes or bound.has_outlived(found, now):
                path.unlink(missing_ok=True)
                held -= found.st_size
                _log.debug("%s: removed, %d bytes, it was the oldest", path, found.st_size)

    def make_way(self, kept: Path | None = None) -> bool:
        """Remove the oldest file, because the disk is full; return whether there was one.

        Args:
            kept: The file that is being written.

        Raises:
            OSError: It cannot be removed.
        """
        oldest = next((path for path in self.files() if path != kept), None)
        if oldest is None:
            return False
        oldest.unlink(missing_ok=True)
        self.given_up += 1
        level = logging.WARNING if self.given_up == 1 else logging.DEBUG  # not one a record
        _log.log(level, "%s: removed, the disk is full; so will be others while it is", oldest)
        return True

    def tell(self) -> None:
        """Say how many files the disk had no room for, if the first was not the only one."""
        if self.given_up > 1:
            _log.warning("%s: %d files removed, the disk was full", self.folder, self.given_up)

    def _numbered(self) -> list[tuple[int, Path]]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        numbers = ((self.number(name), self.folder / name) for name in names)
        return sorted(pair for pair in numbers if pair[0])

    def _is_ours(self, path: Path) -> bool:
        found = _found(path)
        if found is None or not S_ISREG(found.st_mode):
            return False
        if not self._begin:
            return True
        with suppress(FileNotFoundError), path.open("rb") as file:
            return file.read(len(self._begin)) == self._begin
        return False


def _found(path: Path) -> os.stat_result | None:
    """Return what a path names, links not followed; None where it is gone."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
