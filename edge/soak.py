"""A long run in a short time: the whole daemon over a made-up camera, and what of it grows."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import numpy as np

from edge import bundle as bundles
from edge import proof
from edge.camera import Camera
from edge.config import FileSettings, Settings, SourceSettings, TrackingSettings
from edge.daemon import Daemon, Service
from edge.governor import Governor
from edge.heat import HeatReader
from edge.notify import Notifier
from edge.pipeline import Live, Run
from edge.reel import Reel
from edge.reload import Parts
from edge.runtime import RuntimeFolder
from edge.sinks import TrackSink, open_sink
from edge.sinks.address import page_of
from edge.sinks.detached import Detached
from edge.sinks.http import Http
from edge.summary import Summary
from edge.tracker import Tracker
from edge.types import Floats, Frame, Record
from edge.vitals import Vitals

_PAGES = ("/metrics", "/status.json", "/preview.jpg", "/healthz")
_AROUND = 50  # frames of which the least memory counts: a frame on its way is no growth
_WARM = 0.1  # of the frames
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_WAIT_S = 0.05  # before a lost camera is opened anew


@dataclass(frozen=True)
class Plan:
    """What happens in a soak, and after how many frames again."""

    frames: int = 1_000_000
    pictures: int = 300
    """Painted beforehand; they come round again and again."""
    samples: int = 20
    fault_every: int = 10_000
    """The camera goes away, and the first opening after it fails."""
    reload_every: int = 0
    """Models are loaded anew; 0: never."""
    ask_every: int = 1_000
    """A page is asked for: metrics, status, preview and health in turn."""
    files_mb: float = 16.0
    """What the bounded file may hold."""


@dataclass(frozen=True)
class Sample:
    """What the process holds after so many frames."""

    frames: int
    rss_mb: float
    """2**20 bytes; the least of the last 50 frames."""
    blocks: int
    """Of Python's own memory."""
    objects: int
    """That Python's collector looks after."""
    descriptors: int
    threads: int
    """Of the kernel's count: Python's and all others."""


@dataclass
class Soaked:
    """What a soak did, and what it held meanwhile."""

    samples: list[Sample] = field(default_factory=list)
    looks: int = 0
    faults: int = 0
    reloads: int = 0
    asked: int = 0
    ids: int = 0
    """Tracks that were born."""
    unwritten: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def warm(self) -> list[Sample]:
        """The samples after warm-up, which is the first tenth."""
        last = self.samples[-1].frames + 1  # a sample comes one frame before a round number
        return [sample for sample in self.samples if sample.frames + 1 >= last * _WARM]

    def growth(self, what: str) -> float:
        """Return how much more there is of a thing at the end than after warm-up."""
        return float(getattr(self.warm[-1], what) - getattr(self.warm[0], what))

    def rise_mb(self) -> float:
        """Return by how much memory rises over all frames after warm-up, as a line fitted to it."""
        at: Floats = np.array([sample.frames for sample in self.warm], float)
        if len(at) < 2:
            return 0.0
        slope = np.polyfit(at - at[0], [sample.rss_mb for sample in self.warm], 1)[0]
        return float(slope * (at[-1] - at[0]))


class Stuck:
    """A sink that is stuck in its first record for half of the warm-up.

    So many frames wait as ever can, and later growth is none of what some slow moment needs.
    """

    name, wants_frame = "stuck", True

    def __init__(self) -> None:
        """Get stuck at the first record."""
        self.freed = threading.Event()

    def write(self, _record: Record, _frame: Frame | None = None) -> None:
        """Wait to be freed."""
        self.freed.wait()

    def close(self) -> None:
        """Do nothing."""


class Soak:
    """The daemon, put together as `edgetrack run` does, and what is done to it meanwhile."""

    def __init__(self, plan: Plan, models: tuple[str, ...], every: int, folder: Path) -> None:
        """Load the models and open the outputs.

        Args:
            plan: Of the run.
            models: Bundles by name.
            every: The detectors look at every so many-th frame.
            folder: Empty; takes the daemon's files.
        """
        self.done = Soaked()
        self._plan, self._reel, self._summary = (
            plan,
            Reel(plan.frames, plan.pictures, plan.fault_every),
            Summary(),
        )
        settings = _settings(models, every, folder, plan)
        clock, run = self._reel.now, Run(settings.camera)
        vitals = Vitals(run.camera, run.id, run.counts, clock())
        self._page, self._stuck = Http(page_of("http://127.0.0.1:0"), vitals, clock), Stuck()
        sinks: list[TrackSink] = [self._page, self._stuck]
        sinks += [open_sink(uri, keep=True, files=settings.files) for uri in settings.sinks]
        tracker = Tracker.from_settings(settings, live=True)
        parts = Parts(
            settings=settings,
            tracker=tracker,
            governor=Governor(settings.budget, tracker.every, HeatReader()),
            outputs={sink.name: Detached(sink, monotonic=clock) for sink in sinks},
            open_source=self._reel.open,
            once=False,
        )
        camera = Camera(self._reel.open, settings.capture, monotonic=clock)
        outputs = list(parts.outputs.values())
        self._live = Live(camera, tracker, outputs, run, vitals, parts.governor)
        service = Service(Notifier(), RuntimeFolder(folder), folder)
        self._daemon = Daemon(
            self._live, parts, service, _loaded_anew, self._wants_reload, self._reel.moment
        )
        self._reload_due = False
        self._least_bytes = float("inf")

    def run(self, tell: Callable[[Sample], None]) -> Soaked:
        """Send all frames through.

        Args:
            tell: Called with every sample.
        """
        began = time.monotonic()
        try:
            self._live.loop(lambda: False, self._daemon.between, partial(self._seen, tell))
        finally:
            self._stuck.freed.set()
            self._daemon.close()
        done, run = self.done, self._live.run
        done.seconds = time.monotonic() - began
        done.faults, done.reloads = self._reel.faults, self._live.vitals.reloads
        done.unwritten = dict(run.counts.unwritten)
        return done

    @property
    def counts(self) -> dict[str, int]:
        """Frames seen and processed, and those dropped, by reason."""
        counts = self._live.run.counts
        return {"seen": counts.seen, "processed": counts.processed, **counts.dropped}

    def _seen(self, tell: Callable[[Sample], None], record: Record) -> None:
        """Do what is due after a record, and let the next frame come."""
        self._summary.add(record)
        if record.condition == "absent":
            return
        frames, plan, done = self._live.run.counts.processed, self._plan, self.done
        done.looks += bool({"detect", "aside"} & self._live.tracker.stages.keys())
        done.ids += sum(event.type == "new" for event in record.events)
        self._reload_due |= bool(plan.reload_every) and frames % plan.reload_every == 0
        if frames % plan.ask_every == 0:
            self._ask()
        if frames >= plan.frames * _WARM / 2:
            self._stuck.freed.set()
        # Before what is due at a round number, so that all of it is over when memory is looked at.
        step = max(1, plan.frames // plan.samples)
        if (frames + 1) % step >= step - _AROUND or step <= _AROUND:
            self._least_bytes = min(self._least_bytes, _rss_bytes())
        if (frames + 1) % step == 0:
            self._sample(frames, tell)
        self._reel.go_on()

    def _sample(self, frames: int, tell: Callable[[Sample], None]) -> None:
        gc.collect()
        sample = Sample(
            frames=frames,
            rss_mb=min(self._least_bytes, _rss_bytes()) / 2**20,
            blocks=sys.getallocatedblocks(),
            objects=len(gc.get_objects()),
            descriptors=len(os.listdir("/proc/self/fd")) - 1,  # one is of this listing
            threads=len(os.listdir("/proc/self/task")),
        )
        self._least_bytes = float("inf")
        self.done.samples.append(sample)
        tell(sample)

    def _wants_reload(self) -> bool:
        due, self._reload_due = self._reload_due, False
        return due

    def _ask(self) -> None:
        """Ask for a page, as a browser or Prometheus would."""
        connection = HTTPConnection(self._page.url.removeprefix("http://"), timeout=10)
        connection.request("GET", _PAGES[self.done.asked % len(_PAGES)])
        connection.getresponse().read()
        connection.close()
        self.done.asked += 1


def _settings(models: tuple[str, ...], every: int, folder: Path, plan: Plan) -> Settings:
    settings = Settings(
        camera="soak",
        models=models,
        sinks=(f"file:{folder / 'records.jsonl'}",),
        capture=SourceSettings(retry_s=_WAIT_S, longest_retry_s=_WAIT_S),
        tracking=TrackingSettings(max_lost_s=1.0),  # a face that leaves the picture ends its track
        files=FileSettings(max_mb=plan.files_mb),
    )
    detection = msgspec.structs.replace(settings.detection, every=every)
    return msgspec.structs.replace(settings, detection=detection)


def _loaded_anew(before: Parts) -> Parts:
    """Load models anew, proven first, as a reload of `edgetrack run` does."""
    settings = before.settings
    for name in settings.models:
        list(proof.prove(bundles.load(bundles.find(name)), settings.inference.backend))
    tracker = Tracker.from_settings(settings, live=True)
    return Parts(
        settings=settings,
        tracker=tracker,
        governor=Governor(settings.budget, tracker.every, HeatReader()),
        outputs=before.outputs,
        open_source=before.open_source,
        once=before.once,
    )


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES
