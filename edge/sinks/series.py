"""Whole files one after another: for what is begun anew where lines would be appended."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from edge.config import FileSettings
from edge.errors import SinkError
from edge.ring import Bound, Ring
from edge.sinks.output import Output, bound_of, has_made_way, refusal, too_large

_log = logging.getLogger(__name__)


class Series:
    """One open file of a ring; the next is begun where it is full, and the oldest go.

    Invariant: a file that nothing was written to does not stay once it is closed.
    """

    def __init__(
        self, uri: str, ring: Ring, files: FileSettings | None, place: Path | None = None
    ) -> None:
        """Begin a file; what earlier runs wrote stays as far as it is within the bound.

        Args:
            uri: What the user wrote; errors begin with it.
            ring: The files' names.
            files: How much they may hold together; None: without end, in one file.
            place: Write there, without end, whatever it holds.

        Raises:
            SinkError: No such folder, or no permission.
        """
        self.name = uri
        self._ring = ring
        self._bound = bound_of(files) if files and place is None else None
        self._numbered: Path | None = None
        self._level = logging.INFO
        self._output: Output | None = None
        if place is None:
            self._begin_file(0)
        else:
            self._output = Output(uri, os.fspath(place))

    @property
    def length(self) -> int:
        """Bytes in the open file."""
        return self._output.length if self._output else 0

    def begins(self, count: int) -> bool:
        """See to it that there is room; return whether the next bytes are the first of a file.

        Args:
            count: Of bytes that will be appended at once, at most.

        Raises:
            SinkError: There is no room to be had.
        """
        output, bound = self._output, self._bound
        if output is None or (bound and bound.is_full(output.found(), count, time.time())):
            self._end_file()
            self._begin_file(count)
        elif bound and count > bound.max_bytes:
            raise too_large(self.name, count)
        return self.length == 0

    def append(self, data: bytes) -> None:
        """Write all of `data`, or raise and leave none of it in the file; see `Output`.

        On a full disk the oldest files make way.
        """
        while True:
            if self._output is None:
                raise SinkError(f"{self.name}: is closed; open it again")
            try:
                self._output.append(data)
            except SinkError as error:
                if not self._has_made_way(error):
                    raise
            else:
                return

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._output is not None:
            self._ring.tell()
        self._end_file()

    def _end_file(self) -> None:
        output, self._output = self._output, None
        if output is None:
            return
        empty = output.length == 0
        output.close()
        if empty and self._numbered is not None:
            with suppress(OSError):
                self._numbered.unlink()

    def _begin_file(self, count: int) -> None:
        while True:
            try:
                self._begin_next(count)
            except SinkError as error:
                if not self._has_made_way(error):
                    raise
            else:
                return

    def _has_made_way(self, error: SinkError) -> bool:
        return self._bound is not None and has_made_way(error, self._ring, self._numbered)

    def _begin_next(self, count: int) -> None:
        try:
            if self._bound is not None:
                self._prune(self._bound, count)
            self._numbered = self._ring.next()
        except OSError as error:
            raise error if isinstance(error, SinkError) else refusal(self.name, error) from error
        self._output = Output(self.name, os.fspath(self._numbered))
        level, self._level = self._level, logging.DEBUG  # the first is told, not one a minute
        _log.log(level, "%s: writing %s", self.name, self._numbered)

    def _prune(self, bound: Bound, count: int) -> None:
        if count > bound.max_bytes:
            raise too_large(self.name, count)
        self._ring.prune(bound, max(bound.file_bytes, count), time.time())
