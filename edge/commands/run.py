"""Track a camera live: the newest frame wins, older ones that wait are dropped and counted."""

import logging
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from types import FrameType

import msgspec

from edge.commands import Commands
from edge.commands.outputs import open_all, refuse_overlap
from edge.config import Settings, TrackingSettings, load_settings
from edge.errors import UsageError
from edge.pipeline import Run, run_live
from edge.sources import open_source
from edge.sources.paced import Paced
from edge.sources.synthetic import SyntheticPortrait
from edge.summary import Progress, Summary
from edge.tracker import Tracker
from edge.types import Box, Record

_log = logging.getLogger(__name__)

SOURCES = "0, /dev/video0, rtsp://..., a video file, a folder of images, synthetic:portrait"
SINKS = "- (JSON Lines on stdout), file:PATH, mot:PATH, csv:PATH or video:PATH; repeatable"


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("run", help="track a camera live", description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, help="a TOML file; docs/configuration.md")
    parser.add_argument("--source", metavar="URI", help=f"{SOURCES}; default: 0")
    parser.add_argument("--sink", action="append", metavar="URI", help=f"{SINKS}; default: -")
    add_models(parser)
    add_detect_every(parser)
    add_motion(parser)
    parser.set_defaults(command=_run)


def add_models(parser: ArgumentParser) -> None:
    """Declare which models look, and what runs them."""
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|DIR",
        help="a detector, tracker or sequence bundle, see `edgetrack models list`; repeatable; "
        "default: face",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "litert", "tflite-runtime", "onnx"),
        help="the interpreter; default: auto, the first that is installed",
    )


def add_detect_every(parser: ArgumentParser) -> None:
    """Declare how often the models look."""
    parser.add_argument(
        "--detect-every",
        type=positive,
        metavar="N",
        help="detect in every N-th frame only, other models see all; "
        "default: 1, with a tracker bundle 10",
    )


def add_motion(parser: ArgumentParser) -> None:
    """Declare what carries tracks from detection to detection."""
    default = TrackingSettings().motion
    parser.add_argument(
        "--motion",
        choices=("lstm", "kalman"),
        help=f"what carries tracks from detection to detection; default: {default}",
    )


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
    if args.motion:
        settings = replace(settings, tracking=replace(settings.tracking, motion=args.motion))
    if args.backend:
        inference = replace(settings.inference, backend=args.backend)
        settings = replace(settings, inference=inference)
    return settings


def open_tracker(settings: Settings, target: Box | None = None) -> Tracker:
    """Load the models that the settings name, ready for the first frame.

    Args:
        settings: Of the whole run.
        target: What is to be followed from the first frame on: left, top, right, bottom in pixels.

    Raises:
        UsageError: There is a tracker bundle, and nothing that it could ever follow.
    """
    tracker = Tracker.from_settings(settings)
    if target:
        tracker.follow(target)
    if tracker.blind:
        raise UsageError(
            "models: a tracker bundle follows what others find; add a detector, such as "
            "--model face, or give `edgetrack track` a target with --init"
        )
    return tracker


class StopRequest:
    """True once SIGINT or SIGTERM came; a second one ends the process as if nobody listened."""

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
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def stdout_is_a_terminal() -> bool:
    """Say whether records printed on stdout would mix with progress on the same screen."""
    return sys.stdout is not None and sys.stdout.isatty()


def _run(args: Namespace) -> int:
    settings = choose(load_settings(args.config) if args.config else Settings(), args)
    uri = settings.source if args.source is None else args.source
    sinks = args.sink or list(settings.sinks)
    refuse_overlap(sinks, [uri, args.config] if args.config else [uri])
    source = open_source(uri, settings.capture)
    live = source if source.live else Paced(source)
    summary = Summary(source.truth if isinstance(source, SyntheticPortrait) else None)
    progress = Progress(shown="-" not in sinks or not stdout_is_a_terminal())
    run = Run(settings.camera)

    def seen(record: Record) -> None:
        summary.add(record)
        progress.show(record)

    try:
        tracker = open_tracker(settings)
        outputs = open_all(sinks, keep=True)
        _log.info("%s: %s", settings.camera, live.description)
        run_live(live, tracker, outputs, run, StopRequest(), seen)
    finally:
        live.close()
        progress.end()
        if run.counts.seen:
            summary.show(run.counts)
    return 0
