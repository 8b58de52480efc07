"""The tile set and the cut-out set in memory, split into training and held-out pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge.errors import DataError


@dataclass(frozen=True)
class Stills:
    """Pictures that scenes are made of, on the device that renders."""

    tiles: Tensor  # (n, 3, S, S) uint8
    cutouts: Tensor  # (m, 4, P, P) uint8, each stretched to a square
    aspects: Tensor  # (m,) width / height of the cut-outs


def load_stills(folder: Path, split: str, device: torch.device) -> Stills:
    """Read what `python -m train.stills` wrote.

    Args:
        folder: Its `--out`.
        split: `train` or `held-out`.
        device: Where scenes are rendered.

    Raises:
        DataError: The folder is not there, or has nothing of that split.
    """
    try:
        tiles, tile_rows = np.load(folder / "tiles.npy", mmap_mode="r"), _rows(folder / "tiles.tsv")
        cutouts, rows = np.load(folder / "cutouts.npy"), _rows(folder / "cutouts.tsv")
    except OSError as error:
        why, make = error.strerror or error, f"python -m train.stills --out {folder}"
        raise DataError(f"{folder}: {why}; make it with {make}") from error
    tile_at = [i for i, row in enumerate(tile_rows) if row[1] == split]
    at = [i for i, row in enumerate(rows) if row[1] == split]
    if not tile_at or not at:
        raise DataError(f"{folder}: has no pictures of the split {split!r}; build the sets again")
    return Stills(
        torch.from_numpy(tiles[tile_at]).to(device),
        torch.from_numpy(cutouts[at]).to(device),
        torch.tensor([float(rows[i][2]) for i in at], device=device),
    )


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
