"""Associate detections that another program made: MOT detections in, MOT tracks out."""

from argparse import Namespace
from pathlib import Path

from edge.commands import Commands
from edge.commands.outputs import refuse_overlap
from edge.commands.run import add_motion
from edge.commands.words import rate
from edge.config import TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.errors import DataError
from edge.sinks.mot import mot_lines
from edge.sinks.output import Output
from edge.types import Box

_MOST_FRAMES = 10_000_000

Found = tuple[list[Box], list[float]]


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "associate", help="MOT detections in, MOT tracks out", description=__doc__
    )
    parser.add_argument("detections", type=Path, help="frame,id,left,top,width,height,score,...")
    parser.add_argument("--fps", type=rate, required=True, help="frames a second")
    add_motion(parser)
    parser.add_argument("--out", default="-", metavar="FILE", help="default: stdout")
    parser.set_defaults(command=_associate)


def _associate(args: Namespace) -> int:
    refuse_overlap([f"mot:{args.out}"], [args.detections])
    found = read_detections(args.detections)
    output = Output(f"mot:{args.out}", args.out)
    tracker = DetectionTracker(TrackingSettings(motion=args.motion) if args.motion else None)
    try:
        for number, (boxes, scores) in sorted(found.items()):
            at = (number - 1) / args.fps
            tracks = tracker.update(boxes, scores, captured_at=at)
            output.append(mot_lines(number, tracks).encode())
    finally:
        output.close()
    return 0


def read_detections(path: Path) -> dict[int, Found]:
    """Read MOT text: frame number, from 1, to its boxes (left, top, right, bottom) and scores.

    Raises:
        DataError: It cannot be read, or a line is not `frame,id,left,top,width,height,score,...`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name a MOT detection file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text; name a MOT detection file") from error
    found: dict[int, Found] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            frame, (left, top, width, height, score) = _numbers(line)
        except ValueError as error:
            raise DataError(
                f"{path}:{number}: is {line[:60]!r}; write frame,id,left,top,width,height,score "
                "with frames from 1"
            ) from error
        boxes, scores = found.setdefault(frame, ([], []))
        boxes.append((left, top, left + width, top + height))
        scores.append(score)
    return found


def _numbers(line: str) -> tuple[int, list[float]]:
    words = line.split(",")
    frame = float(words[0])
    if not (frame.is_integer() and 1 <= frame <= _MOST_FRAMES):
        raise ValueError(line)
    values = [float(word) for word in words[2:7]]
    if len(values) != 5:
        raise ValueError(line)
    return int(frame), values
