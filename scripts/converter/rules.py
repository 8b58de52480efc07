"""Every rule of both frameworks: how far the step is from the layer run over the whole sequence."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from convert.conversion import convert
from convert.keras.source import KerasSource
from convert.model import SourceModel, SourceOptions
from convert.recording import Request
from convert.samples import made_samples
from convert.torch import open_torch
from convert.verify import Drift
from scripts.converter import keras_models, torch_models
from scripts.converter.report import Bar, print_table

_BAR = Bar(1e-5, 1e-6)
_STEPS, _QUICK_STEPS = 1000, 200
_QUICK = ("keras LSTM", "torch GRU")
Opener = Callable[[], SourceModel]


def run(*, quick: bool, keep: Path | None) -> None:
    """Print a table of errors.

    Args:
        quick: A few rules, over fewer steps.
        keep: Where the bundles stay, one a rule; they hold their golden recordings.
    """
    steps = _QUICK_STEPS if quick else _STEPS
    with tempfile.TemporaryDirectory() as place:
        rows = [
            [*name.split(" ", 1), drift.backend, f"{drift.max:.2g}", _BAR.verdict(drift.max)]
            for name, opener in _openers()
            if not quick or name in _QUICK
            for drift in _drifts(name, opener(), steps, keep or Path(place))
        ]
    print_table(
        f"rules: largest absolute error over {steps} steps, fp32 ({_BAR})",
        ("framework", "rule", "interpreter", "error", ""),
        rows,
    )


def _openers() -> Iterator[tuple[str, Opener]]:
    for name, build in keras_models.RULES.items():
        yield f"keras {name}", lambda build=build: KerasSource(build())
    shapes = {"x": (torch_models.WIDTH,)}
    for name, factory in torch_models.RULES.items():
        model = f"{torch_models.__file__}:{factory}"
        yield f"torch {name}", lambda m=model: open_torch(m, SourceOptions(shapes=shapes))


def _drifts(name: str, source: SourceModel, steps: int, place: Path) -> list[Drift]:
    request = Request(
        name=re.sub(r"[^a-z0-9]+", "-", name.lower()),
        licence="Apache-2.0",
        origin="scripts/bench-convert",
        steps=steps,
        recorded_steps=steps,
        accept=frozenset({"drift"}),  # what misses is to be printed, not refused
    )
    samples = made_samples(source.inputs, None, steps)
    place.mkdir(parents=True, exist_ok=True)
    return list(convert(source, samples, request, place / request.name).drifts)
