"""What one step of a written network costs, against the same cell written by hand."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from convert.keras.source import KerasSource
from convert.verify import interpreters
from edge.backends import Session, open_session
from edge.manifest import NetworkFormat
from edge.types import Array
from scripts.converter import by_hand
from scripts.converter.by_hand import Cell
from scripts.converter.keras_models import one_layer
from scripts.converter.report import Bar, print_table
from scripts.converter.timing import least_us

_BAR = Bar(1.15, 1.0)
_SIZES = ((16, 50), (256, 256))
_LAYERS = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "RNN": keras.layers.SimpleRNN}
_ALONE = "operator alone"  # told, but it is no network that could stand where ours does
_WAYS: dict[NetworkFormat, dict[str, Callable[[Cell], bytes]]] = {
    "onnx": {
        "operator": by_hand.onnx_operator,
        "plain": by_hand.onnx_plain,
        _ALONE: by_hand.onnx_operator_alone,
    },
    "tflite": {"two products": by_hand.tflite_two_products, "joined": by_hand.tflite_joined},
}
_CLOSE = 1e-5  # of our step to the one by hand; else they are not the same cell
_ROUNDS = 40


def run(*, quick: bool) -> None:
    """Print a table of step times."""
    sizes = _SIZES[:1] if quick else _SIZES
    rows = [
        row
        for fmt in _WAYS
        for inputs, units in sizes
        for kind in (("LSTM",) if quick else _LAYERS)
        for row in _rows(fmt, kind, inputs, units)
    ]
    print_table(
        f"cells: CPU time of the bare invoke in us, ours over the fastest by hand ({_BAR})",
        ("interpreter", "cell", "in/units", "ours", "by hand", "ratio", ""),
        rows,
    )


def _rows(fmt: NetworkFormat, kind: str, inputs: int, units: int) -> Iterator[list[str]]:
    model = one_layer(_LAYERS[kind](units, return_sequences=True, name="y"), (inputs,))
    cell = Cell(kind, *(np.asarray(weight) for weight in model.layers[0].weights))
    contents = {name: way(cell) for name, way in _WAYS[fmt].items()}
    contents = {"ours": KerasSource(model).network("step", fmt)} | contents
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in contents}
        for name, file in files.items():
            file.write_bytes(contents[name])
        for backend in interpreters([fmt]):
            sessions = {n: open_session({fmt: file}, backend) for n, file in files.items()}
            _require_equal([_fed(session) for session in sessions.values()])
            took = least_us({n: session.invoke for n, session in sessions.items()}, _ROUNDS)
            ours = took.pop("ours")
            ratio = ours / min(us for way, us in took.items() if way != _ALONE)
            hand = ", ".join(f"{way} {us:.2f}" for way, us in took.items())
            name = next(iter(sessions.values())).backend
            size = f"{inputs}/{units}"
            yield [
                name,
                kind,
                size,
                f"{ours:.2f}",
                hand,
                f"{ratio:.2f}",
                _BAR.verdict(round(ratio, 2)),
            ]


def _fed(session: Session) -> list[Array]:
    """Run a network on the same noise whatever its tensors are called; return h and c, flat."""
    random = np.random.default_rng(0)
    order = sorted(session.inputs, key=lambda name: name.rpartition("_")[2], reverse=True)  # x h c
    noise = {n: random.normal(size=session.inputs[n].shape).astype(np.float32) for n in order}
    found = session.run(noise)
    return [found[n].ravel() for n in sorted(found, reverse=True) if n.endswith("_next")]


def _require_equal(answers: list[list[Array]]) -> None:
    for answer in answers[1:]:
        for value, wanted in zip(answer, answers[0], strict=True):
            if not np.abs(value - wanted).max() <= _CLOSE:
                raise ValueError(f"a cell by hand is off by {np.abs(value - wanted).max():.2g}")
