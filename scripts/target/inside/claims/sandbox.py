"""The sandbox, as the kernel enforces it on the unit's own settings."""

import json
from pathlib import Path

from system import drop_in, expect, must, pid

OUTPUT = Path("/results/probe")
ALLOWED = "write its own state"
PROBE = f"""[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/bin/python3 /check/probe.py
ExecStopPost=
StandardOutput=truncate:{OUTPUT}
Restart=no
WatchdogSec=0
"""


def probed(extra: str = "") -> dict[str, str]:
    """Return what the probe can do in the unit's place, which gets further lines."""
    drop_in("probe", PROBE + extra)
    must("systemctl", "restart", "edgetrack@probe")
    drop_in("probe", "")
    return dict(json.loads(OUTPUT.read_text()))


def user() -> str:
    """It is a user of its own, with no capability, no new privileges, and a system call filter."""
    lines = Path(f"/proc/{pid()}/status").read_text().splitlines()
    fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    uid = int(fields["Uid"][1])
    expect(61184 <= uid <= 65519, f"its user is {uid}")
    caps = {fields[key][0] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    expect(caps == {"0" * 16}, f"its capabilities are {caps}")
    expect(fields["NoNewPrivs"] == ["1"] and fields["Seccomp"] == ["2"], f"{fields}")
    return f"user {uid}"


def fenced() -> str:
    """All is denied to it that root outside can do: files, processes, system calls, devices."""
    for place in ("/etc", "/usr", "/opt", "/var/lib", "/home"):
        folder = Path(place) / "anyone"
        folder.mkdir()
        folder.chmod(0o777)
    free = json.loads(must("python3", "/check/probe.py"))
    impossible = [name for name, result in free.items() if result != "done"]
    expect(not impossible, f"not even root outside can {', '.join(impossible)}")
    results = probed()
    expect(results.pop(ALLOWED) == "done", "it cannot write its own state")
    possible = [name for name, result in results.items() if result == "done"]
    expect(not possible, f"it can {', '.join(possible)}")
    writes = {result for name, result in results.items() if name.startswith("write into")}
    expect(writes == {"EROFS"}, f"what keeps it from writing is {writes}")
    return ", ".join(f"{name} {result}" for name, result in results.items())


def devices() -> str:
    """A device that the unit names, and that is for group video, can be opened; no other."""
    must("chown", "root:video", "/dev/fuse")
    must("chmod", "660", "/dev/fuse")
    found = probed("DeviceAllow=/dev/fuse rw\n")["open a device"]
    expect(found == "done", f"a device that it names gives {found}")
    denied = probed()["open a device"]
    expect(denied == "EPERM", f"one that it does not name gives {denied}")
    return ""


CLAIMS = (user, fenced, devices)
