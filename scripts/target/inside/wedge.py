"""Makes a service hang where a file under /run/wedge says; only ever put into the test container.

`wedge.pth` beside it in site-packages imports it when Python starts.
"""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACE = Path("/run/wedge")
BEGAN = time.time()
A_DAY_S = 86_400


def hanging(method: Callable[..., Any], where: str) -> Callable[..., Any]:
    """Return a method that hangs once a file for it was made, with or without Python's lock."""

    def hangs(*args: Any, **options: Any) -> Any:
        if _made_since_the_start(where):
            time.sleep(A_DAY_S)
        if _made_since_the_start(f"{where}-with-lock"):
            ctypes.PyDLL(None).sleep(A_DAY_S)  # keeps every thread out of Python meanwhile
        return method(*args, **options)

    return hangs


def _made_since_the_start(name: str) -> bool:
    path = PLACE / name
    return path.exists() and path.stat().st_mtime > BEGAN


if PLACE.exists() and "INVOCATION_ID" in os.environ:
    from edge.backends.tflite import TfliteSession
    from edge.sources.synthetic import SyntheticPortrait

    SyntheticPortrait.read = hanging(SyntheticPortrait.read, "capture")  # type: ignore[method-assign]
    TfliteSession.run = hanging(TfliteSession.run, "inference")  # type: ignore[method-assign]
