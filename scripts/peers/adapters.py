"""One adapter a tracker: boxes and scores in, the library's own output, rows for scoring.

`update` is what the clock sees: conversion into the library's types and one frame of its work.
`rows` reads the output back and is not timed. A row stands for a track that was seen in this frame:
libraries that also report coasting tracks (norfair, motpy) score higher without those.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import motpy
import norfair
import numpy as np
import supervision
import trackers
from numpy.typing import NDArray

from edge.detection_tracker import DetectionTracker
from scripts.mot_eval import TrackedFrame

Floats = NDArray[np.float64]


class Associator(Protocol):
    """A tracker that takes one frame's detections at a time."""

    def update(self, boxes: Floats, scores: Floats, captured_at: float) -> Any:
        """Take boxes (n, 4) left-top-right-bottom in pixels and scores (n,); seconds."""

    def rows(self, output: Any) -> TrackedFrame:
        """Read what `update` returned."""


class Edgetrack:
    """Ours at its defaults: confirmed tracks."""

    def __init__(self) -> None:
        self.tracker = DetectionTracker()

    def update(self, boxes: Floats, scores: Floats, captured_at: float) -> Any:
        """Run one frame."""
        labels = np.zeros(len(scores), np.int64)
        return self.tracker.update(boxes, scores, labels, captured_at)

    def rows(self, output: Any) -> TrackedFrame:
        """Read the confirmed tracks."""
        return [(track.id, *track.box) for track in output if track.status == "confirmed"]


class Roboflow:
    """Any tracker of roboflow's `trackers`: detections come back with ids, -1 for none."""

    def __init__(self, tracker: Any) -> None:
        self.tracker = tracker

    def update(self, boxes: Floats, scores: Floats, captured_at: float) -> Any:  # noqa: ARG002
        """Run one frame."""
        labels = np.zeros(len(scores), np.int64)
        found = supervision.Detections(xyxy=boxes, confidence=scores, class_id=labels)
        return self.tracker.update(found)

    def rows(self, output: Any) -> TrackedFrame:
        """Read the detections that have an id."""
        return _numbered(output)


class Supervision:
    """The ByteTrack inside supervision."""

    def __init__(self, frame_rate: float) -> None:
        self.tracker = supervision.ByteTrack(frame_rate=round(frame_rate))

    def update(self, boxes: Floats, scores: Floats, captured_at: float) -> Any:  # noqa: ARG002
        """Run one frame."""
        labels = np.zeros(len(scores), np.int64)
        found = supervision.Detections(xyxy=boxes, confidence=scores, class_id=labels)
        return self.tracker.update_with_detections(found)

    def rows(self, output: Any) -> TrackedFrame:
        """Read the detections that have an id."""
        return _numbered(output)


class Norfair:
    """Norfair over IoU, for which it has no default threshold.

    It is told to wait for 2 frames before a track counts: its default of 7 costs it 3 HOTA on two
    of the three development sets, and gains 1 on the third.
    """

    def __init__(self) -> None:
        self.tracker = norfair.Tracker("iou", distance_threshold=0.7, initialization_delay=2)
        self._found: list[norfair.Detection] = []

    def update(self, boxes: Floats, scores: Floats, captured_at: float) -> Any:  # noqa: ARG002
        """Run one frame."""
        self._found = [
            norfair.Detection(points=box.reshape(2, 2), scores=np.array([score, score]))
            for box, score in zip(boxes, scores, strict=True)
        ]
        return self.tracker.update(self._found)

    def rows(self, output: Any) -> TrackedFrame:
        """Read the estimates of the tracks that took a detection of this frame."""
        now = {id(detection) for detection in self._found}
        seen = [track for track in output if id(track.last_detection) in now]
        return [(track.id, *map(float, track.estimate.ravel())) for track in seen]


class Motpy:
    """Motpy at its defaults."""

    def __init__(self, frame_rate: float) -> None:
        self.tracker = motpy.MultiObjectTracker(dt=1 / frame_rate)
        self._numbers: dict[str, int] = {}

    def update(self, boxes: Floats, scores: Floats, captured_at: float) -> Any:  # noqa: ARG002
        """Run one frame."""
        return self.tracker.step(
            [motpy.Detection(box, score) for box, score in zip(boxes, scores, strict=True)]
        )

    def rows(self, output: Any) -> TrackedFrame:
        """Read the boxes of the tracks that are not stale."""
        fresh = {track.id for track in self.tracker.trackers if track.staleness == 0}
        return [(self._number(t.id), *map(float, t.box)) for t in output if t.id in fresh]

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


@dataclass(frozen=True)
class Peer:
    """A tracker to measure."""

    title: str
    distribution: str
    """Whose version goes into the table; empty for ours."""
    module: str
    """What its user imports, for the memory."""
    make: Callable[[float], Associator]
    """From the frame rate."""


PEERS = (
    Peer("**edgetrack**", "", "edge.detection_tracker", lambda _: Edgetrack()),
    Peer(
        "roboflow trackers SORT",
        "trackers",
        "trackers",
        lambda rate: Roboflow(trackers.SORTTracker(frame_rate=rate)),
    ),
    Peer(
        "roboflow trackers ByteTrack",
        "trackers",
        "trackers",
        lambda rate: Roboflow(trackers.ByteTrackTracker(frame_rate=rate)),
    ),
    Peer(
        "roboflow trackers OC-SORT",
        "trackers",
        "trackers",
        lambda rate: Roboflow(trackers.OCSORTTracker(frame_rate=rate)),
    ),
    Peer(
        "roboflow trackers C-BIoU",
        "trackers",
        "trackers",
        lambda rate: Roboflow(trackers.CBIoUTracker(frame_rate=rate)),
    ),
    Peer("supervision ByteTrack", "supervision", "supervision", Supervision),
    Peer("norfair (IoU)", "norfair", "norfair", lambda _: Norfair()),
    Peer("motpy", "motpy", "motpy", Motpy),
)


def _numbered(found: supervision.Detections) -> TrackedFrame:
    pairs = zip(found.tracker_id, found.xyxy, strict=True)
    return [(int(number), *map(float, box)) for number, box in pairs if number >= 0]
