"""Is it the same model? The bundle, stepped by `edge` itself, against the source over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convert.errors import ConvertError
from convert.model import Sequences
from convert.tracker import IMAGE, TARGET, TEMPLATE
from edge.backends import Installed, available
from edge.bundle import Bundle
from edge.decode import real
from edge.manifest import NetworkFormat
from edge.step import StepModel
from edge.types import Array, State, TensorSpec

_GATES: dict[str, tuple[str, float]] = {
    "none": ("max", 1e-5),
    "float16": ("max", 1e-2),
    "dynamic": ("max", 5e-2),
    "int8": ("rms", 0.10),
    "int16x8": ("rms", 0.05),
}
"""Quantisation to what is measured, and how much of it is allowed, in standard deviations of the
source's output."""
_FLOOR, _FLOAT_FLOOR = 1e-2, 1e-1  # of the output's size: what hardly moves is measured against
# that, and float32 against more, or its last bits would count as drift
_EARLY, _LATE = 2, 20  # steps after which a state must matter: at once, or when it has filled
REPORTED = (100, 200, 500, 1000)
"""Steps after which a drift report says how far the model is."""


@dataclass(frozen=True)
class Drift:
    """How far one output in one interpreter is from the source over time."""

    backend: str
    fmt: NetworkFormat
    output: str
    steps: Array
    """(n,), those that the source has an answer for."""
    errors: Array
    """(n,), the largest absolute difference of any element."""
    squares: Array
    """(n,), the mean square difference."""
    std: float
    """Of the source's output, over time and elements."""

    @property
    def max(self) -> float:
        """The largest absolute difference."""
        return float(self.errors.max(initial=0.0))

    @property
    def rms(self) -> float:
        """The root of the mean square difference."""
        return float(np.sqrt(self.squares.mean()))

    def relative(self, kind: str) -> float:
        """Return `max` or `rms` in standard deviations of the source's output."""
        return (self.max if kind == "max" else self.rms) / self.std


@dataclass(frozen=True)
class Rolled:
    """A model stepped over a sequence."""

    outputs: dict[str, Array]
    """(steps, 1, ...), real values."""
    state: State
    """After the last step."""


def interpreters(formats: Sequence[NetworkFormat]) -> list[Installed]:
    """Return the installed interpreters that can run one of the formats."""
    return [b for b in available() if ("onnx" if b == "onnx" else "tflite") in formats]


def roll(model: StepModel, sequence: Sequences) -> Rolled:
    """Step a model through a sequence, from a fresh state.

    Args:
        model: In one interpreter.
        sequence: One, (steps, rows, ...); `seen_by` turns it into what the model takes.
    """
    stored = seen_by(model, sequence)
    state = model.initial_state(rows_of(stored))
    found: dict[str, list[Array]] = {name: [] for name in model.manifest.outputs}
    for step in range(len(next(iter(stored.values())))):
        outputs, state = model.step({n: values[step] for n, values in stored.items()}, state)
        for name, value in outputs.items():
            found[name].append(real(value, model.outputs[name]))
    return Rolled({name: np.stack(values) for name, values in found.items()}, state)


def seen_by(model: StepModel, sequence: Sequences) -> dict[str, Array]:
    """Return a sequence as the model's input tensors hold it.

    A tracker makes the template of every step itself, of the picture of the target.
    """
    seen = {name: values for name, values in sequence.items() if name != TARGET}
    if TARGET in sequence:
        pictures = sequence[TARGET]  # (steps, rows, h, w, 3)
        templates = [model.encode({IMAGE: picture})[TEMPLATE] for picture in pictures]
        seen[TEMPLATE] = np.stack(templates)
    return {name: stored_as(values, model.inputs[name]) for name, values in seen.items()}


def rows_of(sequence: Sequences) -> int:
    """Return how many tracks a sequence (steps, rows, ...) is for."""
    return int(next(iter(sequence.values())).shape[1])


def stored_as(values: Array, spec: TensorSpec) -> Array:
    """Return real values as a tensor holds them; what has its type already is held as it is."""
    if values.dtype == spec.dtype or not spec.scale:
        return values.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    stored = np.rint(values / spec.scale + spec.zero_point).clip(limits.min, limits.max)
    return stored.astype(spec.dtype)


def compare(
    model: StepModel, sequence: Sequences, source: Mapping[str, Array], mode: str
) -> list[Drift]:
    """Step a model through a sequence and return how far it is from its source, an entry an output.

    Args:
        model: In one interpreter.
        sequence: One.
        source: Its outputs, (steps, 1, ...); rows of NaN were not computed and are left out.
        mode: Of the quantisation.

    Raises:
        ConvertError: The source does not give an answer a step.
    """
    fmt: NetworkFormat = "onnx" if model.backend.startswith("onnx") else "tflite"
    floor = _FLOAT_FLOOR if mode == "none" else _FLOOR
    found, drifts = roll(model, sequence).outputs, []
    for name, wanted in source.items():
        if wanted.shape != found[name].shape:
            raise ConvertError(
                f"output {name}: the source gives {list(wanted.shape)} for the whole sequence, its "
                f"steps give {list(found[name].shape)}; let it give an answer at every frame"
            )
        rows = wanted.reshape(len(wanted), -1).astype(np.float64)
        known = ~np.isnan(rows).all(axis=1)
        difference = found[name].reshape(len(wanted), -1)[known] - rows[known]
        size = float(np.sqrt((rows[known] ** 2).mean()))
        std = max(float(rows[known].std()), floor * size, 1e-9)
        errors, squares = np.abs(difference).max(axis=1), (difference**2).mean(axis=1)
        drifts.append(Drift(model.backend, fmt, name, np.flatnonzero(known), errors, squares, std))
    return drifts


def check_drift(name: str, drifts: Sequence[Drift], mode: str) -> str:
    """Return what is wrong with the worst of them, empty where all are within the gate.

    Args:
        name: Of the model.
        drifts: Of all interpreters and outputs.
        mode: Of the quantisation.
    """
    kind, allowed = _GATES[mode]
    worst = max(drifts, key=lambda drift: _ordered(drift.relative(kind)))
    if worst.relative(kind) <= allowed:
        return ""
    step = worst.steps[np.argmax(~(worst.errors / worst.std <= allowed))]
    return (
        f"{name}: output {worst.output!r} in {worst.backend} drifts from its source, {kind} error "
        f"{worst.relative(kind):.2g} of the output's standard deviation, {allowed:g} is allowed; "
        f"over it first at step {step}"
    )


def gate(mode: str) -> tuple[str, float]:
    """Return what is measured for a quantisation, `max` or `rms`, and how much is allowed."""
    return _GATES[mode]


def check_state(bundle: Bundle, sequence: Sequences) -> str:
    """Return what is wrong with the state, empty where each state tensor lives and matters.

    A state must change, and giving another one in its place (its elements in another order, or a
    fresh one) must change an output or a state.
    """
    if bundle.manifest.state is None:  # a tracker may be made without one, as a baseline
        return "" if bundle.manifest.kind == "tracker" else f"{bundle.manifest.name}: has no state"
    model = StepModel(bundle)
    stored = seen_by(model, sequence)
    start = state = model.initial_state()
    alive: set[str] = set()
    matters: set[str] = set()
    for step in range(len(next(iter(stored.values())))):
        inputs = {name: values[step] for name, values in stored.items()}
        if step in (_EARLY, _LATE):
            matters |= {n for n in start if n not in matters and _matters(model, inputs, state, n)}
        _, state = model.step(inputs, state)
        alive |= {n for n in start if n not in alive and not np.array_equal(state[n], start[n])}
    name = bundle.manifest.name
    if dead := [n for n in start if n not in alive]:
        return f"{name}: state {dead[0]!r} never changes, so the model remembers nothing"
    if idle := [n for n in start if n not in matters]:
        return f"{name}: state {idle[0]!r} does not matter, outputs are the same whatever is in it"
    return ""


def _matters(model: StepModel, inputs: dict[str, Array], state: State, name: str) -> bool:
    usual = model.step(inputs, state)
    shuffled = np.random.default_rng(0).permutation(state[name].ravel()).reshape(state[name].shape)
    for other in (shuffled, model.initial_state()[name]):
        if np.array_equal(other, state[name]):
            continue
        changed = model.step(inputs, {**state, name: other})
        if any(not np.array_equal(usual[0][n], value) for n, value in changed[0].items()):
            return True
        if any(not np.array_equal(usual[1][n], v) for n, v in changed[1].items() if n != name):
            return True
    return False


def check_rows(model: StepModel, sequence: Sequences, mode: str) -> str:
    """Return what is wrong with a batch, empty where three rows at once are each as it is alone.

    Args:
        model: Its state per track, in one interpreter.
        sequence: One; the rows are its thirds.
        mode: Of the quantisation, which says how far they may be apart.
    """
    third = len(next(iter(sequence.values()))) // 3
    parts = [{n: v[i * third : (i + 1) * third] for n, v in sequence.items()} for i in range(3)]
    alone = [roll(model, part).outputs for part in parts]
    together = {n: np.concatenate([part[n] for part in parts], axis=1) for n in sequence}
    for name, found in roll(model, together).outputs.items():
        wanted = np.concatenate([outputs[name] for outputs in alone], axis=1)
        apart = float(np.abs(found - wanted).max())
        size = max(float(wanted.std(dtype=np.float64)), float(np.abs(wanted).max()) * _FLOAT_FLOOR)
        if not apart <= _GATES[mode][1] * max(size, 1e-9):
            return (
                f"{model.manifest.name}: output {name!r} in {model.backend} is another for three "
                f"rows at once than for each alone, by {apart:.2g}, so tracks disturb each other"
            )
    return ""


def report(drifts: Sequence[Drift], mode: str) -> list[str]:
    """Return the drift report: the error after so many steps, in standard deviations."""
    kind, allowed = _GATES[mode]
    lines = [f"{mode}: error over standard deviation of the output, {kind} up to {allowed:g}"]
    for drift in drifts:
        cells = [
            f"{steps}: max {drift.errors[drift.steps < steps].max() / drift.std:.2g} "
            f"rms {np.sqrt(drift.squares[drift.steps < steps].mean()) / drift.std:.2g}"
            for steps in REPORTED
            if steps <= drift.steps[-1] + 1
        ]
        lines.append(f"  {drift.backend}  {drift.output}  " + "  ".join(cells))
    return lines


def require_finite(source: Mapping[str, Array]) -> None:
    """Refuse a source whose own answer is not finite.

    Raises:
        ConvertError: It names the output.
    """
    for name, values in source.items():
        rows = values.reshape(len(values), -1)
        computed = rows[~np.isnan(rows).all(axis=1)]
        if not len(computed) or not np.isfinite(computed).all():
            raise ConvertError(
                f"output {name}: the source model itself gives NaN or infinity on these samples; "
                "check its weights and the samples' range"
            )


def _ordered(value: float) -> float:
    return np.inf if np.isnan(value) else value
