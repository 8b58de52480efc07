"""Keep frames as they were captured, with their clocks; or make a report of what was kept."""

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
from edge.report import pack
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
    settings = load_settings(args.config) if args.config else Settings()
    if args.pack is not None:
        return _pack(args, settings)
    if args.source is None and args.config is None:
        raise UsageError("record: names no source; give one, or a --config that has one")
    uri = settings.source if args.source is None else args.source
    folder, shown = expanded(args.out), f"record:{args.out}"
    refuse_overlap([shown], [uri, args.config] if args.config else [uri])
    once = not is_camera(uri)
    files = settings.files
    if args.max_mb is not None:
        files = msgspec.structs.replace(files, max_mb=args.max_mb)
    if args.max_minutes is not None:
        files = msgspec.structs.replace(files, max_age_h=args.max_minutes / 60.0)
    recorder = Recorder(shown, folder, quality=args.quality, files=files)
    run, progress = Run(settings.camera), Progress()
    try:
        if once:
            _record_all(uri, settings, recorder, run, progress)
        else:
            _record_live(uri, settings, recorder, run, progress)
    finally:
        recorder.close()
        progress.end()
        _tell_what_is_kept(folder, run)
    return 0


def _record_live(
    uri: str, settings: Settings, recorder: Recorder, run: Run, progress: Progress
) -> None:
    """Record what a camera delivers, until it is enough."""
    camera = Camera(partial(open_source, uri, settings.capture), settings.capture)
    vitals = Vitals(run.camera, run.id, run.counts, camera.monotonic())
    live = Live(camera, Tracker([_Blindfold()]), [Detached(recorder)], run, vitals)
    live.loop(StopRequest(), seen=progress.show)


def _record_all(
    uri: str, settings: Settings, recorder: Recorder, run: Run, progress: Progress
) -> None:
    """Record every frame of a file."""
    source, stopped = open_source(uri, settings.capture), StopRequest()
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


def _pack(args: Namespace, settings: Settings) -> int:
    out = expanded(args.out)
    if args.source is not None or args.quality is not None:
        raise UsageError("record --pack: records nothing; leave SOURCE and --quality out")
    if out.suffix.lower() != REPORT_SUFFIX:
        raise UsageError(f"{args.out}: a report is a {REPORT_SUFFIX} file; name one")
    if not args.pack.is_dir():
        raise UsageError(f"{args.pack}: is no folder that was recorded into; name one")
    camera = open_recording(args.pack).head.camera
    max_bytes = float("inf") if args.max_mb is None else args.max_mb * 1e6
    max_age_s = float("inf") if args.max_minutes is None else args.max_minutes * 60.0
    chosen = pack(args.pack, out, settings, max_bytes, max_age_s)
    tell(
        f"{out}: {len(chosen)} segments of {camera}, {out.stat().st_size / 1e6:.1f} MB; "
        "it shows what the camera saw: look before you send it (edgetrack replay --video)"
    )
    return 0


def _quality(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 100:
        raise ArgumentTypeError(f"{word!r} is no whole number from 1 to 100")
    return int(word)
