"""The camera of the virtual machine, the kernel's driver vivid: its plug, faults and picture."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import play
from system import RECORDS, STATUS, call, expect, must, status, until

NAME = Path("/dev/v4l/by-path/platform-vivid.0-video-index0")
"""Its name that stays the same when devices are numbered anew."""
FPS = 25.0
"""Of its analogue input, as in Europe's television; it knows no other rate."""
DEADLINE_S = 5.0
"""`capture.deadline_s` of the service."""
PATIENCE_S = 30.0
"""What may take its time, on a processor that is made in software."""
PYTHON = "/opt/edgetrack/bin/python"

_DRIVER = Path("/sys/bus/platform/drivers/vivid")
_OPTIONS = "n_devs=1 node_types=0x101 num_inputs=1 input_types=2 num_outputs=1 output_types=0"


def plug_in() -> float:
    """Plug it in; return when its device was there, in monotonic seconds."""
    if _DRIVER.exists():
        (_DRIVER / "bind").write_text("vivid.0")
    else:
        must("modprobe", "vivid", "no_error_inj=0", *_OPTIONS.split())
    now = time.monotonic()
    until(lambda: NAME.exists() and node().exists(), PATIENCE_S, "a name for the camera")
    return now


def unplug() -> float:
    """Unplug it, whoever uses it; return when."""
    now = time.monotonic()
    (_DRIVER / "unbind").write_text("vivid.0")
    return now


def node() -> Path:
    """Return its device, such as /dev/video0."""
    return NAME.resolve()


def control(**values: int | str) -> float:
    """Set controls of its driver; return when that was done."""
    words = ",".join(f"{name}={value}" for name, value in values.items())
    must("v4l2-ctl", "-d", node(), "--set-ctrl", words)
    return time.monotonic()


class Player:
    """Shows two faces to the camera, also after it was plugged in anew: play.py in its process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        """Begin; with the word `still` or `black`, one picture that is so."""
        with Path("/results/player").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, play.__file__, *words], stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """Take the faces away."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # and who plays for it
            self._process.wait()
            self._process = None


PLAYER = Player()


def shown_since(moment: float) -> float:
    """Wait until faces are shown again after a moment; return since when they are."""
    until(lambda: _shown() > moment, PATIENCE_S, "a face before the camera")
    return _shown()


def _shown() -> float:
    return float((play.SHOWN.exists() and play.SHOWN.read_text()) or 0)


def state() -> str:
    """Return the state of the camera, as the service tells it."""
    return str(status().get("source", {}).get("state", "none"))


def fresh() -> dict[str, Any]:
    """Return how the service is, as it tells next: what it last told may be a second old."""
    now = time.monotonic()
    until(lambda: status().get("at", 0.0) > now, PATIENCE_S, "a new status")
    return status()


def reaches(*states: str, limit_s: float = PATIENCE_S) -> float:
    """Wait for a state; return since when it is so, in monotonic seconds."""
    until(lambda: state() in states, limit_s, f"{' or '.join(states)}, it is {state()}")
    return float(status()["source"]["since"])


def lost_after(fault: Callable[[], object]) -> float:
    """Make a fault and wait until the camera is down or was; return after how many seconds."""
    openings = fresh()["source"]["openings"]
    moment = time.monotonic()
    fault()
    until(
        lambda: state() in {"lost", "recovering"} or status()["source"]["openings"] > openings,
        PATIENCE_S,
        "a camera that is lost",
    )
    return float(status()["source"]["since"]) - moment


def mark() -> int:
    """Return where the records end now."""
    return RECORDS.stat().st_size if RECORDS.exists() else 0


def since(place: int) -> list[dict[str, Any]]:
    """Return the records after a mark."""
    return [json.loads(line) for line in _lines(place)]


def _lines(place: int) -> list[bytes]:
    with RECORDS.open("rb") as file:
        file.seek(place)
        lines = file.read().splitlines(keepends=True)
    return [line for line in lines if line.endswith(b"\n")]


def emitted(record: dict[str, Any]) -> float:
    """Return when a record was made, in monotonic seconds."""
    return float(record["captured_at"] + record["age_ms"] / 1000)


def first(place: int, true: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
    """Wait for a record after a mark of which something is true."""
    found: list[dict[str, Any]] = []

    def looks() -> bool:
        nonlocal place  # each record is read once: reading takes its time, too
        lines = _lines(place)
        place += sum(map(len, lines))
        found.extend(filter(true, map(json.loads, lines)))
        return bool(found)

    until(looks, PATIENCE_S, what)
    return found[0]


def after(place: int, count: int) -> list[dict[str, Any]]:
    """Wait for so many records after a mark; return them."""
    until(lambda: len(_lines(place)) > count, PATIENCE_S, f"{count} records")
    return since(place)[:count]


def streams_again(place: int, moment: float) -> float:
    """Wait for a good picture taken after a moment; return its record's age since then."""
    record = first(
        place,
        lambda r: r["captured_at"] > moment and r.get("condition", "good") == "good",
        "a picture",
    )
    until(
        lambda: fresh()["source"]["state"] == "streaming", PATIENCE_S, f"streaming, it is {state()}"
    )
    return emitted(record) - moment


def same_process(act: Callable[[], str]) -> str:
    """Do something through which the service must live; return what it says."""
    before = fresh()
    figure = act()
    after = fresh()
    expect(after["pid"] == before["pid"], f"process {before['pid']} became {after['pid']}")
    expect(after["frames"] > before["frames"], "no frame was counted")
    expect(STATUS.exists(), "it tells nothing")
    return figure


def said(words: str) -> tuple[int, str]:
    """Run `edgetrack` with words."""
    return call("edgetrack", *words.split())
