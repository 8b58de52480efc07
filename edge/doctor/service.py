"""Is the service installed, running, and started at boot? What does it read?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.machine import Check, Machine

SETTINGS = "/etc/edgetrack"
STATE = "/var/lib/edgetrack"
_PROGRAM = "/opt/edgetrack"
_UNIT = Path(__file__).parent.parent / "service" / "edgetrack@.service"
_ASKED = (
    *("LoadState", "FragmentPath", "UnitFileState", "ActiveState", "SubState", "Result"),
    *("MainPID", "NRestarts", "WatchdogUSec", "NeedDaemonReload", "ReadWritePaths"),
)


@dataclass(frozen=True)
class Service:
    """What systemd says of an instance of the unit; without a name there is none."""

    name: str
    properties: dict[str, str]

    @property
    def unit(self) -> str:
        """Its name for systemctl; empty where there is none."""
        return self.name and f"edgetrack@{self.name}"

    @property
    def pid(self) -> int:
        """Of its process; 0 while none runs."""
        return int(self.properties.get("MainPID") or 0)

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self.properties.get("ActiveState") == "active"


def ask_service(machine: Machine, name: str) -> Service:
    """Ask systemd of a camera's service; empty: there is none to ask of."""
    if not name:
        return Service("", {})
    words = ["systemctl", "show", f"edgetrack@{name}.service", f"--property={','.join(_ASKED)}"]
    lines = machine.ask(words).splitlines()
    return Service(name, dict(line.split("=", 1) for line in lines if "=" in line))


def check_service(machine: Machine, service: Service) -> Iterator[Check]:
    """Examine the unit of a camera."""
    said, unit = service.properties, service.unit
    if not said:
        yield Check("unit", "warn", "systemd does not answer", "see whether it runs here at all")
        return
    if said.get("LoadState") != "loaded":
        found = f"{unit}: systemd says {said.get('LoadState') or 'nothing of it'}"
        yield Check("unit", "FAIL", found, f"`sudo scripts/install-service {service.name}`")
        return
    yield _file(machine, service)
    yield _program(machine)
    if said.get("UnitFileState") == "enabled":
        yield Check("boot", "ok", f"{unit} is started at boot")
    else:
        advice = f"`sudo systemctl enable {unit}`"
        yield Check("boot", "warn", f"{unit} is {said.get('UnitFileState')}", advice)
    yield _running(service)
    yield _watchdog(service)


def _file(machine: Machine, service: Service) -> Check:
    """Compare the unit's file with the one of this version."""
    path, said = service.properties.get("FragmentPath", ""), service.properties
    if machine.text(path) != _UNIT.read_text(encoding="utf-8").strip():
        advice = f"`sudo scripts/install-service {service.name}`; your changes: `systemctl edit`"
        return Check("unit", "warn", f"{path}: is not the one of this version", advice)
    if said.get("NeedDaemonReload") == "yes":
        return Check("unit", "warn", f"{path}: changed on disk", "`sudo systemctl daemon-reload`")
    return Check("unit", "ok", f"{path}, reads {SETTINGS}/{service.name}.toml")


def _program(machine: Machine) -> Check:
    """Say whether what examines here is what the service runs."""
    program = machine.path(_PROGRAM)
    if not (program / "bin" / "edgetrack").exists():
        return Check("program", "FAIL", f"{_PROGRAM}: is not there", "install the service again")
    if program.resolve() != Path(machine.prefix).resolve():
        found = f"{_PROGRAM} is what the service runs, this is {machine.prefix}"
        return Check("program", "warn", found, f"examine with {_PROGRAM}/bin/edgetrack doctor")
    return Check("program", "ok", f"{_PROGRAM}, which examines here")


def _running(service: Service) -> Check:
    said, unit = service.properties, service.unit
    state = f"{unit} is {said.get('ActiveState')} ({said.get('SubState')})"
    journal = f"`journalctl -u {unit} -n 50`"
    if service.active and int(said.get("NRestarts") or 0):
        found = f"{state}, started again {said['NRestarts']} times"
        return Check("running", "warn", found, f"{journal} says why")
    if service.active:
        return Check("running", "ok", state)
    if said.get("ActiveState") == "inactive":
        return Check("running", "warn", state, f"`sudo systemctl start {unit}`")
    return Check("running", "FAIL", f"{state}, last result {said.get('Result')}", journal)


def _watchdog(service: Service) -> Check:
    period = service.properties.get("WatchdogUSec", "")
    if period in {"", "0", "infinity"}:
        advice = f"set WatchdogSec=30 with `sudo systemctl edit {service.unit}`"
        return Check("watchdog", "warn", "a process that hangs is not replaced", advice)
    return Check("watchdog", "ok", f"replaces it after {period} without progress")
