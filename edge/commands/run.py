"""Track a camera live: the newest frame wins, older ones that wait are dropped and counted."""

import logging
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from types import FrameType

import msgspec

from edge.commands import Commands
from edge.config import Settings, load_settings
from edge.pipeline import Run, run_live
from edge.sinks import TrackSink, open_sink
from edge.sources import open_source
from edge.sources.paced import Paced
from edge.sources.synthetic import SyntheticPortrait
from edge.summary import Progress, Summary
from edge.tracker import Tracker
from edge.types import Record

_log = logging.getLogger(__name__)

SOURCES = "0, /dev/video0, rtsp://..., a video file, a folder of images, synthetic:portrait"
SINKS = "- (JSON Lines on stdout), file:PATH, mot:PATH, csv:PATH or video:PATH; repeatable"


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("run", help="track a camera live", description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, help="a TOML file")
    parser.add_argument("--source", metavar="URI", help=SOURCES)
    parser.add_argument("--sink", action="append", metavar="URI", help=SINKS)
    add_models(parser)
    parser.set_defaults(command=_run)


def add_models(parser: ArgumentParser) -> None:
    """Declare which models look, how often, and what runs them."""
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|DIR",
        help="a detector bundle, see `edgetrack models list`; repeatable",
    )
    parser.add_argument(
        "--detect-every", type=positive, metavar="N", help="detect in every N-th frame only"
    )
    parser.add_argument("--backend", choices=("auto", "litert", "tflite-runtime", "onnx"))


def positive(word: str) -> int:
    """Return a whole number of 1 or more, as argparse wants its types.

    Raises:
        ArgumentTypeError: It is none.
    """
    if not word.isdecimal() or int(word) < 1:
        raise ArgumentTypeError(f"{word!r} is no whole number of 1 or more")
    return int(word)


def choose(settings: Settings, args: Namespace) -> Settings:
    """Return the settings with the words of the command line in place of the file's."""
    replace = msgspec.structs.replace
    if args.model:
        settings = replace(settings, models=tuple(args.model))
    if args.detect_every:
        detection = replace(settings.detection, every=args.detect_every)
        settings = replace(settings, detection=detection)
    if args.backend:
        inference = replace(settings.inference, backend=args.backend)
        settings = replace(settings, inference=inference)
    return settings


class StopRequest:
    """True once SIGINT or SIGTERM came; a second SIGINT ends the process the usual way."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def __call__(self) -> bool:
        """Return whether the process was asked to stop."""
        return self._asked

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(args: Namespace) -> int:
    settings = choose(load_settings(args.config) if args.config else Settings(), args)
    uri = args.source or settings.source
    sinks = args.sink or list(settings.sinks)
    stopped = StopRequest()
    tracker = Tracker.from_settings(settings)
    source = open_source(uri, settings.capture)
    summary = Summary(source.truth if isinstance(source, SyntheticPortrait) else None)
    progress = Progress(shown="-" not in sinks or not sys.stdout.isatty())
    run = Run(settings.camera)

    def seen(record: Record) -> None:
        summary.add(record)
        progress.show(record)

    live = source if source.live else Paced(source)
    _log.info("%s: %s", settings.camera, live.description)
    try:
        run_live(live, tracker, _open_sinks(sinks), run, stopped, seen)
    finally:
        live.close()
        progress.end()
        summary.show(run.counts)
    return 0


def _open_sinks(uris: list[str]) -> list[TrackSink]:
    """Open every sink, or none: what was opened is closed when a later one fails."""
    sinks: list[TrackSink] = []
    try:
        for uri in uris:
            sinks.append(open_sink(uri, keep=True))
    except Exception:
        for sink in sinks:
            sink.close()
        raise
    return sinks
