"""From source to sinks: every frame in order, or live with the newest frame winning."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from edge.condition import ConditionCheck
from edge.config import Settings
from edge.errors import SinkError
from edge.sinks import TrackSink
from edge.sinks.detached import Detached
from edge.sources import FrameSource, open_source
from edge.tracker import Tracker
from edge.types import Counts, Event, Frame, Record, Track

_log = logging.getLogger(__name__)

_POLL_S = 0.2  # how soon a request to stop is seen while no frame comes
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


class NewestFrame:
    """A slot for one frame between two threads: a newer frame pushes out the one that waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._open = True
        self._error: Exception | None = None

    def put(self, frame: Frame) -> bool:
        """Leave a frame; return whether it pushed out another."""
        with self._changed:
            pushed = self._frame is not None
            self._frame = frame
            self._changed.notify()
            return pushed

    def end(self, error: Exception | None = None) -> None:
        """Say that no frame will come any more, and why."""
        with self._changed:
            self._open, self._error = False, error
            self._changed.notify()

    def clear(self) -> bool:
        """Empty the slot; return whether a frame was waiting."""
        with self._changed:
            waiting, self._frame = self._frame is not None, None
            return waiting

    def take(self, stopped: Callable[[], bool]) -> Frame | None:
        """Wait for a frame; None when there will be none, or when `stopped()`.

        Raises:
            Exception: What ended the capture, after its last frame was taken.
        """
        with self._changed:
            while self._frame is None and self._open and not stopped():
                self._changed.wait(_POLL_S)
            frame, self._frame = self._frame, None
            if frame is None and self._error is not None:
                raise self._error
            return frame


def run_live(
    source: FrameSource,
    tracker: Tracker,
    sinks: Sequence[TrackSink],
    run: Run,
    stopped: Callable[[], bool],
    seen: Callable[[Record], None] = lambda _: None,
) -> None:
    """Track the newest frame until the source ends or `stopped()`; sinks never hold it up.

    Args:
        source: Read by a thread of its own.
        tracker: Used by this thread alone.
        sinks: Each gets a thread; one that is too slow loses records, which are counted.
        run: Takes the accounting.
        stopped: Asked at least every 0.2 s.
        seen: Called with every record, in this thread.

    Raises:
        SourceError: The source went away.
        DataError: The source's data is damaged.
        OutputClosed: The reader of a sink went away.
    """
    slot = NewestFrame()
    outputs = [Detached(sink) for sink in sinks]
    capture = threading.Thread(
        target=_capture, args=(source, slot, run), name="capture", daemon=True
    )
    capture.start()
    try:
        while not stopped() and (frame := slot.take(stopped)) is not None:
            frame = run.judged(frame)
            tracker.update(frame)
            now = time.monotonic()
            tracks, age_s = tracker.emit(now), now - frame.captured_at
            record = run.record(frame, tracks, tracker.events, tracker.values, age_s)
            for output in outputs:
                output.write(record, frame)
            seen(record)
    finally:
        try:
            source.close()
            capture.join(_CLOSE_S)
        finally:  # a second Ctrl-C may come at any moment
            if slot.clear():
                run.drop("stopped")
            _close(outputs, run)


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


def _capture(source: FrameSource, slot: NewestFrame, run: Run) -> None:
    """Fill the slot until the source ends; runs in the capture thread."""
    try:
        while (frame := source.read()) is not None:
            run.counts.seen += 1
            if slot.put(frame):
                run.drop("newer")
        slot.end()
    except Exception as error:  # noqa: BLE001  the main thread raises it
        slot.end(error)
