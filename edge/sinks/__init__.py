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

from typing import Protocol

from edge.errors import UsageError
from edge.sinks.csv import Csv
from edge.sinks.jsonl import JsonLines
from edge.sinks.mot import Mot
from edge.sinks.output import Output
from edge.sinks.video import Video
from edge.types import Frame, Record


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
    kind, _, path = uri.partition(":")
    match kind, path:
        case ("-", "") if uri == "-":
            return JsonLines(Output(uri, "-"))
        case "file", path if path:
            return JsonLines(Output(uri, path, keep=keep))
        case "mot", path if path:
            return Mot(Output(uri, path, keep=keep))
        case "csv", path if path:
            return Csv(Output(uri, path, keep=keep))
        case "video", path if path:
            return Video(uri, path, keep=keep)
        case _:
            raise UsageError(
                f"sink {uri!r}: no such kind of output; "
                "use - or file:PATH, mot:PATH, csv:PATH, video:PATH"
            )
