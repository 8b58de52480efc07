"""Recordings: frames as they were captured, with their clocks, to be replayed without a camera.

A recording is a folder of segments, `segment-1.edgerec`, `segment-2.edgerec`, ...; a report is a
zip file of them that `edgetrack record --pack` made. `segment` is the format, `reader` reads it;
`edge.sinks.record` writes it and `edge.sources.recording` plays it.
"""

import os
from contextlib import suppress
from pathlib import Path

from edge.ring import Ring

SUFFIX = ".edgerec"
REPORT_SUFFIX = ".zip"


def segments(folder: Path, begin: bytes = b"") -> Ring:
    """Return the segments of a folder, by name; with `begin` only those with such first bytes."""
    return Ring(folder, "segment-", SUFFIX, begin)


def is_recording(path: Path) -> bool:
    """Tell from names alone whether what is at a path is to be read as a recording."""
    if os.path.isdir(path):
        ring = segments(path)
        with suppress(OSError):  # who opens it says so
            return any(ring.number(name) for name in os.listdir(path))
    return path.suffix.lower() in {SUFFIX, REPORT_SUFFIX}
