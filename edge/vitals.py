"""What a run tells of itself: written by its loop, read by whoever asks, from any thread."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from edge.types import CameraState, Condition, Counts, Record

_WINDOW_S = 5.0  # over which rates and times are means


class Stages(dict[str, float]):
    """What was done for a frame -> seconds it took."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin with nothing done."""
        super().__init__()
        self._clock = clock

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what stands in the block to a stage."""
        began = self._clock()
        yield
        self[stage] = self.get(stage, 0.0) + self._clock() - began


class CameraStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The camera's life: what it is now, and since when."""

    state: CameraState = "starting"
    since: float = 0.0
    """Monotonic seconds."""
    reason: str = ""
    """Why it is lost; one line."""
    openings: int = 0
    """How often it was opened with success."""
    description: str = ""
    """What was opened and the format it delivers."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done a frame: what the budget leaves."""

    every: int = 1
    """Detectors look at every so many-th frame."""
    fps: float = 0.0
    """Frames a second at most; 0: as many as come."""
    reason: str = ""
    """Why less is done than was asked for: time or heat; empty: all is done."""


class Heat(msgspec.Struct, frozen=True, kw_only=True):
    """How hot the board is, as far as it says."""

    temperature_c: float | None = None
    throttled: bool | None = None
    """The firmware lowers clocks or voltage now."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment: the content of `status.json`, of `edgetrack status`, of metrics."""

    camera: str
    run: str
    pid: int
    up_s: float
    source: CameraStatus
    state_s: float
    """How long the camera has been in its state."""
    frames: int
    """Processed."""
    seen: int
    dropped: Mapping[str, int]
    conditions: Mapping[Condition, int]
    unwritten: Mapping[str, int]
    tracks: int
    fps: float
    """Of the last seconds, processed."""
    age_ms: float
    """Of the last seconds, from capture to record, in the mean."""
    silent_s: float | None
    """Since the last good frame went through the tracker; None: none did yet."""
    stages_ms: Mapping[str, float]
    """Of the last seconds, mean of each stage over the frames that had it."""
    pace: Pace
    heat: Heat
    at: float
    """This moment, monotonic seconds."""
    reloads: int = 0
    """That were taken."""
    refused: str = ""
    """Why the last one was not; one line."""
    models: tuple[str, ...] = ()

    def line(self) -> str:
        """Return what matters most in one line, for people."""
        reason = f" ({self.source.reason})" if self.source.reason else ""
        since = "" if self.source.state == "streaming" else f" for {self.state_s:.0f} s{reason}"
        words = [f"{self.camera}: {self.source.state}{since}"]
        words += [f"{self.fps:.1f} fps", f"age {self.age_ms:.0f} ms", f"{self.tracks} tracks"]
        if self.pace.reason:
            words.append(f"less is done because of {self.pace.reason}")
        if self.refused:
            words.append(f"the last reload was refused: {self.refused}")
        return ", ".join(words)


class Vitals:
    """Takes what happens and tells it. One thread writes, any may ask."""

    def __init__(self, camera: str, run: str, counts: Counts, began: float) -> None:
        """Begin.

        Args:
            camera: Its name in the records.
            run: Names this run of the program.
            counts: The accounting, which the loop goes on with.
            began: Monotonic seconds.
        """
        self.source = CameraStatus(since=began)
        self.pace = Pace()
        self.heat = Heat()
        self.reloads = 0
        self.refused = ""
        self.models: tuple[str, ...] = ()
        self.settings: Mapping[str, Any] = {}
        """What was asked for, without secrets: for recordings, which are replayed with it."""
        self._camera, self._run, self._counts, self._began = camera, run, counts, began
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, float, Mapping[str, float]]] = deque()
        self._tracks = 0
        self._good_at: float | None = None

    def passed(self, record: Record, stages_s: Mapping[str, float], now: float) -> None:
        """Note a record on its way out.

        Args:
            record: Of a frame.
            stages_s: What was done for it -> seconds it took.
            now: Monotonic seconds.
        """
        with self._lock:
            self._tracks = len(record.tracks)
            if record.condition == "absent":
                return
            if record.condition == "good":
                self._good_at = now
            self._recent.append((now, record.age_ms, stages_s))
            self._forget(now)

    def status(self, now: float) -> Status:
        """Return everything as it is now, monotonic seconds."""
        with self._lock:
            self._forget(now)
            recent, tracks, good_at = list(self._recent), self._tracks, self._good_at
        counts = self._counts
        return Status(
            camera=self._camera,
            run=self._run,
            pid=os.getpid(),
            up_s=round(now - self._began, 1),
            source=self.source,
            state_s=round(now - self.source.since, 1),
            frames=counts.processed,
            seen=counts.seen,
            dropped=dict(counts.dropped),
            conditions=dict(counts.conditions),
            unwritten=dict(counts.unwritten),
            tracks=tracks,
            fps=round(len(recent) / min(_WINDOW_S, max(now - self._began, 0.1)), 1),
            age_ms=round(_mean([age for _, age, _ in recent]), 1),
            silent_s=None if good_at is None else round(now - good_at, 1),
            stages_ms=_stages([stages for _, _, stages in recent]),
            pace=self.pace,
            heat=self.heat,
            at=now,
            reloads=self.reloads,
            refused=self.refused,
            models=self.models,
        )

    def _forget(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] > _WINDOW_S:
            self._recent.popleft()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _stages(recent: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean milliseconds of each stage over the frames that had it."""
    names = dict.fromkeys(name for stages in recent for name in stages)
    return {
        name: round(1000 * _mean([stages[name] for stages in recent if name in stages]), 2)
        for name in names
    }
