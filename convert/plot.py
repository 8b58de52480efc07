"""The error over time as a picture, beside the bundle."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from convert.quiet import quiet
from convert.verify import Drift, gate

_LEAST = 1e-9  # a logarithm has no zero


def plot(drifts: Sequence[Drift], mode: str, path: Path) -> str:
    """Draw the error of every interpreter and output, in standard deviations, over the steps.

    Args:
        drifts: What is drawn.
        mode: Of the quantisation; its gate is drawn too.
        path: The PNG file.

    Returns:
        Why nothing was drawn, empty where it was: the bundle is good without a picture.
    """
    try:
        with quiet():
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib is not installed"
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    for drift in drifts:
        errors = np.maximum(drift.errors / drift.std, _LEAST)
        axes.plot(drift.steps, errors, linewidth=0.8, label=f"{drift.output}, {drift.backend}")
    kind, allowed = gate(mode)
    axes.axhline(allowed, color="black", linestyle="--", label=f"allowed ({kind})")
    axes.set(yscale="log", xlabel="step", ylabel="error / std of the source's output")
    axes.set_title(f"{path.stem.removesuffix('-parity')}: {mode if mode != 'none' else 'float32'}")
    axes.legend(fontsize="small")
    try:
        FigureCanvasAgg(figure).print_figure(path, dpi=110)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        return f"{path} cannot be written, {error.strerror}"
    return ""
