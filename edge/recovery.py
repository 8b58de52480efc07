"""A camera that goes away and comes back: how long until a frame, and a track, is there again."""

import random
import threading
import time
from dataclasses import dataclass

from edge.camera import Camera
from edge.config import SourceSettings
from edge.errors import SourceError
from edge.pipeline import Live, Run
from edge.reel import Steady, painted
from edge.tracker import Tracker
from edge.types import Record
from edge.vitals import Vitals

STEADY_S = 0.5
"""It stays for so long after a track is there."""
_PICTURES = 300


@dataclass(frozen=True)
class Comeback:
    """One time that the camera came back; seconds since it could be opened again."""

    away_s: float
    frame_s: float
    """Until the first frame was captured."""
    track_s: float
    """Until the record with the first confirmed track was written."""


class Plug:
    """A camera of two faces that starts at once, and is in or out."""

    def __init__(self) -> None:
        """Begin with it in."""
        self.out = False
        self.back_at = 0.0
        self._pictures = painted(_PICTURES)
        self._timer: threading.Timer | None = None

    def take_out(self, for_s: float) -> None:
        """Take it out; a thread of its own puts it in again, at no point of the loop's choosing."""
        self.out = True
        self._timer = threading.Timer(for_s, self._put_in)
        self._timer.daemon = True
        self._timer.start()

    def open(self) -> Steady:
        """Open it.

        Raises:
            SourceError: It is out.
        """
        if self.out:
            raise SourceError("plug: is not in; put it in")
        return Steady(self._pictures, there=lambda: not self.out)

    def _put_in(self) -> None:
        self.back_at = time.monotonic()
        self.out = False


class Comebacks:
    """A live run whose camera is taken out again and again."""

    def __init__(
        self,
        tracker: Tracker,
        settings: SourceSettings,
        away_s: tuple[float, float],
        seed: int = 0,
    ) -> None:
        """Put the run together.

        Args:
            tracker: Finds faces.
            settings: What the camera's life hangs on.
            away_s: Least and most time that it is away; if it is longer than a track may be lost,
                every track is a new one.
            seed: Of how long it is away each time.
        """
        self.all: list[Comeback] = []
        self._plug, self._away_s, self._random = Plug(), away_s, random.Random(seed)
        run = Run("bench", "bench")
        camera = Camera(self._plug.open, settings)
        vitals = Vitals(run.camera, run.id, run.counts, camera.monotonic())
        self._live = Live(camera, tracker, [], run, vitals)
        self._went_at = self._steady_at = 0.0
        self._away = False  # from when it is taken out until there is a track again
        self._frame_s: float | None = None

    def run(self, times: int) -> list[Comeback]:
        """Take it out so many times; return what each comeback took."""
        self._live.loop(lambda: len(self.all) >= times, self._between, self._seen)
        return self.all

    def _between(self) -> None:
        now = time.monotonic()
        if not self._away and self._steady_at and now >= self._steady_at:
            self._away, self._frame_s, self._went_at = True, None, now
            self._plug.take_out(self._random.uniform(*self._away_s))

    def _seen(self, record: Record) -> None:
        now, back_at = time.monotonic(), self._plug.back_at
        there = record.condition == "good" and not self._plug.out and record.captured_at >= back_at
        if not there:
            return
        if self._away and self._frame_s is None:
            self._frame_s = record.captured_at - back_at
        if all(track.status != "confirmed" for track in record.tracks):
            return
        if not self._steady_at:  # the first start is no comeback
            self._steady_at = now + STEADY_S
        elif self._away and self._frame_s is not None:
            self._away, self._steady_at = False, now + STEADY_S
            took = back_at - self._went_at
            self.all.append(Comeback(took, self._frame_s, now - back_at))
