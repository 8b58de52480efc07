"""Where records go: one file per format, all behind `TrackSink`.

| URI | what is written |
|---|---|
| `-` | JSON Lines on standard output |
| `file:PATH` | JSON Lines |
| `mot:PATH` | MOT text, confirmed tracks only |
| `csv:PATH` | a header line, then one row a track |
| `video:PATH` | the frames with the tracks drawn on them (.mp4, .mov) |

A PATH of `-` is standard output, and a PATH under `~` is expanded. Every record is handed to the
kernel before `write` returns, so a process that is killed loses nothing that it wrote.
"""

from pathlib import Path
from typing import Literal, Protocol

from edge.errors import UsageError
from edge.sinks.csv import Csv
from edge.sinks.jsonl import JsonLines
from edge.sinks.mot import Mot
from edge.sinks.output import Output, expanded
from edge.sinks.video import Video
from edge.types import Frame, Record

_Kind = Literal["file", "mot", "csv", "video"]


class TrackSink(Protocol):
    """Takes one record a frame; what it took is on its way to disk before `write` returns."""

    name: str
    """The URI it was opened with."""
    wants_frame: bool
    """Whether `write` looks at pixels; where it does not, the frame may be None."""

    def write(self, record: Record, frame: Frame | None = None) -> None:
        """Append one record.

        Raises:
            SinkError: It cannot be written now; what was written before is whole, and a later
                record may be tried.
            OutputClosed: The reader went away; no later record can be written.
        """

    def close(self) -> None:
        """Complete the output; may be called twice."""


def open_sink(uri: str, *, keep: bool = False) -> TrackSink:
    """Open the sink that `uri` names; what its file held is replaced unless `keep`.

    Args:
        uri: As in the table above.
        keep: For live runs, which a restart must not erase: lines are appended to those the file
            holds, and a video goes to the next free name (`clip.mp4`, `clip-2.mp4`, ...).

    Raises:
        UsageError: `uri` names no kind of sink.
        SinkError: The file cannot be opened.
    """
    kind, path = _kind_and_path(uri)
    match kind:
        case "file":
            return JsonLines(Output(uri, path, keep=keep))
        case "mot":
            return Mot(Output(uri, path, keep=keep))
        case "csv":
            return Csv(Output(uri, path, keep=keep))
        case "video":
            return Video(uri, path, keep=keep)


def output_path(uri: str) -> Path | None:
    """Return the file that `uri` names, without opening it; None for standard output.

    With `keep`, a video goes to the next free name beside it.

    Raises:
        UsageError: `uri` names no kind of sink.
    """
    _, path = _kind_and_path(uri)
    return None if path == "-" else expanded(path)


def _kind_and_path(uri: str) -> tuple[_Kind, str]:
    kind, _, path = uri.partition(":")
    match kind:
        case "-" if uri == "-":
            return "file", "-"
        case "file" | "mot" | "csv" | "video" if path:
            return kind, path
        case _:
            raise UsageError(
                f"sink {uri!r}: no such kind of output; "
                "use - or file:PATH, mot:PATH, csv:PATH, video:PATH"
            )
