"""The command line of the converter: words to a source, samples and a request."""

import re
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from convert.conversion import Converted, convert
from convert.loading import import_modules, open_source, open_tracker
from convert.model import SourceModel, SourceOptions
from convert.plot import plot
from convert.quantise import INTEGER, formats
from convert.recording import Request
from convert.samples import Samples, made_samples, made_targets, read_samples
from convert.tracker import IMAGE, crop_input, sampled
from convert.verify import gate, report
from convert.words import UNSTATED, parser
from edge.cli import guarded
from edge.commands.words import labels_of
from edge.errors import BundleError, SinkError, UsageError
from edge.manifest import NAME, VERSION, ImageInput
from edge.stderr import tell
from edge.types import TensorSpec


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one model and return the exit code."""
    return guarded("edgetrack-convert", lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(words: Sequence[str]) -> int:
    try:
        args = parser().parse_args(words)
    except SystemExit as end:  # argparse printed its help, the version or a complaint
        return int(end.code or 0)
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _interrupt)
    return _explain(args) if args.explain else _convert(args)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt  # so that everything half-made is cleaned away


def _explain(args: Namespace) -> int:
    source = _open(args)
    print(f"{args.model}: {source.framework}; {' and '.join(source.roles)}")
    for role in source.roles:
        for note in source.layers:
            if note.role == role:
                print(f"  {role:8} {note.name} ({note.kind}) {note.detail}".rstrip())
    for kind, tensors in (("input", source.inputs), ("output", source.outputs)):
        for name, spec in tensors.items():
            print(f"  {kind:8} {name} {spec.dtype} {list(spec.shape)}")
    for state in source.states:
        print(f"  state    {state.input} -> {state.output} {state.dtype} {list(state.shape)}")
    return 0


def _convert(args: Namespace) -> int:
    if args.out is None:
        raise UsageError("--out: is missing; say where the bundle goes, or --explain")
    _check_out(args.out)
    progress = _Progress()
    try:
        progress(f"opening {args.model}")
        source = _open(args)
        request = _request(args, source)
        progress("reading samples")
        samples = _samples(args, source, request)
        converted = convert(source, samples, request, args.out, progress)
        picture = args.out.with_name(f"{args.out.name}-parity.png")
        undrawn = plot(converted.drifts, request.mode, picture)
    finally:
        progress.end()
    _tell_result(converted, request, samples)
    if undrawn:
        tell(f"edgetrack-convert: no picture of the error was drawn: {undrawn}")
    else:
        print(f"  error over time: {picture}")
    print(f"  `edgetrack models install {args.out}` puts it where the runtime looks")
    return 0


def _open(args: Namespace) -> SourceModel:
    _refuse_idle(args)
    options = SourceOptions(
        weights=args.weights,
        shapes=dict(args.shape),
        states=dict(args.state),
        constants=dict(args.constant),
        trusted=args.trust,
        fuse=args.fuse,
    )
    import_modules(args.imports)
    return (open_tracker if args.kind == "tracker" else open_source)(args.model, options)


_SEQUENCE_WORDS = {
    **dict.fromkeys(("labels", "colour", "mean", "scale", "fit", "place", "pad")),
    **{"decode": "auto", "scope": None, "fuse": False, "integer_states": False},
}
"""Words that say nothing of a tracker, and what they are where nobody says them."""
_TRACKER_WORDS = {"context": None, "square": None}


def _refuse_idle(args: Namespace) -> None:
    """Refuse words that say nothing of a model of this kind."""
    idle = _SEQUENCE_WORDS if args.kind == "tracker" else _TRACKER_WORDS
    for name, unsaid in idle.items():
        if getattr(args, name) != unsaid:
            raise UsageError(
                f"--{name.replace('_', '-')}: says nothing of a {args.kind}; leave it out"
            )


def _request(args: Namespace, source: SourceModel) -> Request:
    name = args.name or re.sub(r"[^a-z0-9._-]", "-", args.out.name.lower())
    if not re.fullmatch(NAME, name):
        raise UsageError(f"--name {name!r}: use a-z, 0-9, '.', '_' and '-', up to 64 of them")
    if not re.fullmatch(VERSION, args.version):
        raise UsageError(
            f"--version {args.version!r}: cannot name a folder; use letters, digits, '.', '_', '+' "
            "and '-', up to 64 of them"
        )
    possible = formats(args.quantise, args.integer_states)
    wanted = args.to or tuple(fmt for fmt in possible if fmt in source.formats)
    if not wanted:
        raise UsageError(
            f"--quantise {args.quantise}: makes {', '.join(possible)} only, {source.framework} "
            f"models become {', '.join(source.formats)}; choose other numbers"
        )
    if unfit := [fmt for fmt in wanted if fmt not in source.formats]:
        raise UsageError(
            f"--to {unfit[0]}: {source.framework} models become {', '.join(source.formats)} only; "
            "leave it out"
        )
    return Request(
        name=name,
        version=args.version,
        licence=args.licence or UNSTATED,
        origin=args.origin or Path(args.model).name,
        labels=labels_of(args.labels) if args.labels else (),
        image=_image(source, args),
        scope=args.scope or ("per_track" if source.kind == "tracker" else "per_stream"),
        decode=args.decode,
        formats=wanted,
        mode=args.quantise,
        integer_states=args.integer_states,
        steps=args.steps,
        reset_after_gap_s=args.reset_after_gap,
        accept=frozenset(args.accept),
    )


def _image(source: SourceModel, args: Namespace) -> ImageInput | None:
    """Say how frames become the model's input, where that has the shape of a picture."""
    if source.kind == "tracker":
        return crop_input(source.inputs[IMAGE], args.context or 2.0, args.square or 0.0)
    if len(source.inputs) != 1:
        return None
    (spec,) = source.inputs.values()
    shape = spec.shape
    if len(shape) != 4 or spec.dtype not in _PIXEL_TYPES:
        return None
    last = shape[3] in _CHANNELS
    channels = shape[3] if last else shape[1]
    if channels not in _CHANNELS:
        return None
    mean, scale = _usual_pixels(spec)
    return ImageInput(
        name=spec.name,
        size=(shape[1], shape[2]) if last else (shape[2], shape[3]),
        layout="NHWC" if last else "NCHW",
        dtype=_PIXEL_TYPES[spec.dtype],
        colour="GREY" if channels == 1 else args.colour or "RGB",
        mean=args.mean or (mean,) * 3,
        scale=args.scale or (scale,) * 3,
        fit=args.fit or "stretch",
        place=args.place or "centre",
        pad=args.pad or 0,
    )


def _usual_pixels(spec: TensorSpec) -> tuple[float, float]:
    """Return mean and scale: 0..1 for float32, and for integers pixels stored as they are."""
    if spec.dtype == "float32":
        return 0.0, 1 / 255
    shift = 128.0 if spec.dtype == "int8" else 0.0
    return (shift + spec.zero_point, spec.scale) if spec.scale else (shift, 1.0)


_CHANNELS = (1, 3)  # of a grey picture and a coloured one
_PIXEL_TYPES: Mapping[str, Any] = {t: t for t in ("float32", "uint8", "int8")}


def _samples(args: Namespace, source: SourceModel, request: Request) -> Samples:
    tracker = source.kind == "tracker"
    inputs = sampled(source.inputs) if tracker else source.inputs
    if args.samples is None and tracker and request.image:
        return made_targets(inputs, request.image, request.steps)
    if args.samples is None:
        return made_samples(inputs, request.image, request.steps)
    most = max(request.steps, _CALIBRATION if request.mode in INTEGER else 0)
    return read_samples(args.samples, inputs, request.image, most)


_CALIBRATION = 1000
"""Frames that are read of a video to measure integer ranges."""


def _check_out(folder: Path) -> None:
    if folder.exists():
        raise BundleError(f"{folder}: already exists; remove it or choose another folder")
    if not folder.absolute().parent.is_dir():
        raise SinkError(f"{folder}: {folder.absolute().parent} is no folder; create it")


def _tell_result(converted: Converted, request: Request, samples: Samples) -> None:
    if request.licence == UNSTATED:
        tell("edgetrack-convert: the manifest names no licence; give --licence, such as MIT")
    for text in converted.accepted:
        tell(f"edgetrack-convert: accepted: {text}")
    kind, allowed = gate(request.mode)
    worst: dict[str, float] = {}
    for drift in converted.drifts:
        worst[drift.backend] = max(worst.get(drift.backend, 0.0), drift.max)
    steps = converted.drifts[0].steps[-1] + 1
    print(f"{converted.bundle.folder}: written; {steps} steps on {samples.description}")
    for backend, error in worst.items():
        print(f"  {backend}: off by {error:.2g} at most ({kind} up to {allowed:g} std allowed)")
    if request.mode != "none":
        print("\n".join(report(converted.drifts, request.mode)))
    if request.mode == "int16x8":
        tell(
            "edgetrack-convert: int16x8 runs on slow reference kernels; see `edgetrack bench step`"
        )


class _Progress:
    """What is being done, on a terminal only, each with the time that the one before took."""

    def __init__(self) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._began = time.monotonic()
        self._doing = ""

    def __call__(self, doing: str) -> None:
        """Say what comes next."""
        self._done()
        self._began, self._doing = time.monotonic(), doing
        if self._terminal:
            tell(f"{doing} ...", end="")

    def end(self) -> None:
        """Finish the last line."""
        self._done()
        self._doing = ""

    def _done(self) -> None:
        if self._terminal and self._doing:
            tell(f"\r\x1b[K{self._doing}: {time.monotonic() - self._began:.1f} s")
