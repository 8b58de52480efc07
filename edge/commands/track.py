"""Track every frame of a file or folder; the same input gives the same output to the byte."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from edge import bundle as bundles
from edge.commands import Commands
from edge.commands.outputs import open_all, refuse_overlap
from edge.commands.parts import choose, open_tracker
from edge.commands.run import (
    StopRequest,
    add_detect_every,
    add_models,
    add_motion,
    stdout_is_a_terminal,
)
from edge.config import Settings, load_settings
from edge.errors import BundleError, UsageError
from edge.pipeline import Run, every_frame
from edge.shown import without_secrets
from edge.sinks import TrackSink
from edge.sources import open_source
from edge.sources.synthetic import SyntheticPortrait
from edge.summary import Progress, Summary
from edge.types import Box, Frame, Record

_FORMATS = {"jsonl": "file", "mot": "mot", "csv": "csv"}
_FOLLOWER = "track"
"""The tracker bundle that `--init` takes where no model is named."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "track", help="track every frame of a file or folder", description=__doc__
    )
    parser.add_argument(
        "source", help="a video file, a folder of images, a recording or synthetic:portrait"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file")
    add_models(parser)
    add_detect_every(parser)
    add_motion(parser)
    parser.add_argument(
        "--init",
        type=_box,
        metavar="L,T,W,H",
        help="follow what stands at this box (left, top, width, height; pixels) in the first "
        f"frame; the model is then {_FOLLOWER} unless --model or --config names another",
    )
    add_outputs(parser)
    parser.set_defaults(command=_track)


def add_outputs(parser: ArgumentParser) -> None:
    """Declare where the records of a run that is not live go."""
    parser.add_argument("--format", choices=tuple(_FORMATS), default="jsonl", help="default: jsonl")
    parser.add_argument("--out", default="-", metavar="FILE", help="default: stdout")
    parser.add_argument("--video", metavar="FILE", help="also write the video with tracks drawn")


def sinks_of(args: Namespace) -> list[str]:
    """Return the addresses of the sinks that were asked for."""
    # The video first: an ending that cannot be written is found before --out is emptied.
    sinks = [] if args.video is None else [f"video:{args.video}"]
    return [*sinks, f"{_FORMATS[args.format]}:{args.out}"]


def write_all(
    records: Iterable[tuple[Record, Frame]], sinks: Sequence[str], seen: Callable[[Record], None]
) -> None:
    """Write records until they end or the process is asked to stop.

    Args:
        records: And the frames that they are of.
        sinks: Opened by the first frame, so that a source that fails leaves older outputs as
            they are.
        seen: Called with every record.
    """
    stopped = StopRequest()
    outputs: list[TrackSink] = []
    try:
        for record, frame in records:
            outputs = outputs or open_all(sinks, keep=False)
            for sink in outputs:
                sink.write(record, frame)
            seen(record)
            if stopped():
                break
    finally:
        for sink in outputs:
            sink.close()


def _track(args: Namespace) -> int:
    settings, sinks = _settings(args), sinks_of(args)
    refuse_overlap(sinks, [args.source, args.config] if args.config else [args.source])
    source = open_source(args.source, settings.capture)
    run = Run(settings.camera, f"{args.source} {settings}{args.init or ''}")
    summary = Summary(source.truth if isinstance(source, SyntheticPortrait) else None)
    progress = Progress(shown=args.out != "-" or not stdout_is_a_terminal())

    def seen(record: Record) -> None:
        summary.add(record)
        progress.show(record)

    try:
        if source.live:
            shown = without_secrets(args.source)
            raise UsageError(f"{shown}: is live; use `edgetrack run --source {shown}`")
        write_all(every_frame(source, open_tracker(settings, args.init), run), sinks, seen)
    finally:
        source.close()
        progress.end()
        if run.counts.seen:
            summary.show(run.counts)
    return 0


def _box(word: str) -> Box:
    """Return left, top, right, bottom of `L,T,W,H`, as argparse wants its types."""
    try:
        left, top, width, height = (float(part) for part in word.split(","))
    except ValueError:
        raise ArgumentTypeError(
            f"{word!r} is no box; give left,top,width,height in pixels"
        ) from None
    return left, top, left + width, top + height


def _settings(args: Namespace) -> Settings:
    settings = choose(load_settings(args.config) if args.config else Settings(), args)
    if not args.init or args.model or args.config:
        return settings
    if _FOLLOWER not in bundles.installed():
        raise BundleError(
            f"--init: needs a tracker bundle, and no {_FOLLOWER!r} is installed; install one with "
            "`edgetrack models install`, or name its folder with --model"
        )
    return msgspec.structs.replace(settings, models=(_FOLLOWER,))
