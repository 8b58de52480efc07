"""`edgetrack run` as a process, and what it says: records, log, status."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rows import expect, until


@dataclass(frozen=True)
class Said:
    """A record, and when it was read, in monotonic seconds."""

    at: float
    record: dict[str, Any]

    @property
    def is_picture(self) -> bool:
        """Whether the camera delivered something for it."""
        return self.record.get("condition") != "absent"

    @property
    def confirmed(self) -> set[int]:
        """The ids of its confirmed tracks."""
        return {t["id"] for t in self.record["tracks"] if t["status"] == "confirmed"}


class Daemon:
    """One process from start to stop.

    Invariant: `said` and `log` hold all it wrote, in order.
    """

    def __init__(self, source: str, folder: Path) -> None:
        """Start it with the present interpreter's edgetrack.

        Args:
            source: As on the command line.
            folder: For its status.
        """
        self.said: list[Said] = []
        self.log: list[tuple[float, str]] = []
        self._status = folder / "status.json"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--source", source],
            cwd=folder,  # not the checkout, which would stand in for what is installed
            env=os.environ | {"RUNTIME_DIRECTORY": str(folder), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for reader, stream in (
            (self._hear, self._process.stdout),
            (self._note, self._process.stderr),
        ):
            threading.Thread(target=reader, args=(stream,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process; it must run."""
        code = self._process.poll()
        expect(code is None, f"the process has ended, exit code {code}")
        return self._process.pid

    def status(self) -> dict[str, Any]:
        """Return what it tells of itself; nothing as long as it has not."""
        return json.loads(self._status.read_text()) if self._status.exists() else {}

    def first(self, since: float, what: str, limit_s: float, **wanted: object) -> Said:
        """Wait for a record with what is wanted, read after a moment."""
        found: list[Said] = []

        def there() -> bool:
            expect(self.pid > 0, "")
            news = [said for said in self.said[:] if said.at >= since]
            found.extend(s for s in news if all(_of(s, k) == v for k, v in wanted.items()))
            return bool(found)

        until(there, limit_s, what)
        return found[0]

    def logged(self, words: str, since: float, limit_s: float) -> float:
        """Wait for a line in its log; return the seconds from a moment to that line."""
        found: list[float] = []

        def there() -> bool:
            found.extend(at for at, line in self.log[:] if at >= since and words in line)
            return bool(found)

        until(there, limit_s, f"the log says {words!r}")
        return found[0] - since

    def stop(self) -> float:
        """Ask it to stop; return the seconds that it took with exit code 0."""
        self._process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = self._process.wait(20)
        expect(code == 0, f"exit code {code}")
        return time.monotonic() - began

    def kill(self) -> None:
        """End it in any case."""
        self._process.kill()
        self._process.wait()

    def _hear(self, stream: IO[str]) -> None:
        for line in stream:
            self.said.append(Said(time.monotonic(), json.loads(line)))

    def _note(self, stream: IO[str]) -> None:
        for line in stream:
            self.log.append((time.monotonic(), line.rstrip()))


def _of(said: Said, key: str) -> object:
    """Return a field of a record, or whether it has what a word asks for."""
    answers = {"picture": said.is_picture, "tracks": bool(said.confirmed)}
    return answers.get(key, said.record.get(key))
