"""A camera's model, MobileNetV2-0.35 at 96x96 and LSTM(256): its conversion, and one step of it.

The quick form has two convolutions in place of MobileNet; the bars are not for that.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from convert.verify import interpreters
from edge import bench
from edge.bundle import load
from edge.step import StepModel
from scripts.converter.keras_models import video_model
from scripts.converter.report import Bar, print_table

_CONVERSION, _STEP = Bar(90, 45), Bar(1.10, 1.03)
_RUNS = 10  # of `bench.step_us`, of which the least counts
_ROOT = Path(__file__).resolve().parents[2]


class _Conversion(NamedTuple):
    place: tempfile.TemporaryDirectory[str]  # lives as long as this does
    bundle: Path
    wall_s: float
    cpu_s: float


def run_conversion(*, quick: bool) -> None:
    """Print what a whole conversion takes, imports and verification included."""
    done = _converted(quick)
    took = {"wall": done.wall_s, "CPU": done.cpu_s}
    print_table(
        f"conversion: `python -m convert`, both formats, verification included ({_CONVERSION})",
        ("time", "s", ""),
        [[name, f"{s:.1f}", "" if quick else _CONVERSION.verdict(s)] for name, s in took.items()],
    )


def run_step(*, quick: bool) -> None:
    """Print what a step costs over the interpreter alone."""
    bundle = load(_converted(quick).bundle)
    rows = []
    for backend in interpreters(("tflite", "onnx")):
        model = StepModel(bundle, backend)
        runs = [bench.step_us(model) for _ in range(1 if quick else _RUNS)]
        step, invoke = (min(times) for times in zip(*runs, strict=True))
        ratio = step / invoke
        times = f"{step:.0f}", f"{invoke:.0f}", f"{ratio:.3f}"
        rows.append([model.backend, *times, "" if quick else _STEP.verdict(ratio)])
    print_table(
        f"step: CPU time of StepModel.step in us over the bare invoke, encoder and step ({_STEP})",
        ("interpreter", "step", "invoke", "ratio", ""),
        rows,
    )


@cache
def _converted(quick: bool) -> _Conversion:
    """Convert the model once for both parts."""
    place = tempfile.TemporaryDirectory()
    source, bundle = Path(place.name, "video.keras"), Path(place.name, "video")
    video_model(small=quick).save(source)
    words = [str(source), "--out", str(bundle), "--licence", "Apache-2.0"]
    words += ["--steps", "50"] if quick else []
    before, began = _children_cpu_s(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "convert", *words],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the conversion failed and said: {done.stderr.strip()}")
    wall_s = time.perf_counter() - began
    return _Conversion(place, bundle, wall_s, _children_cpu_s() - before)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
