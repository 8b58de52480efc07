"""Faults: the process hangs, is stopped or killed, or its model is damaged."""

import fcntl
import os
import shutil
import signal
import time
from pathlib import Path

from system import (
    FRONT,
    STATE,
    WATCHDOG_S,
    call,
    comes_back,
    configure,
    confirmed,
    expect,
    is_tracking,
    journal,
    must,
    of_this_process,
    pid,
    restart,
    shown,
    status,
    until,
)

WEDGE = Path("/run/wedge")


def hang_on_demand() -> str:
    """A hook in the container's Python, not in the wheel, makes the service hang on demand."""
    WEDGE.mkdir()
    packages = next(Path("/opt/edgetrack/lib").glob("python3*/site-packages"))
    shutil.copy("/check/wedge.py", packages)
    (packages / "wedge.pth").write_text("import wedge\n")
    configure()
    restart()
    return ""


def wedged(place: str, in_journal: str) -> str:
    """Let it hang in a place; return how long it took to be up again."""
    since = time.time()
    seconds = comes_back((WEDGE / place).touch, 2 * WATCHDOG_S)
    return by_watchdog(seconds, since, in_journal)


def by_watchdog(seconds: float, since: float, in_journal: str) -> str:
    """Make sure that the watchdog did it, and that the journal says where the process was."""
    said = journal(since)
    expect("Watchdog timeout" in said, f"the journal names no watchdog: {said}")
    expect(in_journal in said, f"the journal does not say {in_journal!r}: {said}")
    until(is_tracking, 10, "a track")
    return f"up again after {seconds:.1f} s, {seconds / WATCHDOG_S:.2f} x WatchdogSec"


def sigstop() -> str:
    """Stopped by SIGSTOP: restarted within 2 x WatchdogSec."""
    since = time.time()
    seconds = comes_back(lambda: os.kill(pid(), signal.SIGSTOP), 2 * WATCHDOG_S)
    return by_watchdog(seconds, since, "")


def capture() -> str:
    """Hangs in capture: restarted within 2 x WatchdogSec, the journal says where it hung."""
    return wedged("capture", "wedge.py")


def inference() -> str:
    """Hangs in inference: restarted within 2 x WatchdogSec, the journal says where it hung."""
    configure(detection='{aside = "never"}')
    restart()
    return wedged("inference", "wedge.py")


def inference_with_lock() -> str:
    """Hangs in inference and keeps Python's lock: restarted within 2 x WatchdogSec."""
    return wedged("inference-with-lock", "wedge.py")


def inference_aside() -> str:
    """Hangs in inference on a thread of its own: restarted within 2 x the unit's WatchdogSec."""
    configure(detection='{aside = "always"}')
    restart()
    since = time.time()
    seconds = comes_back((WEDGE / "inference").touch, 2 * 5 * WATCHDOG_S)
    expect("the interpreter hangs" in journal(since), journal(since))
    until(is_tracking, 10, "a track")
    return f"up again after {seconds:.1f} s"


def sink() -> str:
    """Hangs in a sink, a pipe that nobody reads: restarted within 2 x WatchdogSec."""
    pipe = STATE / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)  # full after half a second
    configure(sinks='["file:pipe"]')
    since = time.time()
    must("systemctl", "restart", FRONT)
    seconds = comes_back(lambda: None, 2 * WATCHDOG_S)
    said = journal(since)
    expect("Watchdog timeout" in said, f"the journal names no watchdog: {said}")
    os.close(reader)
    pipe.unlink()
    configure()
    restart()
    return f"up again after {seconds:.1f} s, {seconds / WATCHDOG_S:.2f} x WatchdogSec"


def sigkill() -> str:
    """Killed by SIGKILL: it is up again at once, goes on counting, and gives out no id twice."""
    until(lambda: len(of_this_process()) > 60, 10, "a while of records")
    ids, frames = confirmed(of_this_process()[-1]), status()["frames"]
    seconds = comes_back(lambda: os.kill(pid(), signal.SIGKILL), 5)
    until(is_tracking, 10, "a track")
    # The sample has begun anew: a face that is where a track was goes on with it, others are new.
    now = set().union(*map(confirmed, of_this_process()))
    expect(all(new > max(ids) for new in now - ids), f"tracks were {ids} and are {now}")
    counted = status()["frames"]
    expect(counted > frames - 60, f"it had counted {frames} frames, and now {counted}")
    return f"up again after {seconds:.1f} s"


def damaged_model() -> str:
    """A damaged model: one line, tried again without haste, and well once the model is."""
    models = Path("/var/lib/edgetrack/models")
    shipped = next(Path("/opt/edgetrack/lib").glob("python3*/site-packages/edge/models/face"))
    shutil.copytree(shipped, models / "worn")
    network = models / "worn" / "face.tflite"
    good = network.read_bytes()
    network.write_bytes(good[: len(good) // 2])
    since = time.time()
    configure(models=f'["{models}/worn"]')
    call("systemctl", "restart", FRONT)
    until(lambda: shown("ExecMainStatus") == "65", 10, "exit code 65")
    time.sleep(15)
    restarts = int(shown("NRestarts"))
    expect(1 <= restarts <= 2, f"{restarts} starts in 15 s")
    expect("Traceback" not in journal(since), journal(since))
    network.write_bytes(good)
    seconds = until(is_tracking, 20, "a track with the model mended")
    configure()
    restart()
    shutil.rmtree(models / "worn")
    return f"{restarts} starts in 15 s, a track {seconds:.1f} s after the model was mended"


CLAIMS = (
    hang_on_demand,
    sigstop,
    capture,
    inference,
    inference_with_lock,
    inference_aside,
    sink,
    sigkill,
    damaged_model,
)
