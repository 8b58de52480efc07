"""What the daemon's tests share: a service manager's end of the socket, a clock, scripted parts."""

import socket
import threading
import time

from edge.camera import Camera
from edge.config import Settings, SourceSettings
from edge.daemon import Daemon, Service
from edge.governor import Governor
from edge.notify import Notifier
from edge.pipeline import Live, Run
from edge.reload import Parts
from edge.runtime import RuntimeFolder
from edge.saved import Moment, Writer
from edge.sinks.detached import Detached
from edge.tracker import Tracker
from edge.types import Detections
from edge.vitals import Heat, Vitals
from tests.conftest import ScriptedDetector, plain_frame

PERIOD_S = 1 / 30


class Manager:
    """A real datagram socket, as a service manager has it."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self.address = address.replace("\0", "@")

    def said(self):
        """All messages that wait."""
        self._socket.setblocking(False)
        messages = []
        try:
            while True:
                messages.append(self._socket.recv(65_536).decode())
        except BlockingIOError:
            return messages

    def wait_for(self, beginning, seconds=30.0):
        """The next message that begins so; those before it are gone."""
        end, message = time.monotonic() + seconds, ""
        while not message.startswith(beginning):
            self._socket.settimeout(max(end - time.monotonic(), 1e-3))
            message = self._socket.recv(65_536).decode()
            if time.monotonic() > end:  # others come all the time
                raise TimeoutError(beginning)
        return message

    def silent(self, beginning, seconds):
        """Whether nothing comes for so long that begins so."""
        try:
            self.wait_for(beginning, seconds)
        except TimeoutError:
            return True
        return False

    def close(self):
        self._socket.close()


def wait_until(condition, seconds=30.0):
    """Wait for what another thread or process is about to do, and leave it the processor."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.01)


class Clock:
    """Both clocks of a machine, set by hand."""

    def __init__(self, monotonic=1000.0):
        self.monotonic, self.wall, self.boot = monotonic, 1.7e9, "this boot"

    def __call__(self):
        return self.monotonic

    def moment(self):
        return Moment(boot=self.boot, monotonic=self.monotonic, time=self.wall)

    def advance(self, seconds):
        self.monotonic += seconds
        self.wall += seconds


class Frames:
    """A camera that takes a picture when the one before was tracked, and ends after so many."""

    live, description, fps = True, "frames", 30.0

    def __init__(self, clock, count):
        self._clock, self._count, self._index = clock, count, 0
        self._wanted = threading.Semaphore()

    def go_on(self, _record=None):
        self._wanted.release()

    def read(self):
        self._wanted.acquire()
        if self._index >= self._count:
            return None
        self._clock.advance(PERIOD_S)
        frame = plain_frame(self._index, self._clock.monotonic)
        self._index += 1
        return frame

    def close(self):
        self._count = 0
        self.go_on()


class KeepingSink:
    """Keeps every record; may be told to wait in the middle of a write."""

    wants_frame = False

    def __init__(self, name="kept", wait=None):
        self.name, self.records, self.closed = name, [], threading.Event()
        self.writing, self._wait = threading.Event(), wait

    def write(self, record, frame=None):  # noqa: ARG002
        self.records.append(record)
        self.writing.set()
        if self._wait is not None:
            self._wait.wait(30)

    def close(self):
        self.closed.set()


class Sees(ScriptedDetector):
    """Finds the same in every picture."""

    def __init__(self, found, labels=("thing",), wait=None):
        super().__init__([], labels)
        self._found, self._wait, self.looking = found, wait, threading.Event()

    def detect(self, image, region=None):
        if region is not None:
            return Detections.none()
        self.shown.append(int(image[0, 0, 0]))
        self.looking.set()
        if self._wait is not None:
            self._wait.wait(30)
        return self._found


class AtOnce(Writer):
    """Writes in the thread of who gives, so that the clock cannot run ahead."""

    def give(self, jobs):
        for name, job in jobs.items():
            self._do(name, job)


class Case:
    """A daemon and all that it looks after, on a clock set by hand."""

    def __init__(self, folder, watchdog_s=None):
        self.clock, self.manager = Clock(), Manager(str(folder / "notify"))
        self.depth = 1000  # of a sink's queue: time flies here, and no record is to be lost
        self.runtime, self.state = folder / "runtime", folder / "state"
        for made in (self.runtime, self.state):
            made.mkdir()
        notifier = Notifier(self.manager.address, watchdog_s)
        self.service = Service(notifier, RuntimeFolder(self.runtime), self.state)
        self.asked = threading.Event()

    def parts(self, detector, frames, sinks=(), **settings):
        wanted = Settings(sinks=tuple(sink.name for sink in sinks) or ("none",), **settings)
        tracker = Tracker([detector])
        return Parts(
            settings=wanted,
            tracker=tracker,
            governor=Governor(wanted.budget, tracker.every, Heat),
            outputs={sink.name: Detached(sink, self.depth, self.clock) for sink in sinks},
            open_source=lambda: frames,
            once=False,
        )

    def daemon(self, parts, load=None):
        run = Run("front")
        vitals = Vitals(run.camera, run.id, run.counts, self.clock.monotonic)
        camera = Camera(parts.open_source, SourceSettings(), monotonic=self.clock)
        outputs = list(parts.outputs.values())
        live = Live(camera, parts.tracker, outputs, run, vitals, parts.governor)
        daemon = Daemon(live, parts, self.service, load, self._reload_asked, self.clock.moment)
        daemon._writer = AtOnce()
        return daemon

    def run(self, daemon, stopped=lambda: False, between=lambda: None, seen=lambda _: None):
        """Run until the source ends or `stopped`; `between` comes before the daemon's."""
        live, source = daemon.live, daemon.parts.open_source()

        def both():
            between()
            daemon.between()

        def seen_and_on(record):
            seen(record)
            source.go_on()

        daemon.resume()
        daemon.ready()
        live.loop(stopped, both, seen_and_on)
        daemon.close()

    def _reload_asked(self):
        asked = self.asked.is_set()
        self.asked.clear()
        return asked
