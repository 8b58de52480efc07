"""From source to sinks: every frame in order, or live with the newest frame winning."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import msgspec

from edge.camera import Camera
from edge.condition import ConditionCheck
from edge.config import Settings, SourceSettings
from edge.errors import SinkError
from edge.governor import Governor
from edge.sinks import TrackSink
from edge.sinks.detached import Detached
from edge.sources import FrameSource, open_source
from edge.tracker import Tracker
from edge.types import Counts, Event, Frame, Record, Track
from edge.vitals import Heat, Pace, Vitals

_POLL_S = 0.2  # how soon a request to stop is seen while no frame comes
_ABSENCE_S = 1.0  # from one word on a camera's absence to the next
_CLOSE_S = 3.0  # what a sink or a source may take to close


class Run:
    """One run of the program: what all its records share, and its accounting."""

    def __init__(self, camera: str, name: str | None = None) -> None:
        """Begin the accounting.

        Args:
            camera: Its name in the records.
            name: What makes two runs the same; None makes every run another.
        """
        self.camera = camera
        self.id = str(uuid.uuid4() if name is None else uuid.uuid5(uuid.NAMESPACE_URL, name))
        self.counts = Counts()
        self._check = ConditionCheck()

    def judged(self, frame: Frame) -> Frame:
        """Count a frame as processed and mark it if it shows nothing new."""
        self.counts.processed += 1
        condition = self._check.judge(frame.image, frame.captured_at)
        if condition == "good":
            return frame
        conditions = self.counts.conditions
        conditions[condition] = conditions.get(condition, 0) + 1
        return replace(frame, condition=condition)

    def drop(self, reason: str) -> None:
        """Count a frame that was seen and not processed."""
        self.counts.dropped[reason] += 1

    def record(
        self,
        frame: Frame,
        tracks: list[Track],
        events: list[Event],
        values: dict[str, Any],
        age_s: float = 0.0,
    ) -> Record:
        """Return the record of a processed frame."""
        height, width = frame.image.shape[:2]
        return Record(
            schema=1,
            camera=self.camera,
            run=self.id,
            frame=frame.index,
            time=round(frame.time, 6),
            captured_at=round(frame.captured_at, 6),
            age_ms=round(age_s * 1000, 1),
            size=(width, height),
            dropped=sum(self.counts.dropped.values()),
            tracks=tracks,
            events=events,
            condition=frame.condition,
            values=values,
        )


def track(
    source: str | FrameSource, models: Sequence[str] = ("face",), settings: Settings | None = None
) -> Iterator[Record]:
    """Track every frame of a file or folder in order; the same input gives the same records.

    Args:
        source: An address as on the command line, or an open source.
        models: Detector and sequence bundles by installed name or folder.
        settings: Everything else; its own `source`, `models` and `sinks` are not used.

    Raises:
        EdgeError: The source, a model or a setting is at fault; the message says which.
    """
    settings = msgspec.structs.replace(settings or Settings(), models=tuple(models))
    tracker = Tracker.from_settings(settings)
    opened = open_source(source, settings.capture) if isinstance(source, str) else source
    try:
        for record, _ in every_frame(opened, tracker, Run(settings.camera, opened.description)):
            yield record
    finally:
        opened.close()


def every_frame(source: FrameSource, tracker: Tracker, run: Run) -> Iterator[tuple[Record, Frame]]:
    """Track every frame in order; the same input gives the same records.

    Raises:
        SourceError: The source went away; every record before is already out.
        DataError: The source's data is damaged; likewise.
    """
    while (frame := source.read()) is not None:
        run.counts.seen += 1
        frame = run.judged(frame)
        tracks = tracker.update(frame)
        yield run.record(frame, tracks, tracker.events, tracker.values), frame


class Live:
    """One live run: the newest frame, the tracker, the sinks, round and round in one thread.

    Invariant: neither a camera nor a sink ever holds it up.
    """

    def __init__(
        self,
        camera: Camera,
        tracker: Tracker,
        outputs: Sequence[Detached],
        run: Run,
        vitals: Vitals,
        governor: Governor | None = None,
    ) -> None:
        """Take over everything; nothing is opened or read yet.

        Args:
            camera: Opened and closed by the loop.
            tracker: Used by the loop alone.
            outputs: One that is too slow loses records, which are counted; closed by the loop.
            run: Takes the accounting.
            vitals: Told everything; any thread may ask it.
            governor: Says how much is done a frame; None: as much as the tracker was asked for.
        """
        self.tracker, self.governor, self.outputs = tracker, governor, outputs
        """Others may take their place, in `between`."""
        self.vitals, self.camera, self.run = vitals, camera, run
        self._last: Frame | None = None
        now = camera.monotonic()
        self._turned_at = now  # when the loop last went round
        self._passed_at = now  # when a frame last came through
        self._told_at = -math.inf  # `captured_at` of the last record

    def loop(
        self,
        stopped: Callable[[], bool],
        between: Callable[[], None] = lambda: None,
        seen: Callable[[Record], None] = lambda _: None,
    ) -> None:
        """Track the newest frame until the source ends or `stopped()`.

        Args:
            stopped: Asked before every frame, and at least every 0.2 s.
            between: Called as often; may put another tracker, governor and outputs in place.
            seen: Called with every record.

        Raises:
            SourceError: A file went away, or the driver of a camera hangs.
            DataError: The source's data is damaged.
            OutputClosed: The reader of a sink went away.
        """
        # OpenCV's pool leaks 850 bytes for each thread that used it and ended, as looks aside,
        # openings of the camera and readers of the page do.
        cv2.setNumThreads(1)
        camera = self.camera
        camera.start(self.run.counts)
        try:
            while not (stopped() or camera.ended):
                between()
                self._turned_at = camera.monotonic()
                frame = camera.take(_POLL_S)
                if frame is not None:
                    self._pass(frame, seen)
                elif self._last is not None and camera.down:
                    self._tell_absence(self._last, seen)
                self.vitals.source = camera.status
        finally:
            try:
                camera.stop(_CLOSE_S)
                self.tracker.close(_CLOSE_S)
            finally:  # a second Ctrl-C may come at any moment
                _close(self.outputs, self.run)

    def progressing(self, now: float, patience_s: float) -> bool:
        """Say whether all goes on: the loop, the frames unless the camera is away, every sink.

        Args:
            now: Monotonic seconds.
            patience_s: What one round, one frame or one write may take.
        """
        turns = now - self._turned_at <= patience_s
        comes = now - self._passed_at <= patience_s or self.camera.retrying(now)
        return turns and comes and all(o.writing_s(now) <= patience_s for o in self.outputs)

    def _pass(self, frame: Frame, seen: Callable[[Record], None]) -> None:
        """Take a frame all the way."""
        clock, last = self.camera.monotonic, self._last
        began = clock()
        # The driver's stamp may lie a little before the last word on its absence.
        frame = self.run.judged(replace(frame, captured_at=max(frame.captured_at, self._told_at)))
        self.camera.judged(frame.condition, began)
        judged = clock()
        self.tracker.update(frame)
        updated = clock()
        record = self._written(frame, updated)
        self._last, self._passed_at = frame, clock()
        stages = {"judge": judged - began, **self.tracker.stages, "emit": self._passed_at - updated}
        if self.governor is not None:
            pace = self.governor.after(stages, _interval_s(last, frame), self._passed_at)
            self._keep_to(pace, self.governor.heat)
        self.vitals.passed(record, stages, self._passed_at)
        seen(record)

    def _tell_absence(self, last: Frame, seen: Callable[[Record], None]) -> None:
        """Once a second, let the tracks go on without a frame, so that readers see them end."""
        now = self.camera.monotonic()
        if now - self._told_at < _ABSENCE_S:
            return
        frame = replace(last, condition="absent", captured_at=now, time=time.time())
        self.tracker.update(frame)
        record = self._written(frame, now)
        self.vitals.passed(record, {}, now)
        seen(record)

    def _written(self, frame: Frame, now: float) -> Record:
        """Hand the record of the frame that the tracker took last to every sink."""
        tracks, age_s = self.tracker.emit(now), now - frame.captured_at
        about = self.tracker.events, self.tracker.values
        record = self.run.record(frame, tracks, *about, age_s)
        if (state := self.camera.status.state) != "streaming":
            record = msgspec.structs.replace(record, state=state)
        self._told_at = frame.captured_at
        for output in self.outputs:
            output.write(record, frame)
            self.run.counts.unwritten[output.name] = output.dropped
        return record

    def _keep_to(self, pace: Pace, heat: Heat) -> None:
        """Do as much a frame as the budget leaves."""
        if pace != self.vitals.pace:
            self.tracker.every = pace.every
            self.camera.limit(pace.fps)
            self.vitals.pace = pace
        self.vitals.heat = heat


def run_live(
    source: FrameSource,
    tracker: Tracker,
    sinks: Sequence[TrackSink],
    run: Run,
    stopped: Callable[[], bool],
    seen: Callable[[Record], None] = lambda _: None,
) -> None:
    """Track the newest frame until an open source ends or `stopped()`; see `Live`.

    Args:
        source: Read by a thread of its own.
        tracker: Used by this thread alone.
        sinks: Each gets a thread.
        run: Takes the accounting.
        stopped: Asked at least every 0.2 s.
        seen: Called with every record, in this thread.

    Raises:
        SourceError: The source went away.
        DataError: The source's data is damaged.
        OutputClosed: The reader of a sink went away.
    """
    camera = Camera(lambda: source, SourceSettings(), once=True)
    vitals = Vitals(run.camera, run.id, run.counts, camera.monotonic())
    Live(camera, tracker, [Detached(sink) for sink in sinks], run, vitals).loop(stopped, seen=seen)


def _interval_s(last: Frame | None, frame: Frame) -> float:
    """Return the seconds from one frame of the camera to the next; 0 where nobody knows."""
    frames = 0 if last is None else frame.index - last.index
    return (frame.captured_at - last.captured_at) / frames if last and frames > 0 else 0.0


def _close(outputs: Sequence[Detached], run: Run) -> None:
    """Close every sink, and only then raise what the first of them had to say."""
    errors: list[Exception] = []
    for output in outputs:
        try:
            output.close(_CLOSE_S)
        except Exception as error:  # noqa: BLE001  the others must be closed first
            errors.append(error)
        finally:
            run.counts.unwritten[output.name] = output.dropped
        if output.dropped and not output.written:
            errors.append(SinkError(f"{output.name}: nothing could be written; see the log"))
    if errors:
        raise errors[0]
