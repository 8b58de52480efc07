"""Does a step cost the same after an hour of frames as at the start?"""

import tempfile
from pathlib import Path

from convert.conversion import convert
from convert.keras.source import KerasSource
from convert.recording import Request
from convert.samples import made_samples
from convert.verify import interpreters
from edge import bench
from edge.step import StepModel
from scripts.converter.keras_models import RULES
from scripts.converter.report import Bar, print_table

_BAR = Bar(1.0, 1.0)
_EARLY, _LATE, _QUICK_LATE = 100, 100_000, 5_000
_RUNS = 5  # of which the least counts, early and late
_NOISE = 0.02  # by which two measurements of the same thing differ here


def run(*, quick: bool) -> None:
    """Print a table of early and late steps."""
    late = _QUICK_LATE if quick else _LATE
    rows = [row for rule in ("LSTM", "WindowAttention") for row in _rows(rule, late)]
    print_table(
        f"steady: CPU time in us of step {late:,} over step {_EARLY} ({_BAR}, +- {_NOISE:g})",
        ("layer", "interpreter", "early", "late", "ratio", ""),
        rows,
    )


def _rows(rule: str, late: int) -> list[list[str]]:
    source = KerasSource(RULES[rule]())
    samples = made_samples(source.inputs, None, 50)
    request = Request(name="steady", licence="Apache-2.0", origin="scripts/bench-convert", steps=50)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        bundle = convert(source, samples, request, Path(place, "steady")).bundle
        for backend in interpreters(request.formats):
            model = StepModel(bundle, backend)
            runs = [bench.carried_us(model, _EARLY, late) for _ in range(_RUNS)]
            early, last = (min(times) for times in zip(*runs, strict=True))
            ratio = last / early
            times = f"{early:.1f}", f"{last:.1f}", f"{ratio:.3f}"
            rows.append([rule, model.backend, *times, _BAR.verdict(ratio - _NOISE)])
    return rows
