"""What libcamera says of CSI cameras: which there are, and why one cannot be opened."""

import errno
from collections.abc import Mapping, Sequence
from typing import Any

from edge.errors import SourceError

Info = Mapping[str, Any]
"""What `Picamera2.global_camera_info` says of one camera."""


def model_of(found: Sequence[Info], number: int) -> str:
    """Return the name of the sensor at a number.

    Raises:
        SourceError: There is none; the message lists those there are.
    """
    if number < len(found) and not is_usb(found[number]):
        return str(found[number]["Model"])
    if number < len(found):
        raise SourceError(
            f"csi:{number}: is a USB camera; use its /dev/v4l/by-id/... (`edgetrack devices`)"
        )
    present = ", ".join(
        f"csi:{n} ({camera['Model']})" for n, camera in enumerate(found) if not is_usb(camera)
    )
    if present:
        raise SourceError(f"csi:{number}: there is no such camera; present are {present}")
    raise SourceError(
        f"csi:{number}: libcamera finds no camera; check the ribbon cable with the power off, and "
        "that the user is in the group video"
    )


def is_usb(camera: Info) -> bool:
    """Say whether a camera is on USB: V4L2 serves those."""
    return "/usb" in camera["Id"]


def explain(name: str, error: Exception) -> str:
    """Return the line that says why a camera does not start.

    Args:
        name: Its address and sensor.
        error: As picamera2 raised it, around what libcamera raised.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = str(cause) or type(cause).__name__
    if isinstance(cause, PermissionError):
        return f"{name}: permission denied ({cause.filename}); add the user to the group video"
    if getattr(cause, "errno", None) == errno.ENOMEM or "allocate" in reason:
        return (
            f"{name}: no memory for its pictures ({reason}); ask for a smaller size, or give the "
            "kernel more with `dtoverlay=vc4-kms-v3d,cma-256` in config.txt"
        )
    if "busy" in reason.lower():
        return (
            f"{name}: another program uses the camera; `sudo fuser -v /dev/media*` names it, "
            "close it first"
        )
    return f"{name}: does not start, {reason}; see whether `rpicam-hello --list-cameras` shows it"
