"""What a bundle says of itself and the recording that a device replays to prove its interpreter."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import msgspec
import numpy as np

from convert.errors import ConvertError
from convert.model import FREE, SourceModel
from convert.samples import Samples
from convert.tracker import DECODE, explained
from convert.verify import Drift, Rolled, roll, seen_by, stored_as
from edge.backends import Session
from edge.bundle import Bundle
from edge.manifest import (
    Accepted,
    Classes,
    Decode,
    Golden,
    ImageInput,
    Manifest,
    NetworkFormat,
    Parity,
    Quantisation,
    QuantisationMode,
    Role,
    Scope,
    StateSpec,
    TensorInput,
    TensorOutput,
    Values,
)
from edge.step import StepModel
from edge.types import Array

GOLDEN = "golden.npz"
_LEAST = 3  # steps, however large they are
_BYTES = 500_000  # of recorded inputs; pictures are large
_SLACK = 4.0  # another processor rounds in another order
_FLOOR = {"none": 1e-4, "float16": 1e-3, "dynamic": 2e-2, "int8": 5e-2, "int16x8": 2e-2}
"""Quantisation to the least tolerance, in standard deviations of an output: where numbers are
rounded, another processor's last digit may tip them over."""
_STORED_FLOOR = 4.0  # of 256 values, where outputs are compared as they are stored
_PACKAGES = (
    *("tensorflow", "keras", "tf2onnx", "torch", "onnx", "onnxscript", "litert-torch"),
    *("ai-edge-quantizer", "onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy"),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user wants of a conversion."""

    name: str
    licence: str
    origin: str
    version: str = "1"
    labels: tuple[str, ...] = ()
    image: ImageInput | None = None
    """How a frame becomes the model's one input; None where it sees no picture."""
    decode: Literal["auto", "classes", "values"] = "auto"
    scope: Scope = "per_stream"
    """Of the state; `per_track` frees the batch."""
    formats: tuple[NetworkFormat, ...] = ("tflite", "onnx")
    mode: QuantisationMode = "none"
    integer_states: bool = False
    """With int8: no tensor stays float32, at the networks' edge or between steps."""
    steps: int = 200
    """Compared with the source; smaller numbers are watched for 1000 at least."""
    recorded_steps: int = 50
    """That the recording holds, at most; fewer where pictures are large."""
    reset_after_gap_s: float = 0.0
    accept: frozenset[Accepted] = frozenset()


def manifest_of(
    source: SourceModel,
    request: Request,
    roles: Mapping[Role, Sequence[NetworkFormat]],
    answer: Mapping[str, Array],
    samples: str,
) -> Manifest:
    """Return what is known of a bundle before it was stepped.

    Args:
        source: The opened model.
        request: What is wanted.
        roles: The networks, and the formats of each.
        answer: The source's outputs, (steps, 1, ...), which tell shares from logits.
        samples: What integer ranges were measured on.

    Raises:
        ConvertError: The labels do not fit.
    """
    tracker = source.kind == "tracker"
    free = request.scope == "per_track"
    states = tuple(msgspec.structs.replace(s, shape=_shape(s.shape, free)) for s in source.states)
    inputs, outputs = _inputs(source, request.image, free), _outputs(source, free)
    return Manifest(
        name=request.name,
        version=request.version,
        licence=request.licence,
        origin=request.origin,
        kind=source.kind,
        labels=request.labels,
        input=request.image,
        inputs=explained(inputs) if tracker else inputs,
        networks={role: {fmt: f"{role}.{fmt}" for fmt in fmts} for role, fmts in roles.items()},
        state=StateSpec(
            scope=request.scope, tensors=states, reset_after_gap_s=request.reset_after_gap_s
        )
        if states
        else None,
        outputs=explained(outputs) if tracker else outputs,
        decode=DECODE if tracker else _decode(request, answer),
        quantisation=Quantisation(mode=request.mode, samples=samples),
    )


def _shape(shape: tuple[int, ...], free: bool) -> tuple[int, ...]:
    """Return a tensor's shape with, where it has a row a track, the first dimension free."""
    return (FREE, *shape[1:]) if free else shape


def _inputs(source: SourceModel, image: ImageInput | None, free: bool) -> dict[str, TensorInput]:
    return {
        name: TensorInput(shape=_shape(spec.shape, free), dtype=spec.dtype)
        for name, spec in source.inputs.items()
        if image is None or name != image.name
    }


def _outputs(source: SourceModel, free: bool) -> dict[str, TensorOutput]:
    return {
        name: TensorOutput(shape=_shape(spec.shape, free), dtype=spec.dtype)
        for name, spec in source.outputs.items()
    }


def retyped(manifest: Manifest, sessions: Sequence[Session]) -> Manifest:
    """Return a manifest whose tensors have the types that the networks now have."""
    inputs = {name: spec.dtype for s in sessions for name, spec in s.inputs.items()}
    outputs = {name: spec.dtype for s in sessions for name, spec in s.outputs.items()}
    replace = msgspec.structs.replace
    image, state = manifest.input, manifest.state
    return replace(
        manifest,
        input=image and replace(image, dtype=inputs[image.name]),
        inputs={n: replace(spec, dtype=inputs[n]) for n, spec in manifest.inputs.items()},
        state=state
        and replace(state, tensors=tuple(replace(t, dtype=inputs[t.input]) for t in state.tensors)),
        outputs={n: replace(spec, dtype=outputs[n]) for n, spec in manifest.outputs.items()},
    )


def parity_of(drifts: Sequence[Drift], samples: str) -> dict[NetworkFormat, Parity]:
    """Return the worst of each format over all its interpreters and outputs."""
    return {
        fmt: Parity(
            steps=int(drifts[0].steps[-1]) + 1,
            max_error=max(drift.max for drift in drifts if drift.fmt == fmt),
            rms_error=max(drift.rms for drift in drifts if drift.fmt == fmt),
            samples=samples,
            versions=_versions(),
        )
        for fmt in sorted({drift.fmt for drift in drifts})
    }


def record(
    models: Sequence[StepModel], tried: Samples, answer: Mapping[str, Array], request: Request
) -> tuple[Golden, bytes]:
    """Return the recording of a bundle and how exactly it has to be repeated.

    The outputs are the source's own, unless the numbers were made smaller; the states are those
    of the first interpreter, for a source does not tell its own.

    Args:
        models: The bundle in every interpreter.
        tried: One sequence.
        answer: The source's outputs on it.
        request: What is wanted.
    """
    mode, steps = request.mode, _recorded_steps(tried, request.recorded_steps)
    sequence = {name: values[:steps] for name, values in tried.sequences[0].items()}
    rolled = [roll(model, sequence) for model in models]
    known = mode == "none" and all(np.isfinite(v[:steps]).all() for v in answer.values())
    outputs = {n: v[:steps] for n, v in (answer if known else rolled[0].outputs).items()}
    integers = any(spec.scale for spec in models[0].outputs.values())
    tolerance = max(
        _STORED_FLOOR if integers else 0.0,
        _FLOOR[mode] * max(float(np.nanstd(v, dtype=np.float64)) for v in answer.values()),
        *(_SLACK * _difference(one, outputs, rolled[0]) for one in rolled),
    )
    inputs = seen_by(models[0], sequence)
    image = models[0].manifest.input
    if image is not None and tried.pixels is not None and image.dtype == "float32":
        inputs[image.name] = tried.pixels[:steps]
    stored = {n: stored_as(v, models[0].outputs[n]) for n, v in outputs.items()}
    arrays = {
        f"{kind}/{name}": value
        for kind, part in (("inputs", inputs), ("outputs", stored), ("states", rolled[0].state))
        for name, value in part.items()
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stubs forget names as keys
    return Golden(file=GOLDEN, steps=steps, tolerance=tolerance), file.getvalue()


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Return the content of a bundle's networks by file name."""
    return {name: (bundle.folder / name).read_bytes() for name in bundle.manifest.files()}


def _decode(request: Request, answer: Mapping[str, Array]) -> Decode:
    name, values = next(iter(answer.items()))
    known = values[~np.isnan(values.reshape(len(values), -1)).any(axis=1)]
    rows = known.reshape(len(known), -1)
    if request.decode == "values" or (request.decode == "auto" and not request.labels):
        return Values(output=name)
    if rows.shape[1] != len(request.labels) and request.labels:
        raise ConvertError(
            f"--labels: names {len(request.labels)} classes, output {name!r} has {rows.shape[1]}; "
            "give one a class, or --decode values"
        )
    if len(set(request.labels)) < len(request.labels):
        raise ConvertError("--labels: names a class twice; give each its own")
    shares = bool(((rows >= 0) & (rows <= 1)).all())
    if rows.shape[1] > 1:
        shares = shares and bool(np.allclose(rows.sum(axis=1), 1.0, atol=1e-3))
    return Classes(output=name, score_coding="share" if shares else "logit")


def _recorded_steps(tried: Samples, most: int) -> int:
    sequence = tried.sequences[0]
    size = sum(v[0].nbytes for v in sequence.values()) if tried.pixels is None else 0
    size += 0 if tried.pixels is None else tried.pixels[0].nbytes
    steps = max(_LEAST, min(most, _BYTES // max(size, 1)))
    return int(min(steps, len(next(iter(sequence.values())))))


def _difference(one: Rolled, outputs: Mapping[str, Array], first: Rolled) -> float:
    apart = [np.abs(one.outputs[n] - value).max() for n, value in outputs.items()]
    apart += [
        np.abs(one.state[n].astype(np.float64) - value).max() for n, value in first.state.items()
    ]
    return float(max(apart))


def _versions() -> dict[str, str]:
    found = {}
    for package in (*_PACKAGES, "edgetrack"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
