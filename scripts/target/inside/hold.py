"""Opens a camera as edgetrack does, says in a line how its pictures were stamped, and keeps it.

Run by the installed edgetrack's Python: hold.py DEVICE.
"""

import json
import sys
import time
from itertools import pairwise

from edge.config import SourceSettings
from edge.sources import open_source

PICTURES = 50


def main() -> None:
    """Read some pictures, tell, and read on until killed."""
    source = open_source(sys.argv[1], SourceSettings(width=320, height=240, fps=25.0))
    frames, ages = [], []
    for _ in range(PICTURES):
        frame = source.read()
        if frame is not None:
            frames.append((frame.clock, frame.captured_at))
            ages.append(time.monotonic() - frame.captured_at)
    clocks, times = sorted({clock for clock, _ in frames}), [at for _, at in frames]
    report = {
        "clocks": clocks,
        "grow": all(a < b for a, b in pairwise(times)),
        "fps": round((len(times) - 1) / (times[-1] - times[0]), 1),
        "age_ms": [round(1000 * min(ages)), round(1000 * max(ages))],
    }
    print(json.dumps(report), flush=True)
    while source.read() is not None:
        pass


if __name__ == "__main__":
    main()
