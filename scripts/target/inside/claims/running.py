"""A day without faults: tracks, status, reload."""

import re
import time
from pathlib import Path

from system import (
    FRONT,
    SETTINGS,
    call,
    configure,
    confirmed,
    expect,
    must,
    of_this_process,
    pid,
    restart,
    shown,
    status,
    until,
)


def tracks() -> str:
    """It tracks the face in the sample, and its state folder gets the records."""
    configure()
    seconds = restart()
    memory = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid()}/status").read_text())
    megabytes = int(memory[1]) / 1000 if memory else 0
    return f"first track {seconds:.1f} s after the start, {megabytes:.0f} MB of memory"


def says_how_it_is() -> str:
    """Its line in `systemctl status` says camera, frames a second, age and tracks."""
    until(lambda: re.search(r"streaming.*fps", shown("StatusText")), 10, "a status with its rate")
    text = shown("StatusText")
    expect("2 tracks" in text, text)
    return text


def status_for_all() -> str:
    """`edgetrack status front` works for any user."""
    said = must("setpriv", "--reuid=nobody", "--clear-groups", "edgetrack", "status", "front")
    expect("front" in said and "streaming" in said, said)
    return ""


def doctored() -> str:
    """Its doctor finds the service installed, started at boot, running, and watched."""
    said = must("edgetrack", "doctor", "front")
    for topic in ("unit", "program", "boot", "running", "watchdog"):
        expect(re.search(rf"(?m)^ok +{topic}: ", said) is not None, f"{topic}: {said}")
    return ""


def reloaded() -> str:
    """A reload takes new settings in the same process, and the track keeps its id."""
    before, ids, reloads = pid(), confirmed(of_this_process()[-1]), status()["reloads"]
    SETTINGS.write_text(SETTINGS.read_text() + "[detection]\nevery = 3\n")
    must("systemctl", "reload", FRONT)
    expect(pid() == before, "it is another process")
    until(lambda: status()["reloads"] == reloads + 1, 5, "a count of the reload")
    frames = status()["frames"]
    until(lambda: status()["frames"] > frames + 10, 5, "frames after it")
    expect(status()["pace"]["every"] == 3, f"its pace is {status()['pace']}")
    expect(confirmed(of_this_process()[-1]) == ids, "the track has another id")
    return ""


def reload_refused() -> str:
    """A reload of bad settings is refused in one line, and the old ones keep running."""
    before, good = pid(), SETTINGS.read_text()
    SETTINGS.write_text(good.replace("every = 3", "every = 0"))
    code, _ = call("systemctl", "reload", FRONT)
    said_code, said = call("edgetrack", "reload", "front")
    SETTINGS.write_text(good)
    expect(code != 0, "systemctl reload says that all is well")
    expect(said_code == 78, f"edgetrack reload: exit code {said_code}, {said}")
    expect("detection.every" in said.splitlines()[-1], said)
    expect(pid() == before, "it is another process")
    frames = status()["frames"]
    until(lambda: status()["frames"] > frames + 10, 5, "frames after it")
    return said.splitlines()[-1]


def bad_settings() -> str:
    """Settings that cannot be are told once, exit code 78, and it is not started again."""
    good = SETTINGS.read_text()
    SETTINGS.write_text(good + "[capture]\nfps = -1\n")
    code, _ = call("systemctl", "restart", FRONT)
    expect(code != 0, "it starts with them")
    time.sleep(3)
    state, status_code = shown("ActiveState"), shown("ExecMainStatus")
    expect((state, status_code) == ("failed", "78"), f"it is {state}, exit code {status_code}")
    expect(shown("NRestarts") == "0", f"it was restarted {shown('NRestarts')} times")
    SETTINGS.write_text(good)
    restart()
    return ""


def quiet() -> str:
    """The journal is readable: no traceback, a line where something changed and none a frame."""
    said = must("journalctl", "-q", "-o", "cat", "-u", FRONT, f"_PID={pid()}")
    expect("Traceback" not in said, said)
    lines = said.splitlines()
    expect(0 < len(lines) < 20, f"{len(lines)} lines")
    return f"{len(lines)} lines since the start"


CLAIMS = (
    tracks,
    says_how_it_is,
    status_for_all,
    doctored,
    quiet,
    reloaded,
    reload_refused,
    bad_settings,
)
