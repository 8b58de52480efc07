"""What every claim uses: commands, systemd's answers, the service's records, and waiting."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Claim = Callable[[], str]
"""Its docstring says what is claimed; it returns a figure, or raises what was found instead."""

FRONT = "edgetrack@front"
SETTINGS = Path("/etc/edgetrack/front.toml")
STATE = Path("/var/lib/edgetrack/front")
RECORDS = STATE / "tracks.jsonl"
STATUS = Path("/run/edgetrack/front/status.json")
WHEEL = next(iter(Path("/check").glob("edgetrack-*.whl")))
WATCHDOG_S = 6.0
SCALED = "[Service]\nWatchdogSec=6\nRestartSec=0.2\n"
"""The times of the unit, scaled by 1/5; all else stays as installed."""

_DROP_INS = Path("/etc/systemd/system/edgetrack@.service.d")
_OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}


def call(*words: str | Path, told: bool = False) -> tuple[int, str]:
    """Run a command; return its exit code and what it said."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | _OFFLINE,
        check=False,
    )
    if told:
        print(done.stdout, file=sys.stderr, flush=True)
    return done.returncode, done.stdout.strip()


def must(*words: str | Path) -> str:
    """Run a command that must succeed; return what it said."""
    code, said = call(*words)
    expect(code == 0, f"{' '.join(map(str, words))}: exit code {code}, {said}")
    return said


def expect(true: bool, otherwise: str) -> None:
    """Go on if something is true.

    Raises:
        RuntimeError: It is not.
    """
    if not true:
        raise RuntimeError(otherwise)


def until(true: Callable[[], Any], limit_s: float, what: str) -> float:
    """Wait for something; return the seconds that it took."""
    began = time.monotonic()
    while not true():
        expect(time.monotonic() - began < limit_s, f"{what}: not within {limit_s:g} s")
        time.sleep(0.05)
    return time.monotonic() - began


def shown(key: str, unit: str = FRONT) -> str:
    """Return what systemd says of a unit."""
    return must("systemctl", "show", "--value", "-p", key, unit)


def pid() -> int:
    """Return the main process."""
    found = int(shown("MainPID"))
    expect(found > 0, f"it does not run, it is {shown('ActiveState')}")  # kill(0) would be us
    return found


def status() -> dict[str, Any]:
    """Return what the service tells of itself; nothing where it does not run."""
    return json.loads(STATUS.read_text()) if STATUS.exists() else {}


def records() -> list[dict[str, Any]]:
    """Return the records written so far, oldest first."""
    lines = RECORDS.read_text().splitlines(keepends=True) if RECORDS.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def confirmed(record: dict[str, Any]) -> set[int]:
    """Return the ids of a record's confirmed tracks."""
    return {track["id"] for track in record["tracks"] if track["status"] == "confirmed"}


def of_this_process() -> list[dict[str, Any]]:
    """Return the records of the process that runs now."""
    now = status()
    return [record for record in records() if now and record["run"] == now["run"]]


def is_tracking() -> bool:
    """Say whether the process that runs now has written a confirmed track."""
    return shown("ActiveState") == "active" and any(map(confirmed, of_this_process()[-30:]))


def journal(since: float, unit: str = FRONT) -> str:
    """Return what the journal has of a unit since a time, in seconds since the epoch."""
    must("journalctl", "--sync")
    return must("journalctl", "-q", "-o", "cat", "-u", unit, f"--since=@{since:.3f}")


def configure(**settings: str) -> None:
    """Write the camera's settings: a line each, in place of those for the face in the sample."""
    lines = {
        "camera": '"front"',
        "source": '"synthetic:portrait?frames=0"',
        "models": '["face"]',
        "sinks": '["file:tracks.jsonl"]',
    } | settings
    SETTINGS.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))


def drop_in(name: str, text: str) -> None:
    """Add lines to the unit; none: take them away again."""
    path = _DROP_INS / f"{name}.conf"
    _DROP_INS.mkdir(exist_ok=True)
    path.write_text(text) if text else path.unlink()
    must("systemctl", "daemon-reload")


def restart() -> float:
    """Start the service anew; return the seconds to the first confirmed track."""
    began = time.monotonic()
    must("systemctl", "restart", FRONT)
    until(is_tracking, 10, "a track after a restart")
    return time.monotonic() - began


def comes_back(act: Callable[[], object], limit_s: float) -> float:
    """Break the service; return after how many seconds systemd has another one READY."""
    old, restarts = pid(), int(shown("NRestarts"))
    act()
    seconds = until(
        lambda: int(shown("NRestarts")) > restarts and shown("ActiveState") == "active",
        limit_s,
        "a restart",
    )
    expect(pid() != old, "the process is the old one")
    return seconds
