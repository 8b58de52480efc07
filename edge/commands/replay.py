"""Track what was recorded, without a camera; a recording gives the same bytes each time."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import msgspec

from edge.commands import Commands
from edge.commands.outputs import refuse_overlap
from edge.commands.parts import choose, open_tracker
from edge.commands.run import add_detect_every, add_models, add_motion, stdout_is_a_terminal
from edge.commands.track import add_outputs, sinks_of, write_all
from edge.config import Settings, load_settings
from edge.pipeline import Run
from edge.recording.reader import Recording, open_recording
from edge.recording.segment import Shot
from edge.report import differences, read_about, read_settings
from edge.sources.quiet import silence_opencv
from edge.summary import Progress, Summary
from edge.types import Counts, Frame, Record

_log = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay", help="track a recording as it was captured", description=__doc__
    )
    parser.add_argument(
        "recording", type=Path, help="a folder of segments, one segment, or a report"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a TOML file; default: what was recorded",
    )
    add_models(parser)
    add_detect_every(parser)
    add_motion(parser)
    add_outputs(parser)
    parser.set_defaults(command=_replay)


def _replay(args: Namespace) -> int:
    silence_opencv()
    recording = open_recording(args.recording)
    settings, sinks = _settings(args, recording), sinks_of(args)
    refuse_overlap(sinks, [args.recording, args.config] if args.config else [args.recording])
    counts, summary = Counts(), Summary()
    progress = Progress(shown=args.out != "-" or not stdout_is_a_terminal())
    if recording.head.quality is not None:
        _log.info(
            "%s: its pictures are JPEG of quality %d, not as captured",
            *(args.recording, recording.head.quality),
        )

    def seen(record: Record) -> None:
        summary.add(record)
        progress.show(record)

    try:
        write_all(_replayed(recording, settings, counts), sinks, seen)
    finally:
        progress.end()
        if counts.seen:
            summary.show(counts)
    return 0


def _settings(args: Namespace, recording: Recording) -> Settings:
    about = read_about(recording.about, recording.name) if recording.about is not None else None
    if args.config:
        settings = load_settings(args.config)
    else:
        settings = about.settings if about else read_settings(recording.settings, recording.name)
    if about and not args.config and not args.model:
        for line in differences(about):
            _log.warning("%s", line)
    return choose(settings, args)


def _replayed(
    recording: Recording, settings: Settings, counts: Counts
) -> Iterator[tuple[Record, Frame]]:
    """Track every run with a tracker of its own, as it was when each began."""
    about = (settings.models, settings.detection, settings.tracking, settings.inference)
    for (camera, name), shots in groupby(recording.shots(), _run_of):
        tracker, run = open_tracker(settings), Run(camera, f"{name} {about}")
        run.counts = counts
        for shot in shots:
            _count(shot, counts)
            tracks = tracker.update(shot.frame)
            record = run.record(shot.frame, tracks, tracker.events, tracker.values)
            yield msgspec.structs.replace(record, state=shot.state), shot.frame


def _run_of(shot: Shot) -> tuple[str, str]:
    return shot.head.camera, shot.head.run


def _count(shot: Shot, counts: Counts) -> None:
    """Count a frame by what it was judged then: what came before it may not be recorded."""
    counts.seen += 1
    counts.processed += 1
    if (condition := shot.frame.condition) != "good":
        counts.conditions[condition] = counts.conditions.get(condition, 0) + 1
