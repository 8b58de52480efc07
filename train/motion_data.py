"""Real motion as a detector would see it: tracks -> stretches of noisy boxes, and the truth.

B stretches of T detections each. A detection comes after a few frames, is off by an error that is
partly white and partly slow, and now and then several are missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge.errors import DataError
from train.dice import Dice
from train.motion import HORIZONS_S

SHORTEST_S = 1.5  # of a track that is of use
_LONGEST_GAP_S = 1.0  # of an annotation that is bridged by a straight line
_RATES = (1 / 30, 1 / 10, 1 / 5, 1 / 3)  # seconds from detection to detection


@dataclass(frozen=True)
class Noise:
    """How far a detector is off: a level for each stretch, and what happens now and then."""

    least: float = 0.01  # standard deviation of the centre in sizes, from this
    most: float = 0.08  # to this
    outliers: float = 0.02  # share of detections whose error is four times the usual
    mistaken: float = 0.0  # share, in half of the stretches, that begins a run of another's boxes


ROUGH = Noise(most=0.14, outliers=0.05, mistaken=0.05)
"""What the model learns from: association makes mistakes, and some detectors are poor."""


@dataclass(frozen=True)
class Track:
    """One target's true boxes at an even rate."""

    name: str
    fps: float
    boxes: np.ndarray  # (frames, 4) centre x, centre y, log width, log height; pixels


@dataclass(frozen=True)
class Stretches:
    """What a detector saw of B targets, T times each, and what was true."""

    dt: Tensor  # (B, T) seconds since the detection before; 0 at the first
    measured: Tensor  # (B, T, 4) centre x, centre y, log width, log height; pixels
    scores: Tensor  # (B, T)
    truth: Tensor  # (B, T, 5, 4) likewise, at HORIZONS_S from each detection
    known: Tensor  # (B, T, 5) 1 where `truth` is, 0 beyond the track's end
    tracks: Tensor  # (B,) which track each is from

    def features(self) -> Tensor:
        """Return what the LSTM is given, (B, T, 6)."""
        before = torch.cat([self.measured[:, :1], self.measured[:, :-1]], 1)  # (B, T, 4)
        change = self.measured - before  # (B, T, 4)
        moved = change[..., :2] / sizes(before)  # (B, T, 2)
        parts = [self.dt[..., None], moved, change[..., 2:], self.scores[..., None]]
        return torch.cat(parts, 2)  # (B, T, 6)

    def wanted(self) -> Tensor:
        """Return the truth relative to the measured boxes, as a forecast counts, (B, T, 5, 4)."""
        change = self.truth - self.measured[:, :, None]  # (B, T, 5, 4)
        return torch.cat([change[..., :2] / sizes(self.measured)[:, :, None], change[..., 2:]], 3)


def sizes(boxes: Tensor) -> Tensor:
    """Return the sizes (..., 1) of boxes (..., 4) with log width and log height."""
    return (boxes[..., 2:].sum(-1, keepdim=True) / 2).exp()


class Tracks:
    """Tracks in one array, from which stretches are drawn."""

    def __init__(self, tracks: list[Track], device: torch.device | None = None) -> None:
        """Copy them, at least one, to the device where stretches are made."""
        self.tracks = tracks
        self.device = device or torch.device("cpu")
        lengths = torch.tensor([len(track.boxes) for track in tracks])  # (n,)
        self._lengths = lengths.to(self.device)
        self._starts = (lengths.cumsum(0) - lengths).to(self.device)  # (n,)
        self._fps = torch.tensor([track.fps for track in tracks], device=self.device)  # (n,)
        flat = np.concatenate([track.boxes for track in tracks]).astype(np.float32)
        self._boxes = torch.from_numpy(flat).to(self.device)  # (frames of all, 4)

    def draw(self, dice: Dice, count: int, steps: int, noise: Noise = ROUGH) -> Stretches:
        """Draw stretches of any track from anywhere, as they are or turned about.

        Time runs either way and at .7 to 1.4 of its pace; pictures are mirrored, turned by a right
        angle and stretched.
        """
        which = dice.integers((count,), 0, len(self.tracks))  # (B,)
        warp = _spread(dice, (count,), 1.4)  # (B,)
        warp = warp * torch.where(dice.uniform((count,)) < 0.5, -1.0, 1.0)  # (B,)
        seen = self.stretches(dice, which, steps, warp, noise)
        return _turned(dice, seen)

    def stretches(
        self,
        dice: Dice,
        which: Tensor,
        steps: int,
        warp: Tensor | None = None,
        noise: Noise | None = None,
    ) -> Stretches:
        """Draw one stretch of each of the tracks `which` (B,).

        Args:
            dice: Where it begins, when detections come, and how far they are off.
            which: (B,)
            steps: Detections in a stretch.
            warp: (B,) how fast time runs in the track, below 0 backwards; None: as it did.
            noise: How far they are off; None: as a fair detector is.
        """
        count = len(which)
        dt = _intervals(dice, count, steps, 1 / self._fps[which])  # (B, T)
        pace = self._fps[which] * (1.0 if warp is None else warp)  # (B,)
        last = (self._lengths[which] - 1).float()  # (B,)
        taken = dt.sum(1) * pace.abs()  # (B,) frames
        spare = (last - taken).clamp_min(0.0)  # (B,)
        first = (dice.uniform((count,)) * spare).round()  # (B,)
        first = torch.where(pace < 0, last - first, first)  # (B,)
        times = dt.cumsum(1)[..., None] + dt.new_tensor(HORIZONS_S)  # (B, T, 5)
        at = first[:, None, None] + times * pace[:, None, None]  # (B, T, 5) in frames
        end = last[:, None, None]  # (B, 1, 1)
        known = ((at > -0.01) & (at < end + 0.01)).float()  # (B, T, 5)
        truth = self._at(which, at)  # (B, T, 5, 4)
        scores, error = _errors(dice, dt, noise or Noise())  # (B, T), (B, T, 4)
        size = sizes(truth[:, :, 0])  # (B, T, 1)
        off = torch.cat([error[..., :2] * size, error[..., 2:]], 2)  # (B, T, 4)
        return Stretches(dt, truth[:, :, 0] + off, scores, truth, known, which)

    def _at(self, which: Tensor, at: Tensor) -> Tensor:
        """Return the boxes (B, T, 5, 4) of tracks at frames, straight between two."""
        last = (self._lengths[which] - 1)[:, None, None]  # (B, 1, 1)
        at = torch.minimum(at.clamp_min(0.0), last.float())  # (B, T, 5)
        left = torch.minimum(at.long(), (last - 1).clamp_min(0))  # (B, T, 5)
        share = (at - left)[..., None]  # (B, T, 5, 1)
        row = self._starts[which][:, None, None] + left  # (B, T, 5)
        return self._boxes[row].lerp(self._boxes[row + 1], share)  # (B, T, 5, 4)


def _intervals(dice: Dice, count: int, steps: int, finest: Tensor) -> Tensor:
    """Return seconds from detection to detection, (B, T): a rate each, misses, and gaps.

    Args:
        dice: Draws them.
        count: B.
        steps: T.
        finest: (B,) seconds from frame to frame; no rate is higher.
    """
    kind = dice.integers((count,), 0, len(_RATES))  # (B,)
    base = torch.maximum(finest.new_tensor(_RATES)[kind], finest)[:, None]  # (B, 1)
    missed = dice.uniform((count, 1), 0.0, 0.3)  # (B, 1) chance that a detection fails
    chance = dice.uniform((count, steps)).clamp_min(1e-6)  # (B, T)
    frames = 1 + (chance.log() / missed.log()).floor().clamp(0, 5)  # (B, T) misses in a row
    gap = dice.chance((count, steps), 0.02) * dice.uniform((count, steps), 0.2, 1.0)  # (B, T)
    uneven = dice.chance((count, 1), 0.25) * dice.integers((count, steps), 0, 5)  # (B, T)
    dt = ((frames + uneven) * base + (gap / base).round() * base).clamp_max(2.0)  # (B, T)
    dt[:, 0] = 0.0
    return dt


def _errors(dice: Dice, dt: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return scores (B, T) and errors (B, T, 4): of the centre in sizes, of the log sizes."""
    count, steps = dt.shape
    level = noise.least * (noise.most / noise.least) ** dice.uniform((count, 1, 1))  # (B, 1, 1)
    slow = dice.uniform((count, 1, 1))  # (B, 1, 1) share of the variance that is slow
    memory = 0.05 * 40.0 ** dice.uniform((count, 1, 1))  # (B, 1, 1) seconds
    kept = torch.exp(-dt[..., None] / memory)  # (B, T, 1)
    white, drift = dice.normal((count, steps, 4)), _drifting(dice, kept)  # (B, T, 4) each
    error = (1 - slow).sqrt() * white + slow.sqrt() * drift  # (B, T, 4)
    score = dice.uniform((count, 1), 0.3, 1.0) + 0.15 * dice.normal((count, steps))  # (B, T)
    score = score.clamp(0.1, 1.0)  # (B, T)
    doubt = 1.3 - 0.6 * score[..., None]  # (B, T, 1)
    wild = 1 + 3 * dice.chance((count, steps, 1), noise.outliers)  # (B, T, 1)
    shape = dt.new_tensor([1.0, 1.0, 1.5, 1.5])
    error = error * level * doubt * wild * shape  # (B, T, 4)
    return score, error + _mistakes(dice, count, steps, noise.mistaken)


def _drifting(dice: Dice, kept: Tensor) -> Tensor:
    """Return noise (B, T, 4) of variance 1 that keeps a share (B, T, 1) from step to step."""
    kicks = dice.normal((*kept.shape[:2], 4))  # (B, T, 4)
    drift = [kicks[:, 0]]
    for share, kick in zip(kept.unbind(1)[1:], kicks.unbind(1)[1:], strict=True):
        drift.append(share * drift[-1] + (1 - share**2).sqrt() * kick)
    return torch.stack(drift, 1)


def _mistakes(dice: Dice, count: int, steps: int, share: float) -> Tensor:
    """Return errors (B, T, 4) of detections of something else: now and then one or a few."""
    begun = dice.chance((count, 1), 0.5) * dice.chance((count, steps), share)  # (B, T)
    again = dice.chance((count, steps), 0.5)  # (B, T)
    runs = [begun[:, 0]]
    for new, more in zip(begun.unbind(1)[1:], again.unbind(1)[1:], strict=True):
        runs.append(torch.maximum(new, runs[-1] * more))
    other = dice.normal((count, 1, 4)) * begun.new_tensor([0.4, 0.4, 0.15, 0.15])  # (B, 1, 4)
    return other * torch.stack(runs, 1)[..., None]


def _spread(dice: Dice, shape: tuple[int, ...], most: float) -> Tensor:
    """Return factors from 1 / most to most, as often above 1 as below."""
    return most ** dice.uniform(shape, -1.0, 1.0)


def _turned(dice: Dice, seen: Stretches) -> Stretches:
    """Return stretches mirrored, turned by a right angle and stretched, each in its own way."""
    count = len(seen.dt)
    mirror = torch.where(dice.uniform((count, 2)) < 0.5, -1.0, 1.0)  # (B, 2)
    stretch = _spread(dice, (count, 2), 1.3)  # (B, 2)
    across = dice.uniform((count, 1)) < 0.5  # (B, 1)

    def turned(boxes: Tensor) -> Tensor:
        ones = (count,) + (1,) * (boxes.dim() - 2)
        centre = boxes[..., :2] * (mirror * stretch).view(*ones, 2)  # (B, ..., 2)
        extent = boxes[..., 2:] + stretch.log().view(*ones, 2)  # (B, ..., 2)
        whole = torch.cat([centre, extent], -1)  # (B, ..., 4)
        swapped = torch.cat([centre.flip(-1), extent.flip(-1)], -1)  # (B, ..., 4)
        return torch.where(across.view(*ones, 1), swapped, whole)  # (B, ..., 4)

    return Stretches(
        seen.dt, turned(seen.measured), seen.scores, turned(seen.truth), seen.known, seen.tracks
    )


def otb_tracks(folder: Path, fps: float) -> list[Track]:
    """Read a folder of `*.txt`, one target each, `x,y,w,h` a frame.

    Raises:
        DataError: There is none, or one is no list of boxes.
    """
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise DataError(f"{folder}: holds no *.txt; name a folder of trajectories")
    tracks: list[Track] = []
    for path in paths:
        rows = _table(path, ",", 4)
        tracks += _pieces(path.stem, fps, np.arange(len(rows)), rows)
    return tracks


def mot_tracks(path: Path, name: str, fps: float) -> list[Track]:
    """Read MOT ground truth, `frame,id,left,top,width,height,...`; see `otb_tracks`."""
    rows = _table(path, ",", 6)
    return _by_id(name, fps, rows[:, 1], rows[:, 0], rows[:, 2:6])


def kitti_tracks(path: Path, fps: float = 10.0) -> list[Track]:
    """Read KITTI labels, `frame id type ... left top right bottom ...`; see `otb_tracks`."""
    try:
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [w for w in words if w[2] != "DontCare"]
        rows = np.array([[float(v) for v in (w[0], w[1], *w[6:10])] for w in kept]).reshape(-1, 6)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path}: {error}; a line is frame id type ... KITTI's way") from error
    boxes = np.concatenate([rows[:, 2:4], rows[:, 4:6] - rows[:, 2:4]], 1)
    return _by_id(f"KITTI-{path.stem}", fps, rows[:, 1], rows[:, 0], boxes)


def _by_id(
    name: str, fps: float, ids: np.ndarray, frames: np.ndarray, boxes: np.ndarray
) -> list[Track]:
    tracks: list[Track] = []
    for one in np.unique(ids):
        rows = np.flatnonzero(ids == one)
        rows = rows[np.argsort(frames[rows], kind="stable")]
        tracks += _pieces(f"{name}/{one:.0f}", fps, frames[rows], boxes[rows])
    return tracks


def _pieces(name: str, fps: float, frames: np.ndarray, boxes: np.ndarray) -> Iterator[Track]:
    """Cut a target's boxes (n, 4) x, y, width, height at long gaps and fill the short ones."""
    good = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= 2).all(1)
    frames, boxes = frames[good], boxes[good]
    cuts = np.flatnonzero(np.diff(frames) > _LONGEST_GAP_S * fps) + 1
    for at, rows in zip(np.split(frames, cuts), np.split(boxes, cuts), strict=True):
        if len(at) and at[-1] - at[0] >= SHORTEST_S * fps:
            centred = np.concatenate([rows[:, :2] + rows[:, 2:] / 2, np.log(rows[:, 2:])], 1)
            even = np.arange(at[0], at[-1] + 1)
            filled = [np.interp(even, at, column) for column in centred.T]
            yield Track(name, fps, np.stack(filled, 1))


def _table(path: Path, separator: str, columns: int) -> np.ndarray:
    try:
        rows = np.loadtxt(path, delimiter=separator, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; give {columns} numbers a line") from error
    if rows.shape[1] < columns:
        raise DataError(f"{path}: has {rows.shape[1]} columns; give {columns} numbers a line")
    return rows
