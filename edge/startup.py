"""From the start of a process to its first record, beside what any program of its kind pays."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from edge.errors import UsageError
from edge.pipeline import Run
from edge.sinks import open_sink
from edge.sources.synthetic import SyntheticPortrait

_END_S = 20.0
_FRAMES = 90


class Took(NamedTuple):
    """What a program took to its first line."""

    wall_s: float
    cpu_s: float


def to_first_record(source: str, runs: int) -> dict[str, list[Took]]:
    """Start programs in turn, each so many times after once in vain; return what each took.

    The first time fills the caches of the system and of compiled Python.

    Args:
        source: A file's address; empty: a video of the synthetic camera that is written for it.
        runs: Times that count.

    Raises:
        UsageError: A program ended without a word.
    """
    took: dict[str, list[Took]] = {name: [] for name in _PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        source = source or _written(Path(folder) / "portrait.mp4")
        # Compiled code goes to the folder, whatever the environment or the rights of this user say.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPYCACHEPREFIX": folder}
        for count in range(runs + 1):
            for name, words in _PROGRAMS.items():
                one = _to_first_line([word.format(source=source) for word in words], env)
                if count:
                    took[name].append(one)
    return took


OPENCV = "python with numpy and OpenCV"
_PROGRAMS = {
    "python": ["-c", "print()"],
    OPENCV: ["-c", "import numpy, cv2; print()"],
    "edgetrack run": ["-m", "edge", "run", "--source", "{source}", "--sink", "-"],
}
"""What each prints first ends its time."""


def _to_first_line(words: list[str], env: dict[str, str]) -> Took:
    pipe = subprocess.PIPE
    before, began = _children_s(), time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], env=env, stdout=pipe, stderr=pipe)
    assert process.stdout is not None  # noqa: S101  it is a pipe
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    process.kill()  # a clean end would count as part of the start
    _, said = process.communicate(timeout=_END_S)
    if not line:
        last = (said.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise UsageError(f"bench start: the program ended without a record and said: {last}")
    return Took(seconds, _children_s() - before)


def _children_s() -> float:
    """Return the CPU time of all programs that were started and have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _written(path: Path) -> str:
    """Write a short video of the synthetic camera."""
    portrait, run = SyntheticPortrait(frames=_FRAMES), Run("bench", "bench")
    video = open_sink(f"video:{path}")
    while (frame := portrait.read()) is not None:
        video.write(run.record(frame, [], [], {}), frame)
    video.close()
    return str(path)
