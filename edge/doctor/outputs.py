"""Can the sinks be written, and is there room?"""

import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from edge.config import Settings
from edge.doctor.machine import Check, Machine, refused
from edge.doctor.service import STATE, Service
from edge.errors import EdgeError
from edge.sinks import output_path
from edge.sinks.address import broker_of, page_of

_BROKER_S = 2.0
_FULL_MB = 50.0


def check_sinks(machine: Machine, settings: Settings, service: Service) -> Iterator[Check]:
    """Examine every sink of a run.

    Args:
        machine: Where to read.
        settings: Of the run.
        service: Whose they will be.
    """
    for uri in settings.sinks:
        try:
            path = output_path(uri)
            if path is not None:
                yield from _file(machine, path, settings.files.max_mb, service)
            elif uri.startswith("http:"):
                yield _page(uri, service)
            elif uri.startswith("mqtt"):
                yield _broker(uri)
            else:
                yield _printed(uri, service)
        except EdgeError as error:
            yield refused("sink", error)


def _printed(uri: str, service: Service) -> Check:
    if service.name:
        advice = "it fills with a line a frame; use file:PATH"
        return Check("sink", "warn", f"{uri}: the service prints into the journal", advice)
    return Check("sink", "ok", f"{uri}: standard output")


def _file(machine: Machine, path: Path, max_mb: float, service: Service) -> Iterator[Check]:
    """Examine the folder of a file, and the room there."""
    state = Path(STATE, service.name)
    whole = state / path if service.name else Path.cwd() / path
    folder = machine.path(whole.parent)
    if service.name and not _may_write(service, whole, state):
        advice = f"use a path relative to {state}, or allow it: `systemctl edit`, ReadWritePaths="
        yield Check("sink", "FAIL", f"{whole}: the service may not write there", advice)
    elif not service.name and not folder.is_dir():
        yield Check("sink", "FAIL", f"{whole}: {whole.parent} is no folder", "create it")
        return
    elif not service.name and not os.access(folder, os.W_OK):
        found = f"{whole}: {whole.parent} cannot be written"
        yield Check("sink", "FAIL", found, "change its owner, or write elsewhere")
    yield _room(machine, folder, whole, max_mb)


def _may_write(service: Service, path: Path, state: Path) -> bool:
    """Say whether the unit lets a path be written: all else is read-only to it."""
    more = service.properties.get("ReadWritePaths", "").split()
    allowed = [state, *(Path(word.lstrip("-+")) for word in more)]
    return any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in allowed)


def _room(machine: Machine, folder: Path, path: Path, max_mb: float) -> Check:
    while not folder.is_dir():
        folder = folder.parent  # systemd makes the service's folder when it starts
    free_mb = machine.free_mb(folder)
    found = f"{path}: {free_mb:,.0f} MB free, files.max_mb is {max_mb:,.0f}"
    if free_mb < _FULL_MB:
        return Check("sink", "FAIL", found, "free space: records will be lost")
    if free_mb < max_mb:
        return Check("sink", "warn", found, "free space, or lower files.max_mb")
    return Check("sink", "ok", found)


def _page(uri: str, service: Service) -> Check:
    page = page_of(uri)
    try:
        with socket.create_server((page.host, page.port)):
            return Check("sink", "ok", f"{page.shown}: the port is free")
    except OSError as error:
        if service.active:
            return Check("sink", "ok", f"{page.shown}: in use, {service.unit} runs")
        found = f"{page.shown}: {_reason(error)}"
        return Check("sink", "FAIL", found, "use another port, or close what has this one")


def _broker(uri: str) -> Check:
    broker = broker_of(uri)
    if not find_spec("paho"):
        found = f"{broker.shown}: paho-mqtt is not installed"
        return Check("sink", "FAIL", found, "pip install 'edgetrack[mqtt]'")
    try:
        with socket.create_connection((broker.host, broker.port), _BROKER_S):
            return Check("sink", "ok", f"{broker.shown}: the broker answers")
    except OSError as error:
        found = f"{broker.shown}: {_reason(error)}"
        return Check("sink", "warn", found, "start the broker; until then records are lost")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
