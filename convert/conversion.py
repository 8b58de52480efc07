"""From an opened source to a bundle that is proven to be the same model, or to a refusal."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from convert.errors import ConvertError
from convert.interpreters import one_line
from convert.model import Sequences, SourceModel
from convert.networks import Feeds, Networks, by_file, opened, quantised, written
from convert.quantise import INTEGER, formats
from convert.quiet import quiet
from convert.recording import (
    GOLDEN,
    Request,
    files_of,
    manifest_of,
    parity_of,
    record,
    retyped,
)
from convert.samples import Samples
from convert.tracker import IMAGE, TARGET
from convert.verify import (
    Drift,
    check_drift,
    check_rows,
    check_state,
    compare,
    interpreters,
    require_finite,
    seen_by,
)
from edge.backends import Installed, open_session
from edge.bundle import Bundle, save
from edge.errors import BackendError, BundleError, UsageError
from edge.manifest import Accepted, Role
from edge.step import StepModel
from edge.types import Array

Progress = Callable[[str], None]

DRIFT_STEPS = 1000
"""Steps over which smaller numbers are watched, at least."""
_TARGETS = 10  # steps; so often a target's own crop is measured, which stays for long


@dataclass(frozen=True)
class Converted:
    """A written bundle and how far it is from its source."""

    bundle: Bundle
    drifts: Sequence[Drift]
    accepted: Sequence[str]
    """What would have been refused."""


def convert(
    source: SourceModel,
    samples: Samples,
    request: Request,
    folder: Path,
    progress: Progress = lambda _: None,
) -> Converted:
    """Write a verified bundle.

    Args:
        source: The opened model.
        samples: What it is tried on, and for integers calibrated on.
        request: What is wanted.
        folder: Where the bundle goes; must not exist yet.
        progress: Told what is being done.

    Raises:
        ConvertError: The converted model is not the same model, or its state is dead.
        BackendError: No interpreter is installed for what was asked.
        SinkError: The bundle cannot be written.
    """
    _check_request(source, request, samples)
    steps = max(request.steps, DRIFT_STEPS if request.mode != "none" else 0)
    tried = samples.stretched(steps)
    sequence = tried.sequences[0]
    progress(f"running {source.framework} over {steps} steps")
    with quiet():
        answer = source.forward(sequence)
    require_finite(answer)
    progress("writing the networks")
    networks = written(source, request)
    with tempfile.TemporaryDirectory() as place:
        manifest = manifest_of(
            source,
            request,
            {role: list(files) for role, files in networks.items()},
            answer,
            samples.description if request.mode in INTEGER else "",
        )
        draft = save(manifest, by_file(networks, request), Path(place) / "float")
        if request.mode != "none":
            progress(f"quantising to {request.mode}")
            fed = rolled_out(draft, _to_measure(samples, steps)) if request.mode in INTEGER else {}
            networks = {**networks, **quantised(_to_shrink(networks, source), request, fed)}
            if request.integer_states:
                manifest = retyped(manifest, opened(networks, request))
            draft = save(manifest, by_file(networks, request), Path(place) / "small")
        progress(f"stepping the bundle {steps} times in every interpreter")
        models = [_loaded(draft, backend) for backend in interpreters(request.formats)]
        drifts = [
            drift for model in models for drift in compare(model, sequence, answer, request.mode)
        ]
        if request.scope == "per_track":
            _check_batch(models, sequence, request)
        accepted = _accepted(draft, drifts, sequence, request)
        golden, recording = record(models, tried, answer, request)
        complete = msgspec.structs.replace(
            manifest,
            golden=golden,
            parity=parity_of(drifts, tried.description),
            accepted=tuple(sorted(accepted)),
        )
        bundle = save(complete, files_of(draft) | {GOLDEN: recording}, folder)
    return Converted(bundle, drifts, list(accepted.values()))


def rolled_out(bundle: Bundle, sequences: Sequence[Sequences]) -> Feeds:
    """Return what each network is given while the float32 model runs over all samples.

    Real states come out of real steps; integer ranges measured on zero states destroy a model.
    """
    model = StepModel(bundle)
    sessions = {role: open_session(bundle.network(role)) for role in bundle.manifest.networks}
    state_inputs = (
        {s.name: s.input for s in bundle.manifest.state.tensors} if bundle.manifest.state else {}
    )
    fed: dict[Role, list[dict[str, Array]]] = {role: [] for role in sessions}
    for sequence in sequences:
        state = model.initial_state()
        stored = seen_by(model, sequence)
        for step in range(len(next(iter(stored.values())))):
            inputs = {name: values[step] for name, values in stored.items()}
            values = inputs | {state_inputs[name]: value for name, value in state.items()}
            for role, session in sessions.items():
                fed[role].append({name: values[name] for name in session.inputs})
                values |= session.run(values)
            _, state = model.step(inputs, state)
        for picture in sequence.get(TARGET, ())[::_TARGETS]:
            fed["encoder"].append({IMAGE: picture})
    return fed


def _check_request(source: SourceModel, request: Request, samples: Samples) -> None:
    if request.scope == "per_track" and "tflite" in set(request.formats) - set(source.batched):
        raise ConvertError(
            f"--scope per_track: {request.name} is a TFLite file for one row; convert the model "
            "that it was made of"
        )
    if request.integer_states and request.mode != "int8":
        raise UsageError("--integer-states: goes with --quantise int8 only; add that")
    fitting = formats(request.mode, request.integer_states)
    if unfit := [fmt for fmt in request.formats if fmt not in fitting]:
        raise UsageError(
            f"--quantise {request.mode}: {unfit[0]} has no such numbers; use --to "
            f"{','.join(fitting)}"
        )
    if request.mode in INTEGER and not samples.given:
        raise ConvertError(
            f"--quantise {request.mode}: needs --samples, integer ranges are measured on what the "
            "model will see; give a video, a folder of pictures or .npy sequences"
        )
    for fmt in request.formats:
        if not interpreters([fmt]):
            raise BackendError(
                f"--to {fmt}: no interpreter for it is installed, so the result cannot be "
                "verified; pip install 'edgetrack[all]'"
            )


def _to_shrink(networks: Networks, source: SourceModel) -> Networks:
    """Return the networks that become smaller: of a tracker the encoder, which has no state."""
    if source.kind == "tracker":
        return {"encoder": networks["encoder"]}
    return networks


def _check_batch(models: Sequence[StepModel], sequence: Sequences, request: Request) -> None:
    for model in models:
        if wrong := check_rows(model, sequence, request.mode):
            raise ConvertError(f"{wrong}; leave that format out with --to, or correct the model")


def _to_measure(samples: Samples, steps: int) -> Sequence[Sequences]:
    """Return what integer ranges are measured on: all there is, and as long as it is tried on.

    States go on growing for a while: a clip of three frames tells nothing of the thousandth.
    """
    length = len(next(iter(samples.sequences[0].values())))
    return (*samples.stretched(max(steps, length)).sequences, *samples.sequences[1:])


def _loaded(draft: Bundle, backend: Installed) -> StepModel:
    try:
        return StepModel(draft, backend)
    except BundleError as error:
        said = one_line(error.__cause__ or error)
        raise ConvertError(
            f"{draft.manifest.name}: {backend} does not load what was written, {said}; "
            "leave that format out with --to, or replace the layer"
        ) from error


def _accepted(
    bundle: Bundle, drifts: Sequence[Drift], sequence: Sequences, request: Request
) -> dict[Accepted, str]:
    """Return what is wrong and was accepted.

    Raises:
        ConvertError: Something is wrong and was not accepted.
    """
    wrong: dict[Accepted, str] = {
        "dead-state": check_state(bundle, sequence),
        "drift": check_drift(request.name, drifts, request.mode),
    }
    found = {reason: text for reason, text in wrong.items() if text}
    for reason, text in found.items():
        if reason not in request.accept:
            raise ConvertError(
                f"{text}; train or convert it another way, or accept it with --accept {reason}"
            )
    return found
