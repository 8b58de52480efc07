"""Real motion: boxes of annotated sequences, cut into stretches with frames skipped."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge.errors import DataError
from edge.stderr import tell
from train.dice import Dice

SHORTEST = 20  # frames


class Trajectories:
    """Boxes of several sequences as (cx, cy, w, h), one array; a stretch never joins two."""

    def __init__(self, sequences: list[np.ndarray], device: torch.device) -> None:
        """Copy them to the device.

        Args:
            sequences: (frames, 4) x, y, width, height each.
            device: Where stretches are made.
        """
        boxes = [torch.from_numpy(s.astype(np.float32)) for s in sequences]
        lengths = torch.tensor([len(s) for s in sequences])
        self._starts = (lengths.cumsum(0) - lengths).to(device)  # (n,)
        self._lengths = lengths.to(device)  # (n,)
        flat = torch.cat(boxes)  # (frames of all, 4)
        self._boxes = torch.cat([flat[:, :2] + flat[:, 2:] / 2, flat[:, 2:]], 1).to(device)

    def __len__(self) -> int:
        return len(self._lengths)

    def stretches(self, dice: Dice, skips: Tensor) -> Tensor:
        """Draw a stretch for every scene; beyond a sequence's end it runs backwards.

        Args:
            dice: Which sequence, and from where.
            skips: (B, T) frames of the sequence that pass before each frame; the first is ignored.

        Returns:
            (B, T, 4): dx, dy from the first box's centre in its sizes (the root of its area), and
            log of width and of height relative to the first box.
        """
        scenes = len(skips)
        which = dice.integers((scenes,), 0, len(self))  # (B,)
        length = self._lengths[which]  # (B,)
        first = (dice.uniform((scenes,)) * length).long()  # (B,)
        way = torch.where(dice.uniform((scenes,)) < 0.5, -1, 1)  # (B,) time runs either way
        passed = skips.clone()  # (B, T)
        passed[:, 0] = 0
        at = first[:, None] + way[:, None] * passed.cumsum(1)  # (B, T)
        period = (2 * length - 2)[:, None]  # (B, 1)
        at = at.remainder(period)  # (B, T)
        at = torch.minimum(at, period - at)  # (B, T) 0..length - 1
        boxes = self._boxes[self._starts[which][:, None] + at]  # (B, T, 4)
        size = boxes[:, :1, 2:].prod(-1, keepdim=True).sqrt()  # (B, 1, 1)
        shift = (boxes[..., :2] - boxes[:, :1, :2]) / size  # (B, T, 2)
        growth = (boxes[..., 2:] / boxes[:, :1, 2:]).log()  # (B, T, 2)
        return torch.cat([shift, growth], -1)  # (B, T, 4)


def load_trajectories(folder: str, device: torch.device) -> Trajectories:
    """Read a folder of `*.txt`; where there is none, say so and make random walks.

    Raises:
        DataError: A file is no list of boxes.
    """
    paths = sorted(Path(folder).glob("*.txt")) if folder else []
    if not paths:
        tell(f"trajectories: {folder or 'no folder'}: has no *.txt; motion is a random walk")
        return Trajectories(random_walks(np.random.default_rng(0)), device)
    sequences = [boxes for path in paths if len(boxes := _read(path)) >= SHORTEST]
    if not sequences:
        raise DataError(f"{folder}: no sequence has {SHORTEST} frames; name another folder")
    return Trajectories(sequences, device)


def _read(path: Path) -> np.ndarray:
    try:
        boxes = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: {error}; a line is x,y,w,h") from error
    if boxes.shape[1:] != (4,):
        raise DataError(f"{path}: has {boxes.shape[1]} columns; a line is x,y,w,h")
    good = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= 2).all(1)
    return boxes[: int(np.argmin(good))] if not good.all() else boxes  # up to the first bad row


def random_walks(
    random: np.random.Generator, count: int = 64, frames: int = 300
) -> list[np.ndarray]:
    """Return smooth random motion in place of real one: boxes (frames, 4) x, y, width, height."""
    kicks = random.normal(size=(count, frames, 4)) * (0.9, 0.7, 0.004, 0.004)
    speed = np.zeros((count, 4))
    place = np.zeros((count, frames, 4))
    for frame in range(1, frames):
        speed = 0.92 * speed + kicks[:, frame]
        place[:, frame] = place[:, frame - 1] * (1, 1, 0.98, 0.98) + speed
    size = 50 * np.exp(place[..., 2:])
    return list(np.concatenate([place[..., :2] - size / 2, size], 2))
