"""A camera that fails on demand, for a live run as a process: a word in a file says how."""

import sys
import threading
import time
from pathlib import Path

import numpy as np

from edge.errors import SourceError
from edge.sources import opencv
from edge.sources.synthetic import SyntheticPortrait
from edge.types import Frame

ENTRY = """import sys
for name in {!r}: sys.modules[name] = None
import edge.cli
from tests.faulty_camera import plug_in
plug_in()
sys.exit(edge.cli.main())"""
DEVICE = "/dev/video-of-a-test"
PERIOD_S = 1 / 30
_pictures = SyntheticPortrait()
_wall_clock = time.time


class Order:
    """What the test wants: `good`, `unplugged`, `silent`, `hanging`, `frozen` or `black`.

    A number after it is what the wall clock is set forward by, in seconds.
    """

    def __init__(self, path):
        self._path = Path(path)

    def give(self, word, step_s=0):
        fresh = self._path.with_name("fresh")
        fresh.write_text(f"{word} {step_s}")
        fresh.replace(self._path)

    def read(self):
        word, step_s = self._path.read_text().split()
        return word, float(step_s)


class FaultyCamera:
    """Thirty pictures a second, as a driver delivers them, while the order is good."""

    live, fps, description = True, 30.0, f"{DEVICE}: 640x480 at 30 fps"

    def __init__(self, order):
        self._order, self._index = order, 0
        self._closed = threading.Event()
        self._still = _pictures.image(0)
        self._refuse_unplugged()

    def read(self):
        word = self._refuse_unplugged()
        if word == "hanging":
            threading.Event().wait()  # nothing ever ends it
        while word == "silent" and not self._closed.wait(PERIOD_S):
            word = self._refuse_unplugged()
        if self._closed.wait(PERIOD_S):
            return None
        image = self._still if word == "frozen" else _pictures.image(self._index % 300)
        if word == "black":
            image = np.zeros_like(image)
        self._still = image
        self._index += 1
        return Frame(image, self._index - 1, time.monotonic(), "driver", time.time())

    def close(self):
        self._closed.set()

    def _refuse_unplugged(self):
        word, _ = self._order.read()
        if word == "unplugged":
            raise SourceError(f"{DEVICE}: there is no such camera; connect it")
        return word


def plug_in():
    """Put the camera in the driver's place, and the test's hand on the wall clock."""
    order = Order(sys.argv.pop(1))
    opencv.open_camera = lambda _device, _settings: FaultyCamera(order)
    time.time = lambda: _wall_clock() + order.read()[1]
