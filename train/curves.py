"""`python -m train.curves build/appearance`: a run's log as pictures, `curves.png` beside it."""

import csv
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from edge.cli import guarded
from edge.errors import DataError
from train.fitting import LOG

CURVES = "curves.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, and return the exit code."""
    parser = ArgumentParser(prog="python -m train.curves", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a run of train.fit")
    folder = parser.parse_args(argv).folder
    return guarded("train.curves", lambda: draw(folder))


def draw(folder: Path) -> int:
    """Draw every column of a run's log over the steps.

    Raises:
        DataError: There is no log, or nothing in it.
    """
    import matplotlib as mpl  # slow to load, and fitting does without

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = _rows(folder / LOG)
    names = [name for name in rows[0] if name not in ("step", "seconds")]
    figure, axes = pyplot.subplots(len(names), sharex=True, figsize=(8, 1.6 * len(names)))
    for name, axis in zip(names, axes, strict=True):
        points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        axis.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else "")
        axis.set_ylabel(name, fontsize=8)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(folder / CURVES, dpi=100)
    pyplot.close(figure)
    return 0


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name the folder of a run") from error
    if not rows or "step" not in rows[0]:
        raise DataError(f"{path}: holds no steps; let the run go on for longer")
    return rows


if __name__ == "__main__":
    sys.exit(main())
