"""Load the development sequences and score tracks with trackeval; no tracker is imported here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SetName = Literal["tud", "kitti", "pets"]
TrackedFrame = list[tuple[int, float, float, float, float]]
"""One frame's output: (id, left, top, right, bottom), pixels."""

KITTI_EVEN = (
    "0000",
    "0002",
    "0004",
    "0006",
    "0008",
    "0010",
    "0012",
    "0014",
    "0016",
    "0018",
    "0020",
)
PETS_FRAMES = 250
MATCH_IOU = 0.5
"""A detection with this IoU to a car is never dropped; CLEAR and identity match at it too."""
COVERED = 0.5
"""A detection with more than this share of its area in an ignored region is dropped."""


@dataclass(frozen=True)
class Sequence:
    """One sequence; lists are indexed by frame from 0."""

    name: str
    fps: float
    n_frames: int
    gt: list[Floats]
    """(n, 5) id, left, top, right, bottom."""
    detections: list[Floats]
    """(n, 5) left, top, right, bottom, score in 0..1."""
    ignored: list[Floats] = field(default_factory=list)
    """(n, 4) boxes where the source asks not to score; empty list where it marks none."""


def load_set(data: Path, name: SetName) -> list[Sequence]:
    """Load one development set.

    Args:
        data: the folder that holds TUD-Campus, KITTI and PETS09-S2L1.
        name: `tud` (Campus and Stadtmitte), `kitti` (even half, cars) or `pets` (250 frames).
    """
    if name == "tud":
        return [_load_mot15(data / s, 25.0, "gt.txt") for s in ("TUD-Campus", "TUD-Stadtmitte")]
    if name == "kitti":
        return [_load_kitti(data / "KITTI", s) for s in KITTI_EVEN]
    return [_load_mot15(data / "PETS09-S2L1", 7.0, "gt_first.txt", PETS_FRAMES)]


def iou(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union (n, m) of boxes (n, 4) and (m, 4), ltrb."""
    inter = _intersection(a, b)
    return inter / np.maximum(_area(a)[:, None] + _area(b) - inter, 1e-9)


def hota(results: Iterable[tuple[Sequence, list[TrackedFrame]]]) -> dict[str, float]:
    """Score tracks over all sequences together.

    Args:
        results: pairs of a sequence and its tracked frames, one list a frame.

    Returns:
        HOTA, DetA and AssA (alpha-averaged, in percent), IDF1, MOTA, FP, FN and IDSW.
    """
    from trackeval import metrics  # the loaders above must work without it

    scorers = [
        metrics.HOTA(),
        metrics.CLEAR({"THRESHOLD": MATCH_IOU, "PRINT_CONFIG": False}),
        metrics.Identity({"THRESHOLD": MATCH_IOU, "PRINT_CONFIG": False}),
    ]
    data = {s.name: _trackeval_data(s, tracks) for s, tracks in results}
    merged: dict[str, Any] = {}
    for scorer in scorers:
        per_sequence = {name: scorer.eval_sequence(d) for name, d in data.items()}
        merged |= scorer.combine_sequences(per_sequence)
    percent = {k: 100 * float(np.mean(merged[k])) for k in ("HOTA", "DetA", "AssA", "IDF1", "MOTA")}
    counts = {"FP": "CLR_FP", "FN": "CLR_FN", "IDSW": "IDSW"}
    return percent | {k: float(merged[v]) for k, v in counts.items()}


def _load_mot15(folder: Path, fps: float, gt_name: str, n_frames: int = 0) -> Sequence:
    gt = np.loadtxt(folder / gt_name, delimiter=",", ndmin=2)
    detections = np.loadtxt(folder / "det.txt", delimiter=",", ndmin=2)
    n_frames = n_frames or int(max(gt[:, 0].max(), detections[:, 0].max()))
    scored = gt[gt[:, 6] != 0]
    unscored = gt[gt[:, 6] == 0]
    per_frame = _by_frame(
        detections[:, 0] - 1, np.c_[_ltrb(detections), detections[:, 6]], n_frames
    )
    return Sequence(
        name=folder.name,
        fps=fps,
        n_frames=n_frames,
        gt=_by_frame(scored[:, 0] - 1, np.c_[scored[:, 1], _ltrb(scored)], n_frames),
        detections=per_frame,
        ignored=_by_frame(unscored[:, 0] - 1, _ltrb(unscored), n_frames) if len(unscored) else [],
    )


def _load_kitti(folder: Path, name: str) -> Sequence:
    rows = [line.split() for line in (folder / "gt" / f"{name}.txt").read_text().splitlines()]
    kinds = np.array([row[2] for row in rows])
    numbers = np.array([[float(v) for v in (row[0], row[1], *row[6:10])] for row in rows])
    raw = np.loadtxt(folder / "det" / f"{name}.txt", delimiter=",", ndmin=2)
    n_frames = int(max(numbers[:, 0].max(), raw[:, 0].max())) + 1
    cars = numbers[kinds == "Car"]
    regions = numbers[np.isin(kinds, ("Van", "Truck", "DontCare"))]
    score = 1 / (1 + np.exp(2 - raw[:, 6]))
    gt = _by_frame(cars[:, 0], cars[:, 1:], n_frames)
    ignored = _by_frame(regions[:, 0], regions[:, 2:], n_frames)
    seen = _by_frame(raw[:, 0], np.c_[raw[:, 2:6], score], n_frames)
    kept = [_drop_ignored(*frame) for frame in zip(seen, gt, ignored, strict=True)]
    return Sequence(name, 10.0, n_frames, gt, kept)


def _drop_ignored(detections: Floats, gt: Floats, ignored: Floats) -> Floats:
    """Drop detections over half covered by an ignored region unless they match a scored box."""
    if not len(ignored) or not len(detections):
        return detections
    boxes = detections[:, :4]
    share = _intersection(boxes, ignored) / np.maximum(_area(boxes), 1e-9)[:, None]
    matches = iou(boxes, gt[:, 1:]).max(axis=1, initial=0.0) >= MATCH_IOU
    kept: Floats = detections[(share.max(axis=1) <= COVERED) | matches]
    return kept


def _trackeval_data(sequence: Sequence, tracks: list[TrackedFrame]) -> dict[str, Any]:
    """Return the dictionary that trackeval's metrics read: ids from 0, a similarity a frame."""
    found = [np.array(frame, float).reshape(-1, 5) for frame in tracks]
    if sequence.ignored:
        frames = zip(found, sequence.gt, sequence.ignored, strict=True)
        found = [f[_scored(f[:, 1:], g[:, 1:], i)] for f, g, i in frames]
    gt_ids, n_gt = _dense_ids([g[:, 0] for g in sequence.gt])
    ids, n_ids = _dense_ids([f[:, 0] for f in found])
    return {
        "num_timesteps": sequence.n_frames,
        "num_gt_ids": n_gt,
        "num_tracker_ids": n_ids,
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "gt_ids": gt_ids,
        "tracker_ids": ids,
        "similarity_scores": [
            iou(g[:, 1:], f[:, 1:]) for g, f in zip(sequence.gt, found, strict=True)
        ],
    }


def _scored(boxes: Floats, gt: Floats, ignored: Floats) -> NDArray[np.bool_]:
    """Return which tracks count: all but those that fit an ignored box better than a scored one."""
    unscored = iou(boxes, ignored).max(axis=1, initial=0.0)
    counts: NDArray[np.bool_] = iou(boxes, gt).max(axis=1, initial=0.0) >= unscored
    counts |= unscored < MATCH_IOU
    return counts


def _dense_ids(frames: list[Floats]) -> tuple[list[NDArray[np.int64]], int]:
    names = np.unique(np.concatenate(frames)) if frames else np.empty(0)
    return [np.searchsorted(names, f).astype(np.int64) for f in frames], len(names)


def _by_frame(frame: Floats, rows: Floats, n_frames: int) -> list[Floats]:
    return [rows[frame == k] for k in range(n_frames)]


def _ltrb(rows: Floats) -> Floats:
    """Return (n, 4) ltrb of MOT rows, whose left, top, width, height stand in columns 2 to 5."""
    ltrb: Floats = np.c_[rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]]
    return ltrb


def _area(boxes: Floats) -> Floats:
    area: Floats = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return area


def _intersection(a: Floats, b: Floats) -> Floats:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    area: Floats = np.prod(np.clip(high - low, 0, None), axis=2)
    return area
