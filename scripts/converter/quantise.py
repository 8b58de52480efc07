"""Smaller numbers on a model trained here: how far its outputs are after a thousand steps."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import msgspec
import numpy as np

from convert.conversion import convert, rolled_out
from convert.keras.source import KerasSource
from convert.model import Sequences
from convert.quantise import Plan, formats, quantise
from convert.recording import Request
from convert.samples import Samples
from convert.verify import compare, interpreters
from edge.bundle import Bundle, save
from edge.manifest import QuantisationMode
from edge.step import StepModel
from edge.types import Array
from scripts.converter.report import Bar, print_table

_BARS: dict[QuantisationMode, Bar] = {
    "float16": Bar(0.02, 0.005),
    "dynamic": Bar(0.02, 0.005),
    "int8": Bar(0.10, 0.03),
    "int16x8": Bar(0.10, 0.03),
}
_QUICK: tuple[QuantisationMode, ...] = ("dynamic", "int8")
_STEPS = 1000
_LENGTH, _BATCH = 100, 32
_NOISE = 0.3  # of a measured position; true ones are about 1 in size


def run(*, quick: bool) -> None:
    """Train, convert in every way and print a table of errors."""
    model = _trained(epochs=2 if quick else 12)
    source = KerasSource(model)
    sequences = tuple({"x": _paths(seed, 1, 500)[0].swapaxes(0, 1)} for seed in (11, 12, 13))
    samples = Samples(sequences, "three other sequences", given=True)
    held_out = {"x": _paths(99, 1, _STEPS)[0].swapaxes(0, 1)}
    answer = source.forward(held_out)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for mode, bar in _BARS.items():
            if quick and mode not in _QUICK:
                continue
            bundle = convert(source, samples, _request(mode), Path(place, mode)).bundle
            for backend, error in _errors(bundle, held_out, answer):
                rows.append([mode, backend, f"{error:.2g}", str(bar), bar.verdict(error)])
        plain = convert(source, samples, _request("none"), Path(place, "none")).bundle
        control = _calibrated_on_zero_states(plain, sequences, Path(place, "zeros"))
        for backend, error in _errors(control, held_out, answer):
            rows.append(["int8, zero states", backend, f"{error:.2g}", "control", ""])
    print_table(
        f"quantise: rms error over {_STEPS} held-out steps, in standard deviations of the output",
        ("numbers", "interpreter", "error", "", ""),
        rows,
    )


def _trained(epochs: int) -> keras.Model:
    """Return an LSTM(50) that has learnt to smooth noisy paths."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((None, 4), name="x"), keras.layers.LSTM(50, return_sequences=True)]
    model = keras.Sequential([*layers, keras.layers.Dense(4, name="path")])
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 5e-3
    model.fit(*_paths(0, 16 * _BATCH, _LENGTH), _BATCH, epochs=epochs, verbose=0)
    return model


def _paths(seed: int, count: int, steps: int) -> tuple[Array, Array]:
    """Return noisy and true positions of things that swing about: (count, steps, 4) each."""
    random = np.random.default_rng(seed)
    time = np.arange(steps)[:, None, None]
    periods, phases = (
        random.uniform(20, 200, (count, 1, 4, 3)),
        random.uniform(0, 6.3, (count, 1, 4, 3)),
    )
    true = np.sin(6.3 * time / periods + phases).sum(-1) / 1.5
    noisy = true + random.normal(0, _NOISE, true.shape)
    return noisy.astype(np.float32), true.astype(np.float32)


def _request(mode: QuantisationMode) -> Request:
    return Request(
        name="smoother",
        licence="Apache-2.0",
        origin="scripts/bench-convert",
        formats=formats(mode),
        mode=mode,
        accept=frozenset({"drift"}),  # what misses is to be printed, not refused
    )


def _errors(
    bundle: Bundle, held_out: Sequences, answer: dict[str, Array]
) -> Iterator[tuple[str, float]]:
    (networks,) = bundle.manifest.networks.values()
    for backend in interpreters(list(networks)):
        model = StepModel(bundle, backend)
        for drift in compare(model, held_out, answer, bundle.manifest.quantisation.mode):
            yield model.backend, drift.relative("rms")


def _calibrated_on_zero_states(
    bundle: Bundle, sequences: tuple[Sequences, ...], folder: Path
) -> Bundle:
    """Return int8 networks whose ranges were measured as if every step were the first."""
    feeds = rolled_out(bundle, sequences)["step"]
    zeroed = [{n: v if n == "x" else np.zeros_like(v) for n, v in feed.items()} for feed in feeds]
    files = {
        path.name: quantise(path.read_bytes(), fmt, Plan("int8", "step"), zeroed)
        for fmt, path in bundle.network("step").items()
    }
    return save(msgspec.structs.replace(bundle.manifest, golden=None), files, folder)
