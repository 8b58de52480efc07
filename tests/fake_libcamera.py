"""The real picamera2 without a camera: a made-up libcamera below it, before the same `Sensor`.

Only what picamera2 touches is here. Buffers are memory files; what it imports for encoding and
display is replaced by empty modules.
"""

import importlib
import mmap
import os
import sys
from enum import Enum
from types import ModuleType, SimpleNamespace

from tests.fake_picamera import Transform

STUBS = (
    *("videodev2", "av", "PIL", "PIL.Image", "piexif", "simplejpeg", "pidng", "pidng.camdefs"),
    *("pidng.core", "prctl", "libarchive", "tqdm", "OpenEXR", "kms", "jsonschema"),
)


class Blank(type):
    """A class that has everything, and makes objects of no use."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *_, **__):
        return None


class Stub(ModuleType):
    """A module in which everything is a blank class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Blank(name, (), {})


class Id:
    """Of a control or property."""

    def __init__(self, name):
        self.name, self.type = name, "plain"


NAMES = ("ExposureTime", "ExposureTimeMode", "AnalogueGain", "AnalogueGainMode")
NAMES += ("FrameDurationLimits", "NoiseReductionMode", "SensorTimestamp")
CONTROLS = {name: Id(name) for name in NAMES}
PROPERTIES = {
    name: Id(name) for name in ("Model", "Location", "Rotation", "ColorFilterArrangement")
}
ROLE = Enum("ROLE", "StillCapture Raw VideoRecording Viewfinder")
TURN = Enum(
    "TURN",
    "Rotate0 Rotate0Mirror Rotate180 Rotate180Mirror Rotate90 Rotate90Mirror Rotate270 "
    "Rotate270Mirror",
)
FLIPS = {
    TURN.Rotate0: (False, False),
    TURN.Rotate0Mirror: (True, False),
    TURN.Rotate180Mirror: (False, True),
    TURN.Rotate180: (True, True),
}
DONE = Enum("DONE", "Complete Cancelled")
GOOD = Enum("GOOD", "Success Error")
VALID = Enum("VALID", "Valid Adjusted Invalid")


class Size:
    def __init__(self, width=0, height=0):
        self.width, self.height = width, height


class Rectangle:
    pass


class ColorSpace:
    YcbcrEncoding = Enum("YcbcrEncoding", "Null Rec601")
    Range = Enum("Range", "Full Limited")

    def __init__(self, other=None, name=""):
        self.name = other.name if other else name
        self.primaries = self.transferFunction = self.name
        self.ycbcrEncoding, self.range = self.YcbcrEncoding.Rec601, self.Range.Limited

    def __str__(self):
        return self.name


for space in ("Sycc", "Smpte170m", "Rec709", "Raw"):
    setattr(ColorSpace, space, staticmethod(lambda name=space: ColorSpace(name=name)))


class Stream:
    """The configuration of one stream, and the stream itself."""

    def __init__(self, role):
        self.role, self.stream, self.color_space = role, self, None
        self.size, self.pixel_format, self.stride, self.frame_size = Size(640, 480), "", 0, 0
        self.buffer_count = 0
        raw = SimpleNamespace(pixel_formats=["SRGGB10_CSI2P"], sizes=lambda _: [Size(3280, 2464)])
        self.formats = raw


class Configuration(list):
    """What libcamera is asked for, stream by stream."""

    def __init__(self, sensor, roles):
        super().__init__(Stream(role) for role in roles)
        self.sensor, self.orientation, self.sensor_config = sensor, TURN.Rotate0, None

    def at(self, index):
        return self[index]

    def validate(self):
        for stream in self:
            asked = {
                "format": str(stream.pixel_format),
                "size": (stream.size.width, stream.size.height),
            }
            if stream.role is ROLE.Raw:
                stream.stride, stream.frame_size = 4160, 4096
                continue
            stream.pixel_format, size, stream.stride = self.sensor.format(asked)
            stream.size = Size(*size)
            rows = size[1] * 3 // 2 if stream.pixel_format == "YUV420" else size[1]
            stream.frame_size = stream.stride * rows
        return VALID.Valid


class Plane:
    fd = offset = length = 0


class FrameBuffer:
    Plane = Plane

    def __init__(self, planes):
        self.planes, self.metadata = planes, SimpleNamespace(status=GOOD.Success)


class Request:
    Status = DONE

    def __init__(self, cookie):
        self.cookie, self.status, self.buffers, self.metadata = cookie, None, {}, {}

    def add_buffer(self, stream, buffer):
        self.buffers[stream] = buffer

    def reuse(self):
        self.status = None

    def set_control(self, name, value):
        pass


class Camera:
    """One camera: takes a picture into the request that was queued first."""

    def __init__(self, manager, sensor, model, place):
        self.id, self._manager, self._sensor = place, manager, sensor
        self.properties = {
            PROPERTIES["Model"]: model,
            PROPERTIES["Location"]: 2,
            PROPERTIES["Rotation"]: 0,
            PROPERTIES["ColorFilterArrangement"]: 0,
        }
        limits = SimpleNamespace(min=sensor.fastest_us, max=11_766_829, default=33_333)
        others = SimpleNamespace(min=0, max=1_000_000, default=0)
        self.controls = {
            CONTROLS[name]: limits if name == "FrameDurationLimits" else others for name in NAMES
        }
        self._queued = []

    def acquire(self):
        if self._sensor.refusal:
            raise RuntimeError(self._sensor.refusal)

    def release(self):
        pass

    def generate_configuration(self, roles):
        return Configuration(self._sensor, roles)

    def configure(self, configuration):
        self._configuration = configuration

    def start(self, controls):
        hflip, vflip = FLIPS[self._configuration.orientation]
        set_by_picamera2 = ("ExposureTimeMode", "NoiseReductionMode")
        named = {name.name: value for name, value in controls.items()}
        self._flips = {"hflip": hflip, "vflip": vflip}
        self._sensor.asked = {
            "transform": self._flips,
            "controls": {k: v for k, v in named.items() if k not in set_by_picamera2},
            "buffers": self._configuration.at(0).buffer_count,
        }
        self._sensor.take = self._take

    def stop(self):
        self._queued.clear()

    def create_request(self, cookie):
        return Request(cookie)

    def queue_request(self, request):
        if self._sensor.gone:
            raise RuntimeError("Failed to queue request: No such device")
        self._queued.append(request)

    def _take(self, metadata):
        assert self._queued, "no buffer is left"
        request = self._queued.pop(0)
        for stream, buffer in request.buffers.items():
            if stream.role is not ROLE.Raw:
                size = (stream.size.width, stream.size.height)
                memory = self._sensor.memory(stream.pixel_format, size, stream.stride, self._flips)
                os.pwrite(buffer.planes[0].fd, memory, 0)
        request.metadata = {CONTROLS[name]: value for name, value in metadata.items()}
        request.status = DONE.Complete
        self._manager.completed(request)


class Manager:
    """All cameras, and the requests that they completed."""

    def __init__(self, sensor):
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.cameras = [Camera(self, sensor, *camera) for camera in sensor.cameras]
        self._ready = []

    def get_ready_requests(self):
        ready, self._ready = self._ready, []
        if ready:
            os.eventfd_read(self.event_fd)
        return ready

    def completed(self, request):
        os.eventfd_write(self.event_fd, 1)
        self._ready.append(request)


class Heap:
    """A DMA heap of memory files."""

    def __init__(self, sensor):
        self._sensor = sensor
        if sensor.forbidden:
            raise PermissionError(13, "Permission denied", "/dev/dma_heap/vidbuf_cached")

    def alloc(self, name, size):
        if self._sensor.full:
            raise OSError(12, "Cannot allocate memory")
        fd = os.memfd_create(name)
        os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        return SimpleNamespace(get=lambda: fd, isValid=lambda: True)

    def close(self):
        pass


def libcamera_of(sensor):
    """Return the module."""
    module = ModuleType("libcamera")
    manager = Manager(sensor)
    draft = SimpleNamespace(
        NoiseReductionModeEnum=SimpleNamespace(Minimal=3, HighQuality=2, Fast=1)
    )
    vars(module).update(
        StreamRole=ROLE,
        Orientation=TURN,
        Size=Size,
        Rectangle=Rectangle,
        ColorSpace=ColorSpace,
        Transform=Transform,
        PixelFormat=str,
        FrameBuffer=FrameBuffer,
        Request=Request,
        ControlType=SimpleNamespace(Rectangle="rectangle", Size="size"),
        FrameMetadata=SimpleNamespace(Status=GOOD),
        CameraConfiguration=SimpleNamespace(Status=VALID),
        SensorConfiguration=SimpleNamespace,
        Camera=Camera,
        CameraManager=SimpleNamespace(singleton=lambda: manager),
        controls=SimpleNamespace(draft=draft, **CONTROLS),
        properties=SimpleNamespace(**PROPERTIES),
        _libcamera=SimpleNamespace(ColorSpace=ColorSpace, Transform=Transform),
    )
    return module, manager


def install(monkeypatch, sensor):
    """Import the real picamera2 over a made-up libcamera; returns a function that takes it away."""
    module, manager = libcamera_of(sensor)
    for name in STUBS:
        monkeypatch.setitem(sys.modules, name, Stub(name))
    monkeypatch.setitem(sys.modules, "libcamera", module)
    monkeypatch.setitem(sys.modules, "picamera2", None)
    del sys.modules["picamera2"]  # put back as it was after the test
    picamera2 = importlib.import_module("picamera2")
    allocator = importlib.import_module("picamera2.allocators.dmaallocator")
    allocator.DmaHeap = lambda: Heap(sensor)
    allocator.fcntl = SimpleNamespace(ioctl=lambda *_: 0)
    created = []

    class Watched(picamera2.Picamera2):
        def __init__(self, camera_num=0):
            created.append(self)
            sensor.waits = lambda: bool(self._job_list)
            super().__init__(camera_num)

    monkeypatch.setattr(picamera2, "Picamera2", Watched)

    def uninstall():
        for camera in created:
            camera.close()
        for name in [name for name in sys.modules if name.partition(".")[0] == "picamera2"]:
            del sys.modules[name]
        os.close(manager.event_fd)

    return picamera2, uninstall
