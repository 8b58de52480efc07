"""Live runs too slow for their camera: how old frames get, and whether tracks keep coming."""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.aside import Aside
from edge.camera import Camera
from edge.config import BudgetSettings, DetectionSettings, SourceSettings
from edge.detector import Detector
from edge.governor import Governor
from edge.pipeline import Live, Run, run_live
from edge.reel import Steady, painted
from edge.sources.synthetic import SyntheticPortrait
from edge.tracker import Tracker
from edge.types import Counts, Detections, Floats, Image, Record
from edge.vitals import Heat, Pace, Vitals

FPS = SyntheticPortrait.fps
_PICTURES = 300


class SlowDetector(Detector):
    """Takes a given time a frame and finds one box in the middle: a model without a model."""

    def __init__(self, seconds: float) -> None:
        """Set the time that `detect` waits."""
        self.labels = ("thing",)
        self.close_up = None
        self.score_threshold = 0.5
        self._seconds = seconds

    def detect(self, image: Image, region: object = None) -> Detections:  # noqa: ARG002
        """Wait, then return one box."""
        time.sleep(self._seconds)
        height, width = image.shape[:2]
        box = np.array([[width * 0.4, height * 0.4, width * 0.6, height * 0.6]])
        return Detections(box, np.ones(1), np.zeros(1, np.int64))


@dataclass(frozen=True)
class Ages:
    """The age of every record of a run, when it came out."""

    at_s: Floats
    """(n,) when its frame was captured, since the first one was."""
    age_ms: Floats
    """(n,)"""
    counts: Counts

    def slope(self) -> float:
        """Return by how many ms frames get older a minute, as a line fitted to all of them."""
        if len(self.at_s) < 2:
            return 0.0
        return float(np.polyfit(self.at_s / 60, self.age_ms, 1)[0])

    def parts(self, n: int) -> list[Floats]:
        """Return the ages of n equal parts of the run; those without a record are left out."""
        part = (self.at_s / (self.at_s[-1] + 1e-9) * n).astype(int)  # (records,)
        return [self.age_ms[part == number] for number in range(n) if (part == number).any()]


def ages(model_s: float, frames: int) -> Ages:
    """Run live at 30 fps with a model that takes so long, in the path of the frames."""
    at_s: list[float] = []
    age_ms: list[float] = []

    def seen(record: Record) -> None:
        at_s.append(record.captured_at)
        age_ms.append(record.age_ms)

    run = Run("bench", "bench")
    source = Steady(painted(_PICTURES), frames)
    run_live(source, Tracker([SlowDetector(model_s)]), [], run, lambda: False, seen)
    return Ages(np.array(at_s) - at_s[0], np.array(age_ms), run.counts)


@dataclass(frozen=True)
class Kept:
    """Whether tracks came at the camera's rate, once the governor had its time."""

    frames: int
    """Of the camera."""
    given: int
    """Those that the machine was there for."""
    records: int
    tracked: int
    """Records with a track."""
    looks: int
    pace: Pace
    """At the end."""


def kept(model_s: float, frames: int, mode: Literal["auto", "never"], settle_s: float) -> Kept:
    """Run live at 30 fps with a governor and a model that takes so long.

    Args:
        model_s: A look of the detector.
        frames: Of the camera.
        mode: Whether the detector may look aside.
        settle_s: What the governor may take before it counts.
    """
    run, settings = Run("bench", "bench"), DetectionSettings()
    tracker = Tracker([SlowDetector(model_s)], settings, aside=Aside(mode))
    source = Steady(painted(_PICTURES), frames)
    camera = Camera(lambda: source, SourceSettings(), once=True)
    vitals = Vitals(run.camera, run.id, run.counts, camera.monotonic())
    governor = Governor(BudgetSettings(), tracker.every, Heat)
    first = min(frames - 1, round(settle_s * FPS))
    records: list[tuple[bool, bool]] = []  # tracked, looked at
    before = Counts()

    def seen(record: Record) -> None:
        if record.frame < first:
            before.seen, before.processed = run.counts.seen, run.counts.processed
            return
        records.append((bool(record.tracks), bool({"detect", "aside"} & tracker.stages.keys())))

    Live(camera, tracker, [], run, vitals, governor).loop(lambda: False, seen=seen)
    tracked, looks = (sum(column) for column in zip(*records, strict=True))
    return Kept(
        frames=frames - first,
        given=run.counts.seen - before.seen,
        records=len(records),
        tracked=tracked,
        looks=looks,
        pace=governor.pace,
    )
