"""Where records go: one file per format, all behind `TrackSink`.

| URI | what is written |
|---|---|
| `-` | JSON Lines on standard output |
| `file:PATH` | JSON Lines |
| `mot:PATH` | MOT text, confirmed tracks only |
| `csv:PATH` | a header line, then one row a track |
| `video:PATH` | the frames with the tracks drawn on them (.mp4, .mov) |
| `record:FOLDER` | the frames themselves, for `edgetrack replay`; `?quality=Q`: as JPEG |
| `http://HOST:PORT` | nothing: a page with a preview, health and metrics for who asks |
| `mqtt://HOST/TOPIC`, `mqtts://` | JSON, a message a record, to an MQTT broker |

A PATH of `-` is standard output, and a PATH under `~` is expanded. What goes to a file is handed to
the kernel before `write` returns, so a process that is killed loses nothing that it wrote.
"""

from pathlib import Path
from typing import Literal, Protocol

from edge.config import FileSettings
from edge.errors import UsageError
from edge.shown import without_secrets
from edge.sinks.address import broker_of, page_of
from edge.sinks.csv import Csv
from edge.sinks.jsonl import JsonLines
from edge.sinks.mot import Mot
from edge.sinks.output import Output, expanded
from edge.sinks.record import Recorder, folder_and_quality
from edge.sinks.video import Video
from edge.types import Frame, Record
from edge.vitals import Vitals

_Kind = Literal["file", "mot", "csv", "video", "record", "http", "mqtt"]
_LINES: dict[str, type[JsonLines | Mot | Csv]] = {"file": JsonLines, "mot": Mot, "csv": Csv}


class TrackSink(Protocol):
    """Takes one record a frame; what it took is on its way to disk before `write` returns."""

    name: str
    """The URI it was opened with, without a password."""
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
        """Complete the output; may be called twice.

        Raises:
            DeliveryError: Records that `write` took are lost; the error says how many.
        """


def open_sink(
    uri: str, *, keep: bool = False, files: FileSettings | None = None, vitals: Vitals | None = None
) -> TrackSink:
    """Open the sink that `uri` names; what its file held is replaced unless `keep`.

    Args:
        uri: As in the table above.
        keep: For live runs, which a restart must not erase: lines are appended to those the file
            holds, and a video goes to the next free name (`clip.mp4`, `clip-2.mp4`, ...).
        files: How much they may grow; None: without end.
        vitals: What a page tells of the run, and a recording keeps; of live runs only.

    Raises:
        UsageError: `uri` names no kind of sink, or one for live runs and this is none.
        SinkError: The file cannot be opened, the port is taken, or a package is not installed.
    """
    kind, path = _kind_and_path(uri)
    match kind:
        case "file" | "mot" | "csv":
            return _LINES[kind](Output(uri, path, keep=keep, files=files))
        case "video":
            return Video(uri, path, keep=keep, files=files)
        case "record":
            folder, quality = folder_and_quality(path)
            return Recorder(uri, folder, quality=quality, files=files, vitals=vitals)
        case "http" | "mqtt":
            return _connected(uri, vitals)


def _connected(uri: str, vitals: Vitals | None) -> TrackSink:
    """Open a sink that is no file; what that takes is only loaded where one is wanted."""
    if vitals is None:
        raise UsageError(f"{without_secrets(uri)}: is for live runs; use it with edgetrack run")
    if uri.startswith("http:"):
        from edge.sinks.http import Http

        return Http(page_of(uri), vitals)
    from edge.sinks.mqtt import Mqtt

    return Mqtt(broker_of(uri), vitals)


def output_path(uri: str) -> Path | None:
    """Return the file that `uri` names, without opening it; None where it names none.

    With `keep`, a video goes to the next free name beside it.

    Raises:
        UsageError: `uri` names no kind of sink, or is a badly written address.
    """
    kind, path = _kind_and_path(uri)
    match kind:
        case "http":
            page_of(uri)
        case "mqtt":
            broker_of(uri)
        case "record":
            return folder_and_quality(path)[0]
        case _ if path != "-":
            return expanded(path)
    return None


def same_stream(uri: str, other: str) -> bool:
    """Tell whether two outputs that are no files are one: standard output, or one address.

    Raises:
        UsageError: One of them names no kind of sink.
    """
    paths = {_kind_and_path(uri)[1], _kind_and_path(other)[1]}
    return paths == {"-"} or uri == other


def _kind_and_path(uri: str) -> tuple[_Kind, str]:
    kind, _, path = uri.partition(":")
    match kind:
        case "-" if uri == "-":
            return "file", "-"
        case "file" | "mot" | "csv" | "video" | "record" if path:
            return kind, path
        case "http" | "mqtt" | "mqtts" if path.startswith("//"):
            return "http" if kind == "http" else "mqtt", path
        case _:
            raise UsageError(
                f"sink {without_secrets(uri)!r}: no such kind of output; use - or file:PATH, "
                "mot:PATH, csv:PATH, video:PATH, record:FOLDER, http://HOST:PORT, mqtt://HOST/TOPIC"
            )
