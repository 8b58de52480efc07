"""The machine that is examined, as tests can make one up, and what a check says."""

import fcntl
import grp
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edge.errors import EdgeError
from edge.sources.v4l2 import Ioctl

Verdict = Literal["ok", "warn", "FAIL"]
_ANSWER_S = 10.0  # what a program of the system may take
_READ_AND_WRITE = 0o060


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; FAIL: edgetrack will not work like this."""

    topic: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do; empty where nothing is."""


def told(words: Sequence[str]) -> str:
    """Return what a program of the system prints; empty where it is not there or fails."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_ANSWER_S, check=False, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@dataclass(frozen=True)
class Machine:
    """Where to read of a machine; by default this one."""

    root: Path = Path("/")
    ask: Callable[[Sequence[str]], str] = told
    """Runs a program and returns what it prints."""
    ioctl: Ioctl = fcntl.ioctl
    free_mb: Callable[[Path], float] = lambda folder: shutil.disk_usage(folder).free / 1e6
    processor: str = platform.machine()
    bits: int = 8 * struct.calcsize("P")
    """Of this process, which may be fewer than the processor's."""
    python: tuple[int, int, int] = sys.version_info[:3]
    prefix: str = sys.prefix
    """The virtual environment that runs."""

    def path(self, path: str | Path) -> Path:
        """Return where an absolute path is found."""
        return self.root / str(path).lstrip("/")

    def text(self, path: str | Path) -> str:
        """Return what a file says; empty where it cannot be read."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def closed_to_video(self, path: Path) -> str:
        """Say why a program of the group `video` cannot use a device; empty where it can."""
        video = [line.split(":") for line in self.text("/etc/group").splitlines()]
        gids = {int(words[2]) for words in video if words[0] == "video" and len(words) > 2}
        try:
            status = os.stat(path)
        except OSError as error:
            return f"{path}: {error.strerror}"
        if status.st_gid in gids and status.st_mode & _READ_AND_WRITE == _READ_AND_WRITE:
            return ""
        mode = oct(status.st_mode & 0o777)[2:]
        return f"{path}: belongs to the group {_group(status.st_gid)}, mode {mode}"


def refused(topic: str, error: EdgeError, verdict: Verdict = "FAIL") -> Check:
    """Return the check that an error is."""
    found, _, advice = str(error).rpartition("; ")
    return Check(topic, verdict, found or advice, advice if found else "")


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
