"""CSI cameras: tests run with a fake picamera2, and with the real one over a made-up libcamera.

The second skips where picamera2's package is not there: pip install --no-deps picamera2==0.3.38
"""

import gc
import importlib.util
import inspect
import os
import sys
import threading
import time

import numpy as np
import pytest

from edge.cli import main
from edge.config import SourceSettings
from edge.errors import SourceError, UsageError
from edge.sources import open_source
from edge.sources.csi import CsiCamera
from edge.sources.picamera import csi_cameras
from tests import fake_libcamera, fake_picamera
from tests.fake_picamera import Sensor, plain_picture

SETTINGS = SourceSettings(width=64, height=48, fps=30)
HAS_PACKAGE = importlib.util.find_spec("picamera2") is not None
# NullPreview starts its thread with what Python calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")


@pytest.fixture(params=["fake", "package"])
def connect(request, monkeypatch):
    """Connect a sensor; picamera2 is what the test runs with."""
    clean = []

    def install(sensor=None, **behaviour):
        sensor = sensor or Sensor(**behaviour)
        if request.param == "fake":
            fake_picamera.install(monkeypatch, sensor)
        else:
            clean.append(fake_libcamera.install(monkeypatch, sensor)[1])
        return sensor

    if request.param == "package" and not HAS_PACKAGE:
        pytest.skip("needs pip install --no-deps picamera2==0.3.38")
    yield install
    for uninstall in clean:
        uninstall()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("edge.sources.csi._TIMEOUT_S", 0.02)
    monkeypatch.setattr("edge.sources.csi._TIMEOUT_FRAMES", 0.0)


def shot(sensor, source, stamp_s=None):
    """Take a picture and read it."""
    sensor.shoot(stamp_s)
    return source.read()


def test_a_frame_is_rgb_at_the_size_that_was_asked_for(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    frame = shot(sensor, source)
    source.close()
    assert source.description == "csi:0 (imx219): BGR888 64x48 at 30 fps"
    assert (source.live, source.fps) == (True, pytest.approx(30, abs=0.01))
    np.testing.assert_array_equal(frame.image, plain_picture(64, 48))
    assert frame.image[20, 40].tolist() == [255, 0, 0]


@pytest.mark.parametrize("padding", [0, 13, 64])
@pytest.mark.parametrize("delivers", ["BGR888", "RGB888"])
def test_rows_may_be_longer_and_channels_in_the_other_order(connect, padding, delivers):
    sensor = connect(padding=padding, delivers=delivers)
    source = open_source("csi:0", SETTINGS)
    frame = shot(sensor, source)
    source.close()
    assert delivers in source.description
    np.testing.assert_array_equal(frame.image, plain_picture(64, 48))


@pytest.mark.parametrize("padding", [0, 64])
def test_the_smaller_output_is_converted_from_yuv(connect, padding):
    sensor = connect(padding=padding)
    source = open_source("csi:0?lores=32x24", SETTINGS)
    frame = shot(sensor, source)
    source.close()
    assert source.description == "csi:0 (imx219): YUV420 32x24 at 30 fps"
    assert frame.image.shape == (24, 32, 3)
    inner = np.s_[8:11, 12:28]  # colours bleed into their neighbours by a pixel
    assert np.abs(frame.image[inner].astype(int) - plain_picture(32, 24)[inner]).max() <= 3


@pytest.mark.parametrize(
    ("transform", "corner"),
    [
        ("none", (0, 0)),
        ("rotate180", (-1, -1)),
        ("hflip", (0, -1)),
        ("vflip", (-1, 0)),
    ],
)
def test_the_picture_is_turned(connect, transform, corner):
    sensor = connect()
    settings = SourceSettings(width=64, height=48, transform=transform)
    source = open_source("csi:0", settings)
    frame = shot(sensor, source)
    source.close()
    assert frame.image[corner].tolist() == [0, 255, 0]


def test_a_frame_is_a_fresh_array_that_the_camera_never_writes_to_again(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    first = shot(sensor, source)
    first.image[:] = 7  # it is ours
    others = [shot(sensor, source) for _ in range(3)]
    source.close()
    assert (first.image == 7).all()
    np.testing.assert_array_equal(others[-1].image, plain_picture(64, 48))


def test_every_buffer_goes_back_to_the_camera(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    frames = [shot(sensor, source) for _ in range(20)]
    source.close()
    assert sensor.asked["buffers"] == 4
    assert [frame.index for frame in frames] == list(range(20))


def test_rate_and_exposure_are_asked_for(connect):
    sensor = connect()
    settings = SourceSettings(width=64, height=48, fps=25, exposure_us=5000)
    open_source("csi:0", settings).close()
    controls = sensor.asked["controls"]
    assert controls == {"FrameDurationLimits": (40_000, 40_000), "ExposureTime": 5000}
    open_source("csi:0", SETTINGS).close()
    assert sensor.asked["controls"] == {"FrameDurationLimits": (33_333, 33_333)}


def test_a_long_exposure_comes_before_the_rate_and_that_is_said(connect, caplog):
    sensor = connect()
    settings = SourceSettings(width=64, height=48, fps=30, exposure_us=100_000)
    source = open_source("csi:0", settings)
    source.close()
    assert sensor.asked["controls"]["FrameDurationLimits"] == (100_000, 100_000)
    assert source.fps == pytest.approx(10)
    assert "at 10 fps, though 64x48 at 30 fps was asked for" in caplog.text


def test_what_the_sensor_cannot_do_is_said(connect, caplog):
    connect(fastest_us=16_667, size=(48, 32))
    source = open_source("csi:0", SourceSettings(width=64, height=48, fps=120))
    source.close()
    assert source.description == "csi:0 (imx219): BGR888 48x32 at 60 fps"
    assert "though 64x48 at 120 fps was asked for" in caplog.text


def test_a_format_that_is_not_read_is_refused_and_the_camera_closed(connect):
    sensor = connect(delivers="YUYV")
    with pytest.raises(SourceError, match="YUYV 64x48 at 30 fps; this format is not read"):
        open_source("csi:0", SETTINGS)
    sensor.delivers = ""
    open_source("csi:0", SETTINGS).close()


class Clocks:
    """Two clocks, of which one went on while the machine slept."""

    def __init__(self, slept_s=0.0):
        self.now, self.slept_s = 1000.0, slept_s

    def monotonic(self):
        return self.now

    def boottime(self):
        return self.now + self.slept_s


def timed(sensor, clocks):
    """Open the camera with other clocks."""
    opened = open_source("csi:0", SETTINGS)
    source = CsiCamera(opened._camera, "csi:0", "main", clocks.monotonic, clocks.boottime)
    return lambda stamp_s: shot(sensor, source, stamp_s), opened.close


@pytest.mark.parametrize(
    ("slept_s", "stamp_s", "clock", "captured_at"),
    [
        (0.0, 999.97, "driver", 999.97),
        (500.0, 999.97, "driver", 999.97),  # CLOCK_MONOTONIC, as the kernel stamps
        (500.0, 1499.97, "driver", 999.97),  # CLOCK_BOOTTIME, as libcamera documents
        (0.0, 1000.5, "driver", 1000.0),  # never later than its arrival
        (0.0, 900.0, "arrival", 1000.0),
        (0.0, 1.7e9, "arrival", 1000.0),  # the wall clock
        (0.0, None, "arrival", 1000.0),
    ],
)
def test_the_sensors_stamp_counts_where_it_is_plausible(
    connect, slept_s, stamp_s, clock, captured_at
):
    take, close = timed(connect(), Clocks(slept_s))
    frame = take(stamp_s)
    close()
    assert (frame.clock, frame.captured_at) == (clock, pytest.approx(captured_at, abs=1e-6))


def test_time_never_goes_back_within_a_camera(connect):
    take, close = timed(connect(), Clocks())
    times = [take(stamp_s).captured_at for stamp_s in (999.9, 999.8, 999.95)]
    close()
    assert times == pytest.approx([999.9, 999.9, 999.95])


@pytest.mark.usefixtures("impatient")
def test_a_silent_camera_is_one_clear_error_and_can_be_closed(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    shot(sensor, source)
    with pytest.raises(SourceError, match=r"no picture within 0.02 s after 1 frames; .*ribbon"):
        source.read()
    source.close()
    assert source.read() is None


@pytest.mark.usefixtures("impatient")
def test_a_picture_that_comes_after_a_time_out_goes_to_the_next_read(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    for _ in range(6):  # more often than there are buffers
        with pytest.raises(SourceError, match="no picture"):
            source.read()
        assert shot(sensor, source) is not None
    source.close()


def test_closing_ends_a_read_that_waits(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    ends = []
    reader = threading.Thread(target=lambda: ends.append(source.read()), daemon=True)
    reader.start()
    while not sensor.waits():
        time.sleep(0)
    source.close()
    reader.join(10)
    assert ends == [None]
    source.close()


def test_a_driver_that_takes_no_buffer_back_is_one_clear_error(connect):
    sensor = connect()
    source = open_source("csi:0", SETTINGS)
    sensor.gone = True
    with pytest.raises(
        SourceError, match=r"csi:0 .*: Failed to queue request: No such device after"
    ):
        shot(sensor, source)
    source.close()


@pytest.mark.parametrize(
    ("behaviour", "refusal"),
    [
        (
            {"refusal": "Failed to acquire camera: Device or resource busy"},
            r"csi:0 \(imx219\): another program uses the camera; `sudo fuser -v /dev/media\*`",
        ),
        ({"refusal": "Failed to acquire camera: odd"}, "does not start, .*odd; see .*rpicam-hello"),
        pytest.param(
            {"forbidden": True},
            r"permission denied \(/dev/dma_heap/.*\); add the user to the group video",
            marks=pytest.mark.filterwarnings(  # picamera2's allocator, when it goes half made
                "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
            ),
        ),
        ({"full": True}, r"no memory for its pictures \(.*Cannot allocate memory\); ask for a sm"),
    ],
)
def test_a_camera_that_cannot_be_opened_says_why_and_leaves_nothing_open(
    connect, behaviour, refusal
):
    sensor = connect(**behaviour)
    with pytest.raises(SourceError, match=refusal):
        open_source("csi:0", SETTINGS)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(SourceError):
            open_source("csi:0", SETTINGS)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    sensor.refusal, sensor.forbidden, sensor.full = "", False, False
    open_source("csi:0", SETTINGS).close()


def test_an_absent_camera_lists_those_that_are_there(connect):
    connect(cameras=[("imx219", "/base/i2c@1/imx219@10"), ("UVC", "/base/usb@1,0:1.0-046d:0825")])
    with pytest.raises(
        SourceError, match=r"csi:2: there is no such camera; present are csi:\d \(i"
    ):
        open_source("csi:2", SETTINGS)


def test_without_any_camera_the_cable_is_suspected(connect):
    connect(cameras=[])
    with pytest.raises(SourceError, match="csi:0: libcamera finds no camera; check the ribbon"):
        open_source("csi:0", SETTINGS)


def test_usb_cameras_are_left_to_v4l2(connect):
    connect(cameras=[("UVC", "/base/usb@1,0:1.0-046d:0825")])
    with pytest.raises(SourceError, match="csi:0: is a USB camera; use its /dev/v4l/by-id/"):
        open_source("csi:0", SETTINGS)
    assert csi_cameras() == []


def test_devices_lists_csi_cameras(connect, capsys):
    connect()
    assert csi_cameras() == [("csi:0", "imx219", "/base/soc/i2c0mux/i2c@1/imx219@10")]
    assert main(["devices"]) == 0
    assert "csi:0  imx219  /base/soc/i2c0mux/i2c@1/imx219@10\n" in capsys.readouterr().out


@pytest.mark.parametrize("uri", ["csi:", "csi:x", "csi:0?lores=big", "csi:-1", "csi:0?fps=3"])
def test_an_address_that_is_none_is_refused(uri):
    with pytest.raises(UsageError, match="is no camera; write csi:N, such as csi:0"):
        open_source(uri, SETTINGS)


@pytest.mark.parametrize("size", ["80x48", "64x60", "8x8"])
def test_the_smaller_output_cannot_be_larger(size):
    with pytest.raises(UsageError, match=f"lores is {size}, allowed is from 16x16 to .*64x48"):
        open_source(f"csi:0?lores={size}", SETTINGS)


def test_without_picamera2_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(
        UsageError, match=r"picamera2 is not installed; `sudo apt install python3-pic"
    ):
        open_source("csi:0", SETTINGS)
    assert csi_cameras() == []


def test_a_picamera2_that_does_not_load_says_why(monkeypatch):
    class Broken:
        def __getattr__(self, name):
            raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")

    monkeypatch.setitem(sys.modules, "picamera2", Broken())
    with pytest.raises(UsageError, match=r"does not load, numpy.dtype size changed.*; use the"):
        csi_cameras()


@pytest.mark.skipif(not HAS_PACKAGE, reason="needs pip install --no-deps picamera2==0.3.38")
def test_the_fake_has_nothing_that_the_real_picamera2_lacks(monkeypatch):
    package, uninstall = fake_libcamera.install(monkeypatch, Sensor())
    pairs = [
        (fake_picamera.Picamera2, package.Picamera2.__base__),
        (fake_picamera.Request, package.CompletedRequest),
    ]
    compared = 0
    for fake, real in pairs:
        for name, member in vars(fake).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                ours, theirs = parameters(member), parameters(getattr(real, name))
                assert ours - {"others"} <= theirs, name
                compared += 1
    uninstall()
    assert compared == 11


def parameters(function):
    return set(inspect.signature(function).parameters)
