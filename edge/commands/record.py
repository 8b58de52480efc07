"""Keep frames as they were captured, with their clocks; or make a report of what was kept."""

import time
from argparse import ArgumentTypeError, Namespace
from functools import partial
from pathlib import Path

import msgspec

from edge.camera import Camera
from edge.commands import Commands
from edge.commands.outputs import refuse_overlap
from edge.commands.run import SOURCES, StopRequest
from edge.commands.words import megabytes, minutes
from edge.config import Settings, load_settings
from edge.detector import Detector
from edge.errors import UsageError
from edge.pipeline import Live, Run, every_frame
from edge.recording import REPORT_SUFFIX, segments
from edge.recording.reader import open_recording
from edge.report import pack, read_settings
from edge.shown import harmless
from edge.sinks.detached import Detached
from edge.sinks.output import expanded
from edge.sinks.record import Recorder
from edge.sources import is_camera, open_source
from edge.stderr import tell
from edge.summary import Progress
from edge.tracker import Tracker
from edge.types import Box, Detections, Image
from edge.vitals import Vitals


class _Blindfold(Detector):
    """Stands where a model would: recording goes the way of a live run, and needs none."""

    def __init__(self) -> None:
        self.labels, self.close_up, self.score_threshold = (), None, 1.0

    def detect(self, image: Image, region: Box | None = None) -> Detections:  # noqa: ARG002
        """Find nothing."""
        return Detections.none()


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "record", help="keep frames and clocks for a replay, or pack a report", description=__doc__
    )
    parser.add_argument("source", nargs="?", help=f"{SOURCES}; default: that of --config")
    parser.add_argument(
        "--out", required=True, metavar="FOLDER|FILE", help="of segments; with --pack a .zip file"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file")
    parser.add_argument(
        "--max-mb", type=megabytes, metavar="N", help="keep the newest N MB; default: files.max_mb"
    )
    parser.add_argument(
        "--max-minutes",
        type=minutes,
        metavar="M",
        help="keep the last M minutes; default: files.max_age_h",
    )
    parser.add_argument(
        "--quality",
        type=_quality,
        metavar="Q",
        help="keep JPEG of that quality, 1 to 100; default: every picture as captured, to the bit",
    )
    parser.add_argument(
        "--pack",
        type=Path,
        metavar="FOLDER",
        help="record nothing: make a report of what was recorded there",
    )
    parser.set_defaults(command=_record)


def _record(args: Namespace) -> int:
    if args.pack is not None:
        return _pack(args)
    settings = _wanted(args)
    folder, shown = expanded(args.out), f"record:{args.out}"
    uri = settings.source
    refuse_overlap([shown], [uri, args.config] if args.config else [uri])
    live = is_camera(uri)
    run, progress = Run(settings.camera), Progress()
    vitals = Vitals(run.camera, run.id, run.counts, time.monotonic())
    vitals.settings = harmless(msgspec.to_builtins(settings))
    files = settings.files
    recorder = Recorder(shown, folder, quality=args.quality, files=files, vitals=vitals)
    try:
        if live:
            _record_live(settings, recorder, run, vitals, progress)
        else:
            _record_all(settings, recorder, run, progress)
    finally:
        recorder.close()
        progress.end()
        _tell_what_is_kept(folder, run)
    return 0


def _wanted(args: Namespace) -> Settings:
    """Return the file's settings, or else the default, with the words of the command line."""
    if args.source is None and args.config is None:
        raise UsageError("record: names no source; give one, or a --config that has one")
    settings = load_settings(args.config) if args.config else Settings()
    files, replace = settings.files, msgspec.structs.replace
    if args.max_mb is not None:
        files = replace(files, max_mb=args.max_mb)
    if args.max_minutes is not None:
        files = replace(files, max_age_h=args.max_minutes / 60.0)
    source = settings.source if args.source is None else args.source
    return replace(settings, source=source, files=files)


def _record_live(
    settings: Settings, recorder: Recorder, run: Run, vitals: Vitals, progress: Progress
) -> None:
    """Record what a camera delivers, until it is enough."""
    opened = partial(open_source, settings.source, settings.capture)
    camera = Camera(opened, settings.capture)
    live = Live(camera, Tracker([_Blindfold()]), [Detached(recorder)], run, vitals)
    live.loop(StopRequest(), seen=progress.show)


def _record_all(settings: Settings, recorder: Recorder, run: Run, progress: Progress) -> None:
    """Record every frame of a file."""
    source, stopped = open_source(settings.source, settings.capture), StopRequest()
    try:
        for record, frame in every_frame(source, Tracker([_Blindfold()]), run):
            recorder.write(record, frame)
            progress.show(record)
            if stopped():
                break
    finally:
        source.close()


def _tell_what_is_kept(folder: Path, run: Run) -> None:
    counts = run.counts
    files = segments(folder).files()
    megabytes_held = sum(path.stat().st_size for path in files) / 1e6
    lost = sum(counts.dropped.values()) + sum(counts.unwritten.values())
    tell(
        f"{counts.seen} frames seen, {lost} of them not recorded; "
        f"{folder} holds {megabytes_held:.1f} MB in {len(files)} segments"
    )


def _pack(args: Namespace) -> int:
    out = expanded(args.out)
    if args.source is not None or args.quality is not None:
        raise UsageError("record --pack: records nothing; leave SOURCE and --quality out")
    if out.suffix.lower() != REPORT_SUFFIX:
        raise UsageError(f"{args.out}: a report is a {REPORT_SUFFIX} file; name one")
    if not args.pack.is_dir():
        raise UsageError(f"{args.pack}: is no folder that was recorded into; name one")
    recording = open_recording(args.pack)
    if args.config:
        settings = load_settings(args.config)
    else:
        settings = read_settings(recording.settings, recording.name)
    max_bytes = float("inf") if args.max_mb is None else args.max_mb * 1e6
    max_age_s = float("inf") if args.max_minutes is None else args.max_minutes * 60.0
    chosen = pack(args.pack, out, settings, max_bytes, max_age_s)
    camera = recording.head.camera
    tell(
        f"{out}: {len(chosen)} segments of {camera}, {out.stat().st_size / 1e6:.1f} MB; "
        "it shows what the camera saw: look before you send it (edgetrack replay --video)"
    )
    return 0


def _quality(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 100:
        raise ArgumentTypeError(f"{word!r} is no whole number from 1 to 100")
    return int(word)
