"""The data that flows along the path of a frame: frame, detections, tracks, record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (height, width, 3), RGB
Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Box = tuple[
    float, float, float, float
]  # left, top, right, bottom; pixels; right and bottom exclusive

Clock = Literal["driver", "arrival", "pts", "nominal"]
"""Where `captured_at` comes from: the driver's buffer timestamp, the moment the frame arrived,
the file's presentation time, or index / fps."""

Condition = Literal["good", "repeated", "frozen", "black", "absent"]
"""What a picture is worth; absent: none came, the camera is away."""

CameraState = Literal["starting", "streaming", "frozen", "black", "lost", "recovering"]
"""starting: nothing came yet; lost: away, and tried again and again; recovering: open again, but
nothing came yet. The others say what comes."""

Status = Literal["tentative", "confirmed", "lost"]
EventType = Literal["new", "lost", "found", "end"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and the moment it was taken; `captured_at` never decreases within a source."""

    image: Image
    index: int
    """Counts every frame the source delivered, from 0."""
    captured_at: float
    """Seconds at exposure: monotonic for live sources, media time for files."""
    clock: Clock = "arrival"
    time: float = 0.0
    """Seconds since the epoch at exposure; media time for files."""
    condition: Condition = "good"


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector saw in one frame: rows belong together, zero rows are legal."""

    boxes: Floats
    """(n, 4) left, top, right, bottom in frame pixels."""
    scores: Floats
    """(n,) in 0..1."""
    labels: Ints
    """(n,) indices into the detector's label names."""

    @classmethod
    def none(cls) -> "Detections":
        """Return zero detections."""
        return cls(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Array | slice) -> "Detections":
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Carried:
    """Where a recurrent tracker sees the live tracks in a frame: rows belong together."""

    ids: Ints
    """(n,) of the tracks, rising."""
    boxes: Floats
    """(n, 4) left, top, right, bottom in frame pixels."""
    presence: Floats
    """(n,) the belief that each is in view, 0..1."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What an interpreter says of one of its tensors."""

    name: str
    shape: tuple[int, ...]
    """A dimension of -1 is free."""
    dtype: str
    """A numpy dtype name: float32, uint8, int8, ..."""
    scale: float = 0.0
    """real = (stored - zero_point) * scale; 0 where the tensor holds real values."""
    zero_point: int = 0


def shapes_fit(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Say whether two shapes agree; a dimension of -1, in either, fits any size."""
    return len(wanted) == len(found) and all(
        a == b or -1 in (a, b) for a, b in zip(wanted, found, strict=True)
    )


class Track(msgspec.Struct, frozen=True, gc=False):
    """One target in one frame."""

    id: int
    label: str
    box: Box
    score: float
    """The last matched detection's score, 0..1."""
    presence: float
    """The belief that the target is in view now, 0..1."""
    status: Status
    velocity: tuple[float, float]
    """Of the box centre, pixels a second."""
    box_now: Box
    """The box carried forward to the moment of emission."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change in a track's life."""

    type: EventType
    id: int


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that one frame gave: a line of the JSON Lines output (schema 1)."""

    schema: Literal[1]
    camera: str
    run: str
    """Names one run of the program; two runs of `track` over the same input share it."""
    frame: int
    time: float
    captured_at: float
    age_ms: float
    """From capture to emission; 0 when frames come from a file and time is media time."""
    size: tuple[int, int]
    """Width and height of the frame in pixels."""
    dropped: int
    """Frames dropped since the run began."""
    tracks: list[Track]
    events: list[Event]
    condition: Condition = "good"
    """Left out when good."""
    state: CameraState = "streaming"
    """Of the camera; left out when streaming."""
    values: dict[str, Any] = {}
    """Left out unless a sequence model runs."""


@dataclass(slots=True)
class Counts:
    """The accounting of a run: seen == processed + the sum of dropped."""

    seen: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {"newer": 0, "pace": 0, "stopped": 0})
    """Reason -> frames: a newer one came before this was begun, the rate was limited, or the run
    was stopped."""
    conditions: dict[Condition, int] = field(default_factory=dict)
    """Of the processed frames, how many were repeated, frozen or black."""
    unwritten: dict[str, int] = field(default_factory=dict)
    """Sink -> records that it was too slow for or failed to write."""


State = Mapping[str, Array]
"""State tensors by name; a value, never changed in place."""
