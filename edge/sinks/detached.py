"""A sink on a thread of its own, for live runs: a slow disk costs records, never frames."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from edge.errors import DeliveryError, SinkError
from edge.sinks import TrackSink
from edge.types import Frame, Record

_log = logging.getLogger(__name__)


class Detached:
    """Passes records on to a sink from its own thread; `write` never waits.

    At most `depth` records wait; one that comes when as many do is dropped and counted. A queue of
    frames holds depth times the bytes of a frame (8 of 1920x1080: 50 MB), so a sink that does not
    look at pixels is never given them. Once closed, every record is either written or dropped,
    whether the closing came to its end or not.
    """

    def __init__(
        self,
        sink: TrackSink,
        depth: int = 8,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = sink.name
        self.wants_frame = sink.wants_frame
        self.written = 0
        self._sink = sink
        self._depth = depth
        self._monotonic = monotonic
        self._queue: deque[tuple[Record, Frame | None]] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._given = 0  # this and the next two change under the lock only
        self._in_hand = 0  # 1 while the thread writes
        self._began = 0.0  # that write, monotonic seconds
        self._given_up = False  # what waits or is in hand will be lost
        self._failing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Records that were not written: no room, refused, or not delivered by the end."""
        with self._ready:
            waiting = 0 if self._given_up else len(self._queue) + self._in_hand
            return self._given - self.written - waiting

    def writing_s(self, now: float) -> float:
        """Return for how long, at a monotonic time, the sink has been writing one record."""
        with self._ready:
            return now - self._began if self._in_hand else 0.0

    def write(self, record: Record, frame: Frame | None = None) -> None:
        """Queue one record, or count it as dropped.

        Raises:
            OutputClosed: An earlier record found that the reader went away.
            Exception: Whatever unexpected ended the thread; raised once.
        """
        self._raise_error()
        with self._ready:
            self._given += 1
            if self._closing or len(self._queue) >= self._depth:
                return
            self._queue.append((record, frame if self.wants_frame else None))
            self._ready.notify()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued, for at most `timeout_s`, and close the sink; may be called twice.

        A sink that is still busy then, or when an interrupt ends the wait, is left to its thread,
        which ends with the process; what it has not written by then counts as dropped.

        Raises:
            OutputClosed: A queued record found that the reader went away.
            Exception: Whatever unexpected ended the thread; raised once.
        """
        try:
            with self._ready:
                self._closing = True
                self._ready.notify()
            self._thread.join(timeout_s)
        finally:
            # not `is_alive`: CPython calls a thread ended once an interrupt ended the wait for it
            if left := self._give_up():
                _log.warning("%s: still busy at the end; %d records dropped", self.name, left)
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            try:
                while self._pass_one_on():
                    pass
            finally:
                self._close_sink()
        except BaseException as error:  # noqa: BLE001  the next write or close raises it
            self._give_up()
            self._error = error

    def _close_sink(self) -> None:
        """Close the sink, and count what it took and did not deliver."""
        try:
            self._sink.close()
        except DeliveryError as error:
            _log.warning("%s", error)
            with self._ready:
                self.written -= error.records

    def _give_up(self) -> int:
        with self._ready:
            self._closing = self._given_up = True
            waiting = len(self._queue) + self._in_hand
            self._queue.clear()
        return waiting

    def _pass_one_on(self) -> bool:
        """Wait for a record and write it; keeping it in `_run` would hold a frame in between."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return False
            record, frame = self._queue.popleft()
            self._in_hand, self._began = 1, self._monotonic()
        written = 0
        try:
            self._sink.write(record, frame)
            written = 1
            self._note_success()
        except SinkError as error:
            self._note_failure(error)
        finally:
            with self._ready:
                self._in_hand = 0
                self.written += written
        return True

    def _note_failure(self, error: SinkError) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("%s (records are dropped until it works again)", error)

    def _note_success(self) -> None:
        if self._failing:
            self._failing = False
            _log.info("%s: works again; %d records dropped so far", self.name, self.dropped)
