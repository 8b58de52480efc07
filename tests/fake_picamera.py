"""A CSI camera without hardware: `Sensor` is what the driver does, `Picamera2` stands before it.

`fake_libcamera` puts the real picamera2 before the same sensor, so that tests compare the two.
"""

import os
import sys
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np

SECOND_NS = 1_000_000_000


def plain_picture(width, height):
    """Red above blue, with a green corner at the top left."""
    picture = np.full((height, width, 3), (255, 0, 0), np.uint8)
    picture[height // 2 :] = (0, 0, 255)
    picture[: height // 4, : width // 4] = (0, 255, 0)
    return picture


@dataclass
class Sensor:
    """What is connected, how it behaves, and the pictures that it takes when told to."""

    cameras: list[tuple[str, str]] = field(
        default_factory=lambda: [("imx219", "/base/soc/i2c0mux/i2c@1/imx219@10")]
    )
    refusal: str = ""
    """What libcamera says when the camera is acquired; `forbidden` and `full` come later."""
    forbidden: bool = False
    full: bool = False
    gone: bool = False
    """The driver takes no buffer back any more."""
    delivers: str = ""
    """A format in place of the one that was asked for."""
    padding: int = 0
    """Bytes at the end of each row."""
    fastest_us: int = 8333
    size: tuple[int, int] | None = None
    """A size in place of the one that was asked for."""
    asked: dict = field(default_factory=dict)
    """What the camera was configured and started with."""
    take: object = None
    """The running camera's: takes a picture with a stamp."""
    waits: object = None
    """Whether a capture waits for a picture."""

    def shoot(self, stamp_s=None):
        """Take a picture; its metadata hold the stamp, in seconds, if there is one."""
        self.take({} if stamp_s is None else {"SensorTimestamp": round(stamp_s * SECOND_NS)})

    def format(self, stream):
        """Return the format, size and row length that the driver makes of what it is asked."""
        asked = self.delivers if self.delivers and stream["format"] != "YUV420" else ""
        name, (width, height) = asked or stream["format"], self.size or stream["size"]
        row = {"YUV420": width, "YUYV": 2 * width}.get(name, 3 * width)
        return name, (width, height), row + self.padding

    def memory(self, name, size, stride, flips):
        """Return a picture as it lies in a buffer."""
        picture = plain_picture(*size)
        picture = picture[:: -1 if flips["vflip"] else 1, :: -1 if flips["hflip"] else 1]
        picture = np.ascontiguousarray(picture)
        if name != "YUV420":
            order = slice(None, None, -1) if name == "RGB888" else slice(None)
            return padded(picture[..., order].reshape(size[1], -1), stride).tobytes()
        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).reshape(-1)
        pixels, (width, height) = size[0] * size[1], size
        colours = planes[pixels:].reshape(height, width // 2)
        return (
            padded(planes[:pixels].reshape(height, width), stride).tobytes()
            + padded(colours, stride // 2).tobytes()
        )


def padded(rows, stride):
    """Return rows with junk at their ends."""
    return np.pad(rows, ((0, 0), (0, stride - rows.shape[1])), constant_values=77)


class Transform:
    """As libcamera's."""

    def __init__(self, other=None, hflip=0, vflip=0, transpose=0):
        self.hflip, self.vflip, self.transpose = bool(hflip), bool(vflip), bool(transpose)
        if other is not None:
            self.hflip, self.vflip, self.transpose = other.hflip, other.vflip, other.transpose

    def __str__(self):
        return f"hflip {self.hflip}, vflip {self.vflip}"

    def flips(self):
        return {"hflip": self.hflip, "vflip": self.vflip}


class Request:
    """A picture in a buffer of the camera."""

    def __init__(self, camera, metadata):
        self._camera, self._metadata = camera, metadata
        camera.lent += 1

    def make_array(self, name):
        stream = self._camera.camera_configuration()[name]
        (width, height), stride = stream["size"], stream["stride"]
        flips = self._camera.asked["transform"].flips()
        memory = self._camera.sensor.memory(stream["format"], stream["size"], stride, flips)
        rows = np.frombuffer(memory, np.uint8).reshape(-1, stride)
        if stream["format"] == "YUV420":
            return rows.copy()
        return rows[:, : 3 * width].copy().reshape(height, width, 3)

    def get_metadata(self):
        return self._metadata

    def release(self):
        self._camera.lent -= 1
        if self._camera.sensor.gone:
            raise RuntimeError("Failed to queue request: No such device")


class Picamera2:
    """As much of picamera2's class as the adapter uses; `sensor` is set by `install`."""

    sensor = Sensor()

    @staticmethod
    def global_camera_info():
        raise NotImplementedError

    def __init__(self, camera_num=0):
        reading, self.notifyme_w = os.pipe2(os.O_NONBLOCK)
        self.notifymeread = os.fdopen(reading, "rb")
        self.is_open = False
        if self.sensor.refusal:
            cause = RuntimeError(self.sensor.refusal)
            raise RuntimeError("Camera __init__ sequence did not complete.") from cause
        self.is_open = True
        if self.sensor.forbidden:
            raise PermissionError(13, "Permission denied", "/dev/dma_heap/vidbuf_cached")
        self._changed = threading.Condition()
        self._newest = None
        self._waiting = 0
        self._cancelled = False
        self._preview = None
        self.lent = 0
        self.asked = {}
        self._number = camera_num
        self.sensor.waits = lambda: self._waiting > 0
        self.allocator = object()

    @property
    def camera_controls(self):
        return {"FrameDurationLimits": (self.sensor.fastest_us, 11_766_829, 33_333)}

    def create_video_configuration(self, main, lores, **others):
        return {"main": dict(main), "lores": lores and dict(lores), **others}

    def configure(self, camera_config=None):
        if self.sensor.full:
            raise OSError(12, "Cannot allocate memory")
        self.asked = dict(camera_config)
        for name in ("main", "lores"):
            if stream := self.asked[name]:
                form, size, stride = self.sensor.format(stream)
                self.asked[name] = {"format": form, "size": size, "stride": stride}

    def start(self):
        self._preview = object()
        self.sensor.asked = {
            "transform": self.asked["transform"].flips(),
            "controls": self.asked["controls"],
            "buffers": self.asked["buffer_count"],
        }
        self.sensor.take = self._take

    def camera_configuration(self):
        return self.asked

    def capture_request(self, wait=None):
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._newest is not None or self._cancelled, wait)
            self._waiting -= 1
            metadata, self._newest = self._newest, None
        if self._cancelled:
            raise CancelledError
        if metadata is None:
            raise TimeoutError
        return Request(self, metadata)

    def cancel_all_and_flush(self):
        with self._changed:
            self._cancelled = self._waiting > 0
            self._changed.notify_all()

    def stop_preview(self):
        if self._preview is None:
            raise RuntimeError("No preview specified.")
        self._preview = None

    def close(self):
        if not self.is_open:
            return
        self.is_open = False
        self.notifymeread.close()
        os.close(self.notifyme_w)
        del self.allocator

    def _take(self, metadata):
        assert self.lent < self.asked["buffer_count"], "no buffer is left"
        with self._changed:
            self._newest = metadata
            self._changed.notify_all()


def install(monkeypatch, sensor):
    """Let `import picamera2` and `import libcamera` find the fakes."""
    found = [
        {"Model": model, "Location": 2, "Rotation": 0, "Id": place, "Num": number}
        for number, (model, place) in enumerate(sensor.cameras)
    ]
    attributes = {"sensor": sensor, "global_camera_info": staticmethod(lambda: found)}
    libcamera = ModuleType("libcamera")
    libcamera.Transform = Transform
    libcamera.ColorSpace = SimpleNamespace(Smpte170m=lambda: "Smpte170m")
    picamera2 = ModuleType("picamera2")
    picamera2.Picamera2 = type("Picamera2", (Picamera2,), attributes)
    monkeypatch.setitem(sys.modules, "libcamera", libcamera)
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
