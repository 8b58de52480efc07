"""JSON Lines: the whole record, one object a line (schema 1)."""

from typing import Any

import msgspec
import numpy as np

from edge.sinks.output import Output
from edge.types import Frame, Record


class JsonLines:
    """Writes each record as one line; encoder and line buffer are reused from frame to frame."""

    wants_frame = False

    def __init__(self, output: Output) -> None:
        self.name = output.uri
        self._output = output
        self._encoder = encoder()
        self._line = bytearray()

    def write(self, record: Record, frame: Frame | None = None) -> None:  # noqa: ARG002
        """Append one line.

        Raises:
            SinkError: It cannot be written; no part of the line is in the file.
            OutputClosed: The reader of the pipe went away.
        """
        self._encoder.encode_into(record, self._line)
        self._line += b"\n"
        self._output.append(self._line)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._output.close()


def encoder() -> msgspec.json.Encoder:
    """Return what makes a record JSON."""
    return msgspec.json.Encoder(enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Turn what a sequence model may put into `values` into what JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__}: has no place in a record")
