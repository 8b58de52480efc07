"""What a person reads on stderr: a line while it runs, a few lines at the end."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.geometry import iou
from edge.stderr import tell
from edge.types import Box, Counts, Record

_AGES = 10_000  # of the last so many frames; memory stays flat over a year
_LINE_S, _PLAIN_LINE_S = 0.2, 5.0  # between two progress lines on a terminal, and elsewhere
_ON_TARGET = 0.4  # intersection over union from which a track counts as on the face

Truth = Callable[[int], list[tuple[str, Box]]]


class Summary:
    """Adds up records; memory does not grow with their number but for one small entry an id."""

    def __init__(self, truth: Truth | None = None) -> None:
        """Begin with nothing.

        Args:
            truth: Frame index to the names and boxes of what is really there, where that is known.
        """
        self.truth = truth
        self._frames = 0
        self._began = time.monotonic()
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._ids: Counter[str] = Counter()
        self._overlaps: deque[float] = deque(maxlen=_AGES)

    def add(self, record: Record) -> None:
        """Count one record."""
        if record.condition != "absent":
            self._frames += 1
            self._ages.append(record.age_ms)
        labels = {track.id: track.label for track in record.tracks}
        for event in record.events:
            if event.type == "new":
                self._ids[labels[event.id]] += 1
        if self.truth is not None and record.condition != "absent":
            self._compare(record, self.truth(record.frame))

    def show(self, counts: Counts) -> None:
        """Print the summary on stderr; what an earlier process left is part of the counts."""
        seconds = time.monotonic() - self._began
        lines = [
            f"{self._frames} frames in {seconds:.1f} s ({self._frames / seconds:.1f} fps), "
            f"{counts.seen} seen, {_listed(counts.dropped) or 'none'} dropped"
        ]
        if counts.conditions:
            lines.append(f"not looked at: {_listed(counts.conditions)}")
        if any(self._ages):
            p50, p95, p99 = np.percentile(self._ages, (50, 95, 99))
            lines.append(f"age ms, capture to record: p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}")
        lines.append(f"ids: {_listed(self._ids) or 'none'}")
        if self._overlaps:
            overlaps = np.array(self._overlaps)
            lines.append(
                f"against the known path: IoU {overlaps.mean():.2f} in the mean, over "
                f"{_ON_TARGET} in {100 * (overlaps > _ON_TARGET).mean():.1f}% of "
                f"{len(overlaps)} boxes"
            )
        lines += [f"{name}: {n} records not written" for name, n in counts.unwritten.items() if n]
        tell("\n".join(lines))

    def _compare(self, record: Record, truth: list[tuple[str, Box]]) -> None:
        shown = [track.box for track in record.tracks if track.status == "confirmed"]
        for _, box in truth:
            overlap = iou(np.array([box]), np.array(shown).reshape(-1, 4))
            self._overlaps.append(float(overlap.max(initial=0.0)))


class Progress:
    """One line that renews itself on a terminal; a plain line now and then elsewhere."""

    def __init__(self, shown: bool = True) -> None:
        """Begin; with `shown` False nothing is ever printed."""
        self._shown = shown
        self._terminal = sys.stderr.isatty()
        self._pause_s = _LINE_S if self._terminal else _PLAIN_LINE_S
        self._last_at = time.monotonic()
        self._frames = 0

    def show(self, record: Record) -> None:
        """Print a line if one is due."""
        self._frames += 1
        now = time.monotonic()
        elapsed = now - self._last_at
        if not self._shown or elapsed < self._pause_s:
            return
        line = (
            f"frame {record.frame}  {self._frames / elapsed:.1f} fps  age {record.age_ms:.0f} ms  "
            f"{len(record.tracks)} tracks  {record.dropped} dropped"
        )
        self._frames, self._last_at = 0, now
        tell(f"\r\x1b[K{line}" if self._terminal else line, end="" if self._terminal else "\n")

    def end(self) -> None:
        """Leave the terminal on a new line."""
        if self._shown and self._terminal:
            tell("\r\x1b[K", end="")


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n)
