"""Cameras on the CSI connector, `csi:N`: the only home of picamera2."""

import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from edge.config import SourceSettings
from edge.errors import SourceError, UsageError
from edge.sources.csi import TO_RGB, CsiCamera, release
from edge.sources.libcamera import explain, is_usb, model_of

_log = logging.getLogger(__name__)

_BUFFERS = 4  # one is read, one waits, the sensor fills the others; all are in scarce memory
_SHIFT = 0.01  # a rate that differs by less is the one that was asked for
_INSTALL = (
    "`sudo apt install python3-picamera2`, and make the virtual environment with "
    "--system-site-packages"
)
_FLIPS: Mapping[str, Mapping[str, int]] = {
    "none": {},
    "rotate180": {"hflip": 1, "vflip": 1},
    "hflip": {"hflip": 1},
    "vflip": {"vflip": 1},
}


def open_csi(uri: str, settings: SourceSettings) -> CsiCamera:
    """Open `csi:N` or `csi:N?lores=WIDTHxHEIGHT`.

    Args:
        uri: With `lores`, frames are those of the second, smaller output; width and height of the
            settings are then the main one's, and with it the sensor's mode and its field of view.
        settings: Size, rate, exposure and transform.

    Raises:
        UsageError: No such address, or picamera2 is not installed.
        SourceError: The camera is absent, busy, forbidden, or cannot do what is asked.
    """
    number, lores = _address(uri, settings)
    picamera2, libcamera = _libraries(uri)
    name = f"csi:{number} ({model_of(picamera2.global_camera_info(), number)})"
    camera = _acquire(picamera2, number, name)
    try:
        camera.configure(_configuration(camera, libcamera, settings, lores))
        camera.start()
        source = CsiCamera(camera, name, "lores" if lores else "main")
        _check(source, camera, settings, lores)
    except (RuntimeError, OSError) as error:
        release(camera, name)
        if isinstance(error, SourceError):
            raise
        raise SourceError(explain(name, error)) from error
    return source


def check_csi(uri: str, settings: SourceSettings) -> str:
    """Return the name of the sensor at an address, without opening the camera.

    Raises:
        UsageError: No such address, or picamera2 is not installed.
        SourceError: There is no such camera.
    """
    number, _ = _address(uri, settings)
    picamera2, _ = _libraries(uri)
    return model_of(picamera2.global_camera_info(), number)


def csi_cameras() -> list[tuple[str, str, str]]:
    """Return address, sensor and place of each; none where picamera2 is not installed.

    Raises:
        UsageError: It is installed and does not load.
    """
    try:
        picamera2, _ = _libraries("csi:")
    except UsageError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            return []
        raise
    found = picamera2.global_camera_info()
    return [
        (f"csi:{number}", camera["Model"], camera["Id"])
        for number, camera in enumerate(found)
        if not is_usb(camera)
    ]


def _address(uri: str, settings: SourceSettings) -> tuple[int, tuple[int, int] | None]:
    """Return number and size of the smaller output, if that is wanted.

    Raises:
        UsageError: It is no address of a camera, or the size is none that libcamera has.
    """
    parts = re.fullmatch(r"csi:(\d{1,2})(?:\?lores=(\d{1,5})x(\d{1,5}))?", uri, re.IGNORECASE)
    if not parts:
        raise UsageError(f"{uri}: is no camera; write csi:N, such as csi:0, or csi:0?lores=320x240")
    if parts[2] is None:
        return int(parts[1]), None
    width, height = int(parts[2]), int(parts[3])
    if not (16 <= width <= settings.width and 16 <= height <= settings.height):
        raise UsageError(
            f"{uri}: lores is {width}x{height}, allowed is from 16x16 to capture's "
            f"{settings.width}x{settings.height}; write a smaller one or raise capture.width"
        )
    return int(parts[1]), (width, height)


def _libraries(uri: str) -> tuple[Any, Any]:
    """Return the class `Picamera2` and the module `libcamera`.

    Raises:
        UsageError: They are not installed, or do not load.
    """
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    logging.getLogger("picamera2").setLevel(logging.WARNING)
    logging.getLogger("picamera2.picamera2").setLevel(logging.CRITICAL)  # it is raised here, once
    try:
        from picamera2 import Picamera2

        return Picamera2, import_module("libcamera")
    except ModuleNotFoundError as error:
        needed = "" if error.name == "picamera2" else ", which picamera2 needs,"
        raise UsageError(f"{uri}: {error.name}{needed} is not installed; {_INSTALL}") from error
    except (ImportError, ValueError, AttributeError) as error:  # such as another numpy's ABI
        raise UsageError(
            f"{uri}: picamera2 is installed but does not load, {error}; use the system's own "
            "Python, and in the virtual environment numpy of the same major version as the system's"
        ) from error


def _acquire(picamera2: Any, number: int, name: str) -> Any:
    """Open a camera.

    Raises:
        SourceError: It is busy, or there is no permission.
    """
    camera = picamera2.__new__(picamera2)  # apart, so that a failed opening can be cleaned up
    try:
        camera.__init__(number)
    except (RuntimeError, OSError) as error:
        acquired = camera.is_open
        with suppress(AttributeError):  # `close` expects what comes last in `__init__`
            camera.close()
        if not acquired:  # then `close` leaves these open, two more with every attempt
            camera.notifymeread.close()
            os.close(camera.notifyme_w)
        raise SourceError(explain(name, error)) from error
    return camera


def _configuration(
    camera: Any, libcamera: Any, settings: SourceSettings, lores: tuple[int, int] | None
) -> Any:
    """Return what picamera2 is asked for."""
    # An exposure longer than a frame would be cut short: light comes before rate.
    duration_us = max(round(1e6 / settings.fps), settings.exposure_us or 0)
    controls: dict[str, Any] = {"FrameDurationLimits": (duration_us, duration_us)}
    if settings.exposure_us:
        # Nothing else: with `AeEnable` off, the gain would stay where it is at the start.
        controls["ExposureTime"] = settings.exposure_us
    return camera.create_video_configuration(
        main={"format": "BGR888", "size": (settings.width, settings.height)},
        lores={"format": "YUV420", "size": lores} if lores else None,
        transform=libcamera.Transform(**_FLIPS[settings.transform]),
        colour_space=libcamera.ColorSpace.Smpte170m(),  # of YUV420, as OpenCV reads it
        buffer_count=_BUFFERS,
        controls=controls,
        display=None,
        encode=None,
    )


def _check(
    source: CsiCamera, camera: Any, settings: SourceSettings, lores: tuple[int, int] | None
) -> None:
    """Refuse a format that nobody asked for, and say where size or rate are others.

    Raises:
        SourceError: The pictures cannot be read.
    """
    stream = camera.camera_configuration()["lores" if lores else "main"]
    if stream["format"] not in TO_RGB:
        raise SourceError(
            f"{source.description}; this format is not read, use another camera or its /dev/video"
        )
    width, height = lores or (settings.width, settings.height)
    other_rate = abs(source.fps / settings.fps - 1.0) > _SHIFT
    if other_rate or tuple(stream["size"]) != (width, height):
        wanted = f"{width}x{height} at {settings.fps:.4g} fps"
        _log.warning("%s, though %s was asked for", source.description, wanted)
