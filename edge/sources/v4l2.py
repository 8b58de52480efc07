"""What the kernel says of video devices: which there are, and why one cannot be opened."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError

# From linux/videodev2.h: _IOR('V', 0, struct v4l2_capability) and
# _IOWR('V', 8, struct v4l2_requestbuffers), the same on every 64-bit machine with Linux.
_QUERYCAP = 0x80685600
_REQBUFS = 0xC0145608
_CAPTURES = 0x1 | 0x1000  # V4L2_CAP_VIDEO_CAPTURE, ..._MPLANE
_VIDEO_MAJOR = 81
_NEW_S = 5.0  # after that the system has given a new device to its group

Ioctl = Callable[[int, int, bytearray], object]


@dataclass(frozen=True, slots=True)
class Device:
    """A video device and the names that stay the same when devices are numbered anew."""

    path: str
    name: str
    by_id: tuple[str, ...]


def list_devices(root: Path = Path("/")) -> list[Device]:
    """Return the video devices that the kernel knows, in the order of their numbers."""
    known = (root / "sys/class/video4linux").glob("video*")
    nodes = sorted(known, key=lambda node: (len(node.name), node.name))
    return [
        Device(f"/dev/{node.name}", _text(node / "name"), _links_to(node.name, root))
        for node in nodes
    ]


def check_device(
    path: str,
    root: Path = Path("/"),
    ioctl: Ioctl = fcntl.ioctl,
    now: Callable[[], float] = time.time,
) -> str:
    """Return the name of the camera at a path, or say why no picture can come from there.

    Args:
        path: Of the device, or of a link to it.
        root: Where devices and what the kernel says of them are.
        ioctl: Asks the driver.
        now: Seconds since the epoch.

    Raises:
        SourceError: The device is absent, forbidden, busy, or no camera at all.
    """
    try:
        _refuse_what_is_no_device(path)
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            return _ask(path, descriptor, ioctl)
        finally:
            os.close(descriptor)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(_explain(path, error, root, now())) from None


def _refuse_what_is_no_device(path: str) -> None:
    mode = os.stat(path)
    if not stat.S_ISCHR(mode.st_mode) or os.major(mode.st_rdev) != _VIDEO_MAJOR:
        raise SourceError(f"{path}: is no video device; `edgetrack devices` lists the cameras")


def _ask(path: str, descriptor: int, ioctl: Ioctl) -> str:
    """Ask the driver for its name and abilities, and whether another program streams."""
    answer = bytearray(104)
    ioctl(descriptor, _QUERYCAP, answer)
    _, card, _, _, of_all, of_this = struct.unpack("16s32s32sIII", answer[:92])
    name = str(card.split(b"\0")[0], "utf-8", "replace")
    if not (of_this or of_all) & _CAPTURES:
        raise SourceError(
            f"{path}: {name} takes no pictures through this device (a codec or metadata); "
            "`edgetrack devices` lists the others"
        )
    try:  # asking for no buffers changes nothing, but is refused while another program streams
        ioctl(descriptor, _REQBUFS, bytearray(struct.pack("IIIII", 0, 1, 1, 0, 0)))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise  # all else is for OpenCV to find out: not every driver takes this question
    return name


def _explain(path: str, error: OSError, root: Path, now: float) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return f"{path}: no such device; {_present(root)}"
        case errno.EACCES if _is_new(path, now):
            return f"{path}: was plugged in just now and is being set up; try again"
        case errno.EACCES | errno.EPERM:
            return f"{path}: permission denied; add the user to the group video"
        case errno.EBUSY:
            return (
                f"{path}: another program uses the camera (EBUSY); "
                f"`fuser -v {path}` names it, close it first"
            )
        case errno.ENOTTY | errno.EINVAL:
            return f"{path}: is no video device; `edgetrack devices` lists the cameras"
    return f"{path}: cannot be opened ({error.strerror}); unplug the camera and plug it in again"


def _is_new(path: str, now: float) -> bool:
    """Say whether a device came, or its rights changed, a moment ago."""
    try:
        return abs(now - os.stat(path).st_ctime) < _NEW_S
    except OSError:
        return False


def _present(root: Path) -> str:
    devices = list_devices(root)
    if not devices:
        return "no camera is connected to this machine, plug one in"
    return "present are " + ", ".join(f"{d.path} ({d.name})" for d in devices)


def _links_to(name: str, root: Path) -> tuple[str, ...]:
    folder = root / "dev/v4l/by-id"
    links = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(
        f"/dev/v4l/by-id/{link.name}"
        for link in links
        if link.is_symlink() and Path(os.readlink(link)).name == name
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # the device went away while it was listed
        return "unnamed"
