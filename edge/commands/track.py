"""Track every frame of a file or folder; the same input gives the same output to the byte."""

import sys
from argparse import Namespace
from pathlib import Path

from edge.commands import Commands
from edge.commands.run import StopRequest, add_models, choose
from edge.config import Settings, load_settings
from edge.errors import UsageError
from edge.pipeline import Run, every_frame
from edge.sinks import TrackSink, open_sink
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
    parser.add_argument("--init", metavar="L,T,W,H", help="follow one target (reserved)")
    parser.add_argument("--format", choices=tuple(_FORMATS), default="jsonl")
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
    tracker = Tracker.from_settings(settings)
    source = open_source(args.source, settings.capture)
    if source.live:
        source.close()
        raise UsageError(f"{args.source}: is live; use `edgetrack run --source {args.source}`")
    run = Run(settings.camera, f"{args.source} {settings}")
    summary = Summary(source.truth if isinstance(source, SyntheticPortrait) else None)
    progress = Progress(shown=args.out != "-" or not sys.stdout.isatty())
    stopped = StopRequest()
    sinks: list[TrackSink] = []
    try:
        sinks.append(open_sink(f"{_FORMATS[args.format]}:{args.out}"))
        if args.video:
            sinks.append(open_sink(f"video:{args.video}"))
        for record, frame in every_frame(source, tracker, run):
            for sink in sinks:
                sink.write(record, frame)
            summary.add(record)
            progress.show(record)
            if stopped():
                break
    finally:
        source.close()
        for sink in sinks:
            sink.close()
        progress.end()
        summary.show(run.counts)
    return 0
