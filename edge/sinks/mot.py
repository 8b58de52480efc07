"""MOT text: what the MOTChallenge tools and TrackEval read."""

from collections.abc import Sequence

from edge.sinks.output import Output
from edge.types import Frame, Record, Track


class Mot:
    """Writes `frame,id,left,top,width,height,score,-1,-1,-1`, confirmed tracks only.

    Frames count from 1 and numbers have two decimals; a frame without tracks has no line, nor has
    an absent one.
    """

    wants_frame = False

    def __init__(self, output: Output) -> None:
        self.name = output.uri
        self._output = output

    def write(self, record: Record, frame: Frame | None = None) -> None:  # noqa: ARG002
        """Append the lines of one frame.

        Raises:
            SinkError: They cannot be written; none of them is in the file.
            OutputClosed: The reader of the pipe went away.
        """
        tracks = record.tracks if record.condition != "absent" else []
        self._output.append(mot_lines(record.frame + 1, tracks).encode())

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._output.close()


def mot_lines(number: int, tracks: Sequence[Track]) -> str:
    """Return the confirmed tracks of the frame of that number, from 1, as MOT text."""
    lines = []
    for track in tracks:
        if track.status == "confirmed":
            left, top, right, bottom = track.box
            numbers = (left, top, right - left, bottom - top, track.score)
            values = ",".join(f"{number:.2f}" for number in numbers)
            lines.append(f"{number},{track.id},{values},-1,-1,-1\n")
    return "".join(lines)
