"""Annotated sequences on disk, as OTB has them: a folder of pictures and one box a frame."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import DataError, SourceError, UsageError
from edge.sources import IMAGE_SUFFIXES
from edge.sources.images import read_image
from edge.types import Floats, Image

_TRUTHS = ("groundtruth.txt", "groundtruth_rect.txt")
_ADVICE = "write x,y,w,h a frame, NaN where the target is not in view"


@dataclass(frozen=True)
class AnnotatedSequence:
    """One target through a video; as many pictures as rows of truth."""

    name: str
    pictures: tuple[Path, ...]
    truth: Floats
    """(frames, 4) left, top, right, bottom in pixels; NaN where there is no box."""
    fps: float

    def __len__(self) -> int:
        return len(self.pictures)

    def decode(self) -> list[Image]:
        """Return every picture.

        Raises:
            DataError: One is damaged.
        """
        return [read_image(path) for path in self.pictures]


def find_sequences(
    folder: Path, only: Sequence[str] = (), frames: int = 400, fps: float = 30.0
) -> list[AnnotatedSequence]:
    """Find the sequences in a folder, or the one that the folder is.

    Args:
        folder: `NAME/groundtruth.txt` (or OTB's groundtruth_rect.txt) and pictures in `NAME` or
            in `NAME/img`.
        only: Names of those that are wanted, in that order; empty: all, sorted.
        frames: The most that are taken of each.
        fps: Of all of them.

    Raises:
        SourceError: The folder cannot be read.
        DataError: It holds no sequence, or a damaged one.
        UsageError: A name in `only` is not there.
    """
    found = {path.name: path for path in _candidates(folder)}
    if not found:
        raise DataError(
            f"{folder}: holds no sequences; put NAME/0001.jpg ... and NAME/groundtruth.txt there"
        )
    if unknown := [name for name in only if name not in found]:
        raise UsageError(
            f"{folder}: has no sequence {unknown[0]!r}; choose from {', '.join(found)}"
        )
    return [read_sequence(found[name], frames, fps) for name in only or found]


def read_sequence(folder: Path, frames: int = 400, fps: float = 30.0) -> AnnotatedSequence:
    """Read one sequence; its pictures stay on disk until `decode`.

    Raises:
        SourceError: A file cannot be read.
        DataError: There is no truth, a row is no box, or there are fewer pictures than rows.
    """
    path = _truth_file(folder)
    if path is None:
        raise DataError(f"{folder}: has pictures and no {_TRUTHS[0]}; {_ADVICE}")
    truth = _read_truth(path)
    pictures = _pictures(folder)
    if len(pictures) < len(truth):
        raise DataError(
            f"{folder}: has {len(pictures)} pictures for the {len(truth)} rows of {path.name}; "
            "add pictures or remove rows"
        )
    truth = truth[:frames]
    if np.isnan(truth).any(axis=1).all():
        raise DataError(f"{path}: has no box in its first {len(truth)} rows; {_ADVICE}")
    return AnnotatedSequence(folder.resolve().name, tuple(pictures[: len(truth)]), truth, fps)


def _candidates(folder: Path) -> list[Path]:
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "img")
        found = [] if _truth_file(folder) else [path for path in inside if _is_sequence(path)]
        # Pictures that lie beside sequences are none of theirs.
        return found or ([folder.resolve()] if _is_sequence(folder) else [])
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror}); check it") from None


def _is_sequence(folder: Path) -> bool:
    return _truth_file(folder) is not None or bool(_pictures(folder))


def _truth_file(folder: Path) -> Path | None:
    return next((folder / name for name in _TRUTHS if (folder / name).is_file()), None)


def _pictures(folder: Path) -> list[Path]:
    inner = folder / "img"
    place = inner if inner.is_dir() else folder
    return sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _read_truth(path: Path) -> Floats:
    """Return boxes (frames, 4) left, top, right, bottom; rows without an area become NaN."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check it") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; {_ADVICE}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path}: is empty; {_ADVICE}")
    rows = np.array([_row(path, number, line) for number, line in enumerate(lines, start=1)])
    rows[~(rows[:, 2:] > 0).all(axis=1) | ~np.isfinite(rows).all(axis=1)] = np.nan
    rows[:, 2:] += rows[:, :2]
    return rows


def _row(path: Path, number: int, line: str) -> list[float]:
    try:
        values = [float(word) for word in re.split(r"[,;\s]+", line.strip())]
    except ValueError:
        values = []
    if len(values) != 4:
        raise DataError(f"{path}:{number}: is {line[:60]!r}; {_ADVICE}")
    return values
