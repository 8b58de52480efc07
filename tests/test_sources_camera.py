"""V4L2 cameras: the decisions with a made-up capture and driver, and the real thing if present."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.config import SourceSettings
from edge.errors import SourceError
from edge.sources import open_source
from edge.sources.opencv import LiveCapture, ask_format, warn_of_format
from edge.sources.v4l2 import Device, check_device, list_devices

SETTINGS = SourceSettings(width=800, height=600, fps=25)
PICTURE = np.full((4, 6, 3), (255, 0, 0), np.uint8)  # BGR: blue


class FakeCapture:
    """A capture whose grabs follow a script; each grab takes the given seconds."""

    def __init__(self, *grabs: tuple[bool, float], stamp: Callable[[float], float] = float) -> None:
        self.now = 1000.0
        self.grabs = list(grabs)
        self.stamp = stamp
        self.bad_pictures = 0
        self.asked: list[tuple[int, float]] = []
        self.released = 0

    def clock(self) -> float:
        return self.now

    def grab(self) -> bool:
        grabbed, seconds = self.grabs.pop(0) if self.grabs else (False, 0.0)
        self.now += seconds
        return grabbed

    def retrieve(self, _: Any = None) -> tuple[bool, Any]:
        self.bad_pictures -= 1
        return (False, None) if self.bad_pictures >= 0 else (True, PICTURE)

    def get(self, prop: int) -> float:
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self.stamp(self.now) * 1000
        fixed = {
            cv2.CAP_PROP_FPS: 25.0,
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
        }
        return fixed[prop]

    def set(self, prop: int, value: float) -> bool:
        self.asked.append((prop, value))
        return True

    def release(self) -> None:
        self.released += 1


def live(capture: FakeCapture, driver_stamps: bool = True) -> LiveCapture:
    return LiveCapture(
        capture,
        "/dev/video0 (Cam)",
        timeout_s=3.0,
        driver_stamps=driver_stamps,
        monotonic=capture.clock,
    )


def test_motion_jpeg_is_asked_for_first_and_the_real_format_is_told() -> None:
    capture = FakeCapture()
    ask_format(capture, SETTINGS)
    assert capture.asked[0] == (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    assert [value for _, value in capture.asked[1:]] == [800, 600, 25]
    assert live(capture).description == "/dev/video0 (Cam): YUYV 640x480 at 25 fps"


def test_a_camera_that_is_opened_again_and_again_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        warn_of_format("/dev/video5 (Cam): YUYV 640x480 at 5 fps", "MJPG 640x480")
    warn_of_format("/dev/video5 (Cam): MJPG 640x480 at 30 fps", "MJPG 640x480")
    (said,) = caplog.messages
    assert said == "/dev/video5 (Cam): YUYV 640x480 at 5 fps, though MJPG 640x480 was asked for"


@pytest.mark.parametrize(
    ("stamp", "clock", "expected"),
    [
        (lambda now: now - 0.02, "driver", 1000.02),
        (lambda now: now + 0.5, "driver", 1000.04),  # never later than its arrival
        (lambda now: now - 60.0, "arrival", 1000.04),
        (lambda _: 1.7e9, "arrival", 1000.04),  # the wall clock
        (lambda _: 0.0, "arrival", 1000.04),
    ],
)
def test_the_drivers_stamp_counts_where_it_is_plausible(
    stamp: Callable[[float], float], clock: str, expected: float
) -> None:
    frame = live(FakeCapture((True, 0.04), stamp=stamp)).read()
    assert frame is not None
    assert (frame.clock, frame.captured_at) == (clock, pytest.approx(expected))
    assert frame.image[0, 0].tolist() == [0, 0, 255]


def test_time_never_goes_back_within_a_source() -> None:
    stamps = iter([1000.0, 999.0, 1000.5])
    source = live(FakeCapture(*[(True, 1.0)] * 3, stamp=lambda _: next(stamps)))
    times = [frame.captured_at for _ in range(3) if (frame := source.read())]
    assert times == [1000.0, 1000.0, 1000.5]


def test_pictures_damaged_in_transit_are_skipped() -> None:
    capture = FakeCapture(*[(True, 0.04)] * 4)
    capture.bad_pictures = 3
    frame = live(capture).read()
    assert frame is not None
    assert frame.index == 0
    assert frame.captured_at == pytest.approx(1000.16)


def test_a_camera_that_goes_away_is_one_clear_error() -> None:
    source = live(FakeCapture((True, 0.04)))
    assert source.read() is not None
    with pytest.raises(SourceError, match=r"video0 \(Cam\): no more pictures arrive after 1 frame"):
        source.read()


def test_a_silent_camera_is_given_up_after_one_time_out_but_may_start_slowly() -> None:
    capture = FakeCapture((False, 3.0), (False, 3.0), (True, 0.04), (False, 3.0), (True, 0.04))
    source = live(capture)
    assert source.read() is not None
    with pytest.raises(SourceError, match="no more pictures"):
        source.read()


def test_what_queued_while_a_stream_opened_is_skipped() -> None:
    capture = FakeCapture(*[(True, 0.001)] * 20, (True, 0.03), (True, 0.04))
    source = live(capture, driver_stamps=False)
    source.skip_backlog()
    frame = source.read()
    assert frame is not None
    assert frame.captured_at == pytest.approx(1000.09)
    assert frame.clock == "arrival"


def test_closing_releases_the_camera_and_ends_the_frames() -> None:
    capture = FakeCapture((True, 0.04))
    source = live(capture)
    source.close()
    source.close()
    assert source.read() is None
    assert capture.released == 2  # OpenCV allows it


def machine(root: Path) -> Path:
    """Lay out what the kernel shows of two cameras."""
    for node, name in (("video10", "bcm2835-codec"), ("video2", "HD Webcam")):
        folder = root / "sys/class/video4linux" / node
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
    by_id = root / "dev/v4l/by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-HD_Webcam-index0").symlink_to("../../video2")
    return root


def test_devices_are_listed_with_the_names_that_last(tmp_path: Path) -> None:
    assert list_devices(machine(tmp_path)) == [
        Device("/dev/video2", "HD Webcam", ("/dev/v4l/by-id/usb-HD_Webcam-index0",)),
        Device("/dev/video10", "bcm2835-codec", ()),
    ]
    assert list_devices(tmp_path / "nothing") == []


def test_an_absent_camera_lists_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="video77: no such device; present are /dev/video2"):
        check_device("/dev/video77", root=machine(tmp_path))
    with pytest.raises(SourceError, match="no camera is connected"):
        check_device("/dev/video77", root=tmp_path / "nothing")


@pytest.mark.parametrize("uri", ["/dev/video77", "77", "/dev/v4l/by-id/usb-none"])
def test_cameras_are_known_by_number_path_and_id(uri: str) -> None:
    with pytest.raises(SourceError, match=r"^/dev/v.*: no such device"):
        open_source(uri, SETTINGS)


def test_what_is_no_video_device_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="/dev/null: is no video device"):
        open_source("/dev/null", SETTINGS)
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="file: is no video device"):
        check_device(str(tmp_path / "file"))


def answer(abilities: int, refusal: int = 0) -> Callable[[int, int, bytearray], int]:
    """Return a driver that knows what it can do, and hands out buffers unless it refuses."""

    def ioctl(_: int, request: int, buffer: bytearray) -> int:
        if request == 0x80685600:
            buffer[:92] = struct.pack("16s32s32sIII", b"uvc", b"Cam", b"usb", 6, 1, abilities)
        elif refusal:
            raise OSError(refusal, os.strerror(refusal))
        return 0

    return ioctl


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let /dev/null pass for a video device: its major number counts as that of cameras."""
    monkeypatch.setattr("edge.sources.v4l2._VIDEO_MAJOR", os.major(os.stat("/dev/null").st_rdev))
    return "/dev/null"


def test_a_camera_tells_its_name(device: str) -> None:
    assert check_device(device, ioctl=answer(abilities=0x04200001)) == "Cam"
    assert check_device(device, ioctl=answer(0x04201000, errno.EINVAL)) == "Cam"  # multi-planar


def test_a_busy_camera_says_how_to_find_who_uses_it(device: str) -> None:
    with pytest.raises(SourceError, match=r"another program uses the camera \(EBUSY\); `fuser -v"):
        check_device(device, ioctl=answer(0x1, errno.EBUSY))


@pytest.mark.parametrize(
    ("age_s", "reason"),
    [(0.1, "plugged in just now and is being set up"), (3600.0, "add the user to the group")],
)
def test_a_device_that_was_just_plugged_in_may_not_be_for_its_group_yet(
    device: str, age_s: float, reason: str
) -> None:
    def forbids(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    changed_at = os.stat(device).st_ctime
    with pytest.raises(SourceError, match=reason):
        check_device(device, ioctl=forbids, now=lambda: changed_at + age_s)


def test_a_metadata_device_is_no_camera(device: str) -> None:
    with pytest.raises(SourceError, match="Cam takes no pictures through this device"):
        check_device(device, ioctl=answer(abilities=0x04A00000))


def test_a_device_that_knows_no_video_calls_is_told_apart(device: str) -> None:
    with pytest.raises(SourceError, match="is no video device"):
        check_device(device, ioctl=fcntl.ioctl)


@pytest.mark.hardware
def test_a_real_camera_delivers_frames_in_monotonic_time() -> None:
    devices = list_devices()
    if not devices:
        pytest.skip("no camera is connected")
    source = open_source(devices[0].path, SourceSettings())
    frames = [source.read() for _ in range(10)]
    source.close()
    times = [frame.captured_at for frame in frames if frame]
    assert len(times) == 10
    assert times == sorted(times)
