"""What outlives the process: the next id, the counters and the live tracks, in one small file.

Frames are dated on the clock that starts with the machine, so times of tracks mean something to a
later process of the same boot, whatever happens to the wall clock. After another boot they mean
nothing: then ids and counters go on if the wall clock says that little time passed, tracks do not.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.types import Counts, Status

_log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MOST_BYTES = 4_000_000
_LEAST, _SIZE = 12, slice(8, 10)  # of a row
_UNSAVED_IDS = 1000
"""A process that was killed may have given out so many ids since it last saved."""
_CLOCK_SLACK_S = 1.0


class SavedTracks(msgspec.Struct, frozen=True, kw_only=True):
    """What a tracker knows, as plain values; entries of the lists belong together, oldest first."""

    next_id: Annotated[int, msgspec.Meta(ge=1, lt=2**62)] = 1
    at: float | None = None
    """When the last frame was captured, monotonic seconds; None: there was none."""
    motion: str = ""
    """Which model's state each row ends with."""
    ids: list[int] = []
    labels: list[str] = []
    status: list[Status] = []
    rows: list[list[float]] = []
    """Of each track: when it was born, seen, detected and believed; score, presence; centre x and
    y, width, height, the centre's velocity; then what its motion model adds."""

    def __post_init__(self) -> None:
        """Refuse what no tracker can have said.

        Raises:
            ValueError: It contradicts itself.
        """
        if not len(self.ids) == len(self.labels) == len(self.status) == len(self.rows):
            raise ValueError("the lists of tracks differ in length")
        if len({len(row) for row in self.rows}) > 1 or (self.ids and self.at is None):
            raise ValueError("the tracks do not fit together")
        if any(len(row) < _LEAST or min(row[_SIZE]) <= 0 for row in self.rows):
            raise ValueError("a track has no size")
        bounds = [0, *self.ids, self.next_id]
        if any(a >= b for a, b in pairwise(bounds)):
            raise ValueError("the ids do not rise")
        if not all(map(math.isfinite, (value for row in self.rows for value in row))):
            raise ValueError("a number is not finite")

    def without_tracks(self) -> "SavedTracks":
        """Return what is left where only ids go on."""
        return SavedTracks(next_id=self.next_id)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A point in time on both clocks."""

    boot: str
    """Names the boot that `monotonic` counts from; empty where the system does not say."""
    monotonic: float
    time: float
    """Seconds since the epoch; may step, even backwards."""

    @classmethod
    def now(cls) -> "Moment":
        """Return this moment."""
        boot = ""
        with suppress(OSError):
            boot = _BOOT_ID.read_text(encoding="ascii").strip()
        return cls(boot=boot, monotonic=time.monotonic(), time=time.time())

    def same_boot(self, other: "Moment") -> bool:
        """Say whether both are known to be of one boot."""
        return self.boot == other.boot != ""

    def since(self, other: "Moment") -> float:
        """Return the seconds from another moment to this one; negative where a clock stepped."""
        if self.same_boot(other):
            return self.monotonic - other.monotonic
        return self.time - other.time


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """One process's state for the next one."""

    schema: Literal[1] = 1
    at: Moment
    stopped: bool
    """Nothing came after it."""
    counts: Counts
    picture: int
    """Two of one number are of the same view: tracks of another one mean nothing."""
    tracks: SavedTracks


class Writer:
    """Does what was given last, in a thread of its own: a slow disk holds up nobody."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._changed = threading.Condition()
        self._jobs: dict[str, Callable[[], None]] = {}
        self._failing: set[str] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def give(self, jobs: Mapping[str, Callable[[], None]]) -> None:
        """Do these next, in place of those of the same names that have not begun.

        Args:
            jobs: By what they write; one that fails is a warning, and another once it has worked.
        """
        with self._changed:
            self._jobs |= jobs
            self._changed.notify()

    def close(self, wait_s: float) -> None:
        """Do what is left, waited for at most so long."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(wait_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                jobs, self._jobs = self._jobs, {}
            if not jobs:
                return
            for name, job in jobs.items():
                self._do(name, job)

    def _do(self, name: str, job: Callable[[], None]) -> None:
        try:
            job()
            self._failing.discard(name)
        except OSError as error:
            if name not in self._failing:
                _log.warning("%s cannot be written: %s; it is tried again", name, error)
            self._failing.add(name)


def save(saved: Saved, path: Path) -> None:
    """Write the state; the file is the old one or the new one, whole, whenever the process ends.

    Raises:
        OSError: There is no space or no permission.
    """
    write_whole(path, msgspec.json.encode(saved), durable=saved.stopped)


def resume(path: Path, now: Moment, within_s: float, tracks: bool = True) -> Saved | None:
    """Return the state that counts at a start, None if there is none.

    Args:
        path: That `save` wrote; a damaged file is one warning.
        now: The moment of the start.
        within_s: State that is older counts for nothing.
        tracks: Whether live tracks go on.
    """
    saved = _load(path)
    if saved is None or not 0.0 <= now.since(saved.at) <= within_s:
        return None
    known = saved.tracks
    if not (tracks and now.same_boot(saved.at)):
        known = known.without_tracks()
    if not saved.stopped:
        known = msgspec.structs.replace(known, next_id=known.next_id + _UNSAVED_IDS)
    return msgspec.structs.replace(saved, tracks=known, counts=_settled(saved.counts))


def write_whole(path: Path, data: bytes, durable: bool = False) -> None:
    """Replace a file at once: whoever reads it finds the old content or the new.

    Args:
        path: Its folder exists.
        data: The content.
        durable: Wait until it is on the disk, so that it outlives a power cut.

    Raises:
        OSError: There is no space or no permission.
    """
    # No Path: it interns its parts, and Python's table of those grows by what comes and goes.
    fresh = os.path.join(path.parent, f".{path.name}")
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    with open(fresh, "xb") as file:  # a link that somebody put there is not followed
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(fresh, path)


def _load(path: Path) -> Saved | None:
    try:
        with path.open("rb") as file:
            saved = msgspec.json.decode(file.read(_MOST_BYTES), type=Saved)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("%s: cannot be used, %s; ids and counters begin anew", path, error)
        return None
    if saved.tracks.at is not None and saved.tracks.at > saved.at.monotonic + _CLOCK_SLACK_S:
        _log.warning("%s: its tracks are of the future; ids and counters begin anew", path)
        return None
    return saved


def _settled(counts: Counts) -> Counts:
    """Return the counts with what was under way in a killed process counted as dropped."""
    dropped = {**Counts().dropped, **counts.dropped}
    dropped["stopped"] += counts.seen - counts.processed - sum(dropped.values())
    return replace(counts, dropped=dropped)
