"""Track every frame of a file or folder; the same input gives the same output to the byte."""

from argparse import Namespace
from pathlib import Path

from edge.commands import Commands
from edge.commands.outputs import open_all, refuse_overlap
from edge.commands.run import (
    StopRequest,
    add_detect_every,
    add_models,
    choose,
    stdout_is_a_terminal,
)
from edge.config import Settings, load_settings
from edge.errors import UsageError
from edge.pipeline import Run, every_frame
from edge.sinks import TrackSink
from edge.sources import open_source
from edge.sources.synthetic import SyntheticPortrait
from edge.summary import Progress, Summary
from edge.tracker import Tracker

_FORMATS = {"jsonl": "file", "mot": "mot", "csv": "csv"}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "track", help="track every frame of a file or folder", description=__doc__
    )
    parser.add_argument("source", help="a video file, a folder of images or synthetic:portrait")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file")
    add_models(parser)
    add_detect_every(parser)
    parser.add_argument("--init", metavar="L,T,W,H", help="needs a tracker bundle; not yet")
    parser.add_argument("--format", choices=tuple(_FORMATS), default="jsonl", help="default: jsonl")
    parser.add_argument("--out", default="-", metavar="FILE", help="default: stdout")
    parser.add_argument("--video", metavar="FILE", help="also write the video with tracks drawn")
    parser.set_defaults(command=_track)


def _track(args: Namespace) -> int:
    if args.init:
        raise UsageError(
            "--init: following a target that no detector finds needs a tracker bundle, and this "
            "version cannot run one; use --model with a detector"
        )
    settings = choose(load_settings(args.config) if args.config else Settings(), args)
    # The video first: an ending that cannot be written is found before --out is emptied.
    sinks = [] if args.video is None else [f"video:{args.video}"]
    sinks.append(f"{_FORMATS[args.format]}:{args.out}")
    refuse_overlap(sinks, [args.source, args.config] if args.config else [args.source])
    source = open_source(args.source, settings.capture)
    run = Run(settings.camera, f"{args.source} {settings}")
    summary = Summary(source.truth if isinstance(source, SyntheticPortrait) else None)
    progress = Progress(shown=args.out != "-" or not stdout_is_a_terminal())
    outputs: list[TrackSink] = []
    try:
        if source.live:
            raise UsageError(f"{args.source}: is live; use `edgetrack run --source {args.source}`")
        tracker, stopped = Tracker.from_settings(settings), StopRequest()
        for record, frame in every_frame(source, tracker, run):
            # By the first frame, so that a source that fails leaves older outputs as they are.
            outputs = outputs or open_all(sinks, keep=False)
            for sink in outputs:
                sink.write(record, frame)
            summary.add(record)
            progress.show(record)
            if stopped():
                break
    finally:
        source.close()
        for sink in outputs:
            sink.close()
        progress.end()
        if run.counts.seen:
            summary.show(run.counts)
    return 0
