"""Track a camera live: the newest frame wins, older ones that wait are dropped and counted."""

import os
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from types import FrameType

from edge.camera import Camera
from edge.commands import Commands
from edge.commands.parts import Opener, wanted
from edge.config import TrackingSettings
from edge.daemon import Daemon, Service
from edge.pipeline import Live, Run
from edge.sources import FrameSource
from edge.sources.synthetic import SyntheticPortrait
from edge.summary import Progress, Summary
from edge.types import Record
from edge.vitals import Vitals

SOURCES = "0, /dev/video0, csi:0, rtsp://..., a video file, a folder of images, synthetic:portrait"
SINKS = (
    "- (JSON Lines on stdout), file:PATH, mot:PATH, csv:PATH, video:PATH, record:FOLDER, "
    "http://HOST:PORT or mqtt://HOST/TOPIC; repeatable"
)


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


class StopRequest:
    """True once SIGINT or SIGTERM came; a second one ends the process as if nobody listened."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGINT, self.ask)
        signal.signal(signal.SIGTERM, self.ask)

    def __call__(self) -> bool:
        """Return whether the process was asked to stop."""
        return self._asked

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """Take a signal."""
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class ReloadRequest:
    """True once after each SIGHUP; on a terminal that was closed, a request to stop instead."""

    def __init__(self, stop: StopRequest) -> None:
        self._asked = False
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants it to go on
            signal.signal(signal.SIGHUP, stop.ask if _has_terminal() else self._ask)

    def __call__(self) -> bool:
        """Return whether a reload was asked for since the last call."""
        asked, self._asked = self._asked, False
        return asked

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True


def _has_terminal() -> bool:
    """Say whether there is a terminal whose end is the end of the process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def stdout_is_a_terminal() -> bool:
    """Say whether records printed on stdout would mix with progress on the same screen."""
    return sys.stdout is not None and sys.stdout.isatty()


def _run(args: Namespace) -> int:
    stop, service = StopRequest(), Service.from_environment()
    reload = ReloadRequest(stop)
    settings = wanted(args)
    run = Run(settings.camera)
    vitals = Vitals(run.camera, run.id, run.counts, time.monotonic())
    summary = Summary()
    shown = "-" not in settings.sinks or not stdout_is_a_terminal()
    progress = Progress(shown=shown and not service.notifier.managed)

    def opened(source: FrameSource) -> None:
        summary.truth = source.truth if isinstance(source, SyntheticPortrait) else None

    def seen(record: Record) -> None:
        summary.add(record)
        progress.show(record)

    opener = Opener(args, vitals, opened)
    parts = opener.first(settings)
    camera = Camera(parts.open_source, settings.capture, once=parts.once)
    live = Live(camera, parts.tracker, list(parts.outputs.values()), run, vitals, parts.governor)
    daemon = Daemon(live, parts, service, opener.again, reload)
    daemon.resume()
    daemon.ready()
    try:
        live.loop(lambda: stop() and daemon.stopping(), daemon.between, seen)
    finally:
        daemon.close()
        live.tracker.close()
        progress.end()
        if run.counts.seen:
            summary.show(run.counts)
    return 0
