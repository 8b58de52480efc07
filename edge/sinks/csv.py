"""CSV: one row a track, for spreadsheets and data frames."""

import csv
import io

from edge.sinks.output import Output
from edge.types import Frame, Record

COLUMNS = (
    *("frame", "time", "captured_at", "id", "label"),
    *("left", "top", "right", "bottom", "score", "presence", "status"),
)


class Csv:
    """Writes a header line in every file, then a row for every track of whatever status.

    Frames count from 0 as in the record; a frame without tracks has no row, nor has an absent one.
    """

    wants_frame = False

    def __init__(self, output: Output) -> None:
        self.name = output.uri
        self._output = output
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._head = self._taken()
        self._output.append(b"", self._head)

    def write(self, record: Record, frame: Frame | None = None) -> None:  # noqa: ARG002
        """Append the rows of one frame.

        Raises:
            SinkError: They cannot be written; none of them is in the file.
            OutputClosed: The reader of the pipe went away.
        """
        moment = (record.frame, record.time, record.captured_at)
        for track in record.tracks if record.condition != "absent" else ():
            about = (track.score, track.presence, track.status)
            self._writer.writerow((*moment, track.id, track.label, *track.box, *about))
        self._output.append(self._taken(), self._head)

    def _taken(self) -> bytes:
        """Return the rows so far, and forget them."""
        rows = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return rows

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._output.close()
