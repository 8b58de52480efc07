"""Is the source there, free, and open to the service?"""

import os
from collections.abc import Iterator

from edge.config import Settings, SourceSettings
from edge.doctor.board import meminfo
from edge.doctor.machine import Check, Machine, refused
from edge.doctor.service import Service
from edge.errors import EdgeError, SourceError
from edge.shown import without_secrets
from edge.sources import kind_of
from edge.sources.picamera import check_csi
from edge.sources.rtsp import check_stream
from edge.sources.v4l2 import check_device, list_devices

_STREAM_S = 2.0
_PICTURES_MB = 64.0  # what a CSI camera's buffers may take, up to 1080p


def check_source(machine: Machine, settings: Settings, service: Service) -> Iterator[Check]:
    """Examine the source of a run.

    Args:
        machine: Where to read.
        settings: Of the run.
        service: Whose it will be.
    """
    uri = settings.source
    try:
        match kind_of(uri):
            case "camera":
                yield from _device(machine, f"/dev/video{uri}" if uri.isdecimal() else uri, service)
            case "csi":
                yield from _csi(machine, uri, settings.capture, service)
            case "stream":
                check_stream(uri, _STREAM_S)
                yield Check("source", "ok", f"{without_secrets(uri)}: a server answers")
            case kind:
                yield Check("source", "ok", f"{without_secrets(uri)}: {kind}")
    except EdgeError as error:
        yield refused("source", error)


def _device(machine: Machine, path: str, service: Service) -> Iterator[Check]:
    """Examine a V4L2 camera."""
    node = machine.path(path)
    try:
        yield Check(
            "source", "ok", f"{path}: {check_device(str(node), machine.root, machine.ioctl)}"
        )
    except SourceError as error:
        if "EBUSY" not in str(error):
            raise
        yield _busy(machine, path, error, service)
    if service.name and (problem := machine.closed_to_video(node)):
        advice = "the service is in the group video; write a udev rule that gives the device to it"
        yield Check("source", "FAIL", problem, advice)
    names = [
        name
        for device in list_devices(machine.root)
        if device.path == path
        for name in device.by_id
    ]
    if names:
        found = f"{path}: the number may be another one after the next start"
        yield Check("source", "warn", found, f'use source = "{names[0]}"')


def _busy(machine: Machine, path: str, error: SourceError, service: Service) -> Check:
    """Say who uses a camera: the service may."""
    pids = _users(machine, path)
    if service.pid and service.pid in pids:
        return Check("source", "ok", f"{path}: {service.unit} uses it")
    programs = sorted({machine.text(f"/proc/{pid}/comm") or str(pid) for pid in pids})
    if not programs:
        return refused("source", error)
    return Check("source", "FAIL", f"{path}: used by {', '.join(programs)}", "close it first")


def _users(machine: Machine, path: str) -> list[int]:
    """Return the processes that have a device open, as far as we may know."""
    device = os.path.realpath(machine.path(path))
    found = []
    for folder in machine.path("/proc").glob("[0-9]*"):
        try:
            links = {os.path.realpath(link) for link in (folder / "fd").iterdir()}
        except OSError:  # another user's, or it ended meanwhile
            continue
        if device in links:
            found.append(int(folder.name))
    return found


def _csi(machine: Machine, uri: str, capture: SourceSettings, service: Service) -> Iterator[Check]:
    """Examine a camera on the ribbon cable."""
    yield Check("source", "ok", f"{uri}: {check_csi(uri, capture)}")
    if service.name:
        nodes = [*machine.path("/dev/dma_heap").glob("*"), *machine.path("/dev").glob("media*")]
        closed = [why for node in sorted(nodes) if (why := machine.closed_to_video(node))]
        if closed or not nodes:
            found = closed[0] if closed else "/dev has no dma_heap and no media device"
            yield Check("source", "FAIL", found, "update the system; it gives them to `video`")
    free_mb = meminfo(machine).get("CmaFree")
    if free_mb is not None and free_mb < _PICTURES_MB:
        advice = "give it more with `dtoverlay=vc4-kms-v3d,cma-256` in config.txt"
        yield Check("source", "warn", f"CMA has {free_mb:.0f} MB free for pictures", advice)
