"""scripts/install-service: installs, upgrades, goes back, removes."""

import os
import time
import zipfile
from pathlib import Path

from system import (
    FRONT,
    RECORDS,
    SCALED,
    SETTINGS,
    WHEEL,
    call,
    configure,
    drop_in,
    expect,
    is_tracking,
    must,
    pid,
    restart,
    shown,
    status,
    until,
)

UNIT = Path("/etc/systemd/system/edgetrack@.service")
PROGRAM = Path("/opt/edgetrack")


def install(wheel: Path = WHEEL) -> tuple[int, str]:
    """Run the script for camera front."""
    return call("/check/install-service", "front", "--from", wheel)


def installed() -> str:
    """One call installs the wheel, and camera front is up and enabled."""
    began = time.monotonic()
    code, said = install()
    expect(code == 0, said)
    expect(shown("ActiveState") == "active", f"it is {shown('ActiveState')}")
    expect(shown("UnitFileState") == "enabled", f"it is {shown('UnitFileState')}")
    expect("front" in SETTINGS.read_text(), "the settings do not name the camera")
    return f"{time.monotonic() - began:.0f} s"


def again() -> str:
    """A second call changes nothing."""
    before = pid(), os.readlink(PROGRAM), SETTINGS.stat().st_mtime
    code, said = install()
    expect(code == 0 and "already" in said, said)
    after = pid(), os.readlink(PROGRAM), SETTINGS.stat().st_mtime
    expect(after == before, f"{before} became {after}")
    return ""


def sound() -> str:
    """The unit has no fault, and its exposure is at most 2.0."""
    said = must("systemd-analyze", "verify", UNIT)
    expect(not said, said)
    said = must("systemd-analyze", "security", "--no-pager", "--threshold=20", FRONT)
    return said.splitlines()[-1].partition(": ")[2][:3]


def without_a_camera() -> str:
    """Without a camera it is READY, says that it is lost, and the watchdog lets it be."""
    drop_in("scaled", SCALED)
    must("systemctl", "restart", FRONT)
    before = pid()
    time.sleep(13)  # more than twice WatchdogSec
    expect(pid() == before, "it was restarted")
    text = shown("StatusText")
    expect("lost" in text or "starting" in text, f"its status is {text!r}")
    return text


def upgrade_refused() -> str:
    """An upgrade that does not start is taken back, and the old version tracks again."""
    broken = Path("/tmp") / WHEEL.name
    with zipfile.ZipFile(WHEEL) as good, zipfile.ZipFile(broken, "w") as bad:
        for name in good.namelist():
            fault = b"raise SystemExit(1)\n" if name == "edge/commands/run.py" else b""
            bad.writestr(name, fault + good.read(name))
    before = os.readlink(PROGRAM)
    code, said = install(broken)
    expect(code == 69, f"exit code {code}, {said}")
    expect(os.readlink(PROGRAM) == before, "the link leads elsewhere")
    until(is_tracking, 10, "a track")
    return said.splitlines()[-1]


def no_wheel() -> str:
    """A file that is no wheel is refused, and nothing has changed."""
    Path("/tmp/edgetrack-9-py3-none-any.whl").write_text("no wheel")
    before = pid(), os.readlink(PROGRAM)
    code, said = install(Path("/tmp/edgetrack-9-py3-none-any.whl"))
    expect(code != 0, said)
    expect((pid(), os.readlink(PROGRAM)) == before, "something changed")
    return ""


def two_cameras() -> str:
    """A second camera is one more call, with a state of its own."""
    code, said = call("/check/install-service", "back", "--from", WHEEL)
    expect(code == 0, said)
    expect(shown("ActiveState", "edgetrack@back") == "active", said)
    expect(Path("/var/lib/edgetrack/back").is_dir(), "it has no folder")
    must("/check/install-service", "--remove", "back")
    expect(shown("ActiveState", "edgetrack@back") == "inactive", "it still runs")
    expect(shown("ActiveState") == "active", "front does not run any more")
    return ""


def stopped() -> str:
    """A stop is clean: exit code 0, the last record whole, state kept, nothing in /run."""
    configure()
    restart()
    began = time.monotonic()
    must("systemctl", "stop", FRONT)
    seconds = time.monotonic() - began
    expect(shown("Result") == "success", shown("Result"))
    expect(shown("ExecMainStatus") == "0", f"exit code {shown('ExecMainStatus')}")
    expect(RECORDS.read_text().endswith("}\n"), "the last record is not whole")
    expect(not status(), "it left its status in /run")
    expect((RECORDS.parent / "state.json").is_file(), "it kept no state")
    return f"{seconds:.1f} s"


def removed() -> str:
    """Removing takes the program and the unit away, and leaves settings and records."""
    must("/check/install-service", "--remove")
    left = [path for path in (UNIT, PROGRAM, Path("/usr/local/bin/edgetrack")) if path.exists()]
    left += list(Path("/opt").glob("edgetrack*"))
    left += list(Path("/etc/systemd/system/multi-user.target.wants").glob("edgetrack*"))
    expect(not left, f"{left} are still there")
    expect(SETTINGS.exists() and RECORDS.exists(), "settings or records are gone")
    return ""


FIRST = (installed, again, sound, without_a_camera)
LAST = (two_cameras, no_wheel, upgrade_refused, stopped, removed)
