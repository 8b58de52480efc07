"""One opening of a source on a thread of its own, and the slot where its frames wait."""

import threading
from collections.abc import Callable
from contextlib import closing

from edge.sources import FrameSource
from edge.types import Frame


class NewestFrame:
    """A slot for one frame between two threads: a newer frame pushes out the one that waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._woken = False

    @property
    def full(self) -> bool:
        """Whether a frame waits."""
        return self._frame is not None

    def put(self, frame: Frame) -> bool:
        """Leave a frame; return whether it pushed out another."""
        with self._changed:
            pushed = self._frame is not None
            self._frame = frame
            self._changed.notify()
            return pushed

    def wake(self) -> None:
        """End the present or the next wait: there is news other than a frame."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def clear(self) -> bool:
        """Empty the slot; return whether a frame was waiting."""
        with self._changed:
            waiting, self._frame = self._frame is not None, None
            return waiting

    def take(self, wait_s: float) -> Frame | None:
        """Return the frame, waited for at most so long; None where none came, or at `wake`."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._woken, wait_s)
            self._woken = False
            frame, self._frame = self._frame, None
            return frame


class Opening:
    """A source from its opening to its closing, in a thread that nobody trusts to come back.

    Invariant: once it is let go, no frame of it is passed on, whatever its driver does later.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        slot: NewestFrame,
        take: Callable[[Frame], None],
        monotonic: Callable[[], float],
    ) -> None:
        """Begin to open, in a thread.

        Args:
            open_source: May take its time, or fail.
            slot: Woken when it is open and when it has ended.
            take: Called with every frame, in that thread.
            monotonic: Seconds.
        """
        self.began = self.heard_at = monotonic()
        """When it was last heard of: it began, it was open, a frame came."""
        self.frames = 0
        self.source: FrameSource | None = None
        self.let_go_at: float | None = None
        self.ended = False
        self.error: Exception | None = None
        self._open_source, self._slot, self._take = open_source, slot, take
        self._monotonic = monotonic
        self._passing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """Close the source as soon as its driver allows; never waits."""
        with self._passing:
            if self.let_go_at is not None:
                return
            self.let_go_at = self._monotonic()
        if self.source is not None:  # else the thread that opens it will see that nobody wants it
            threading.Thread(target=self._close, name="close", daemon=True).start()

    def join(self, wait_s: float) -> None:
        """Wait at most so long for the driver to let go."""
        self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            self.source = self._open_source()
            self.heard_at = self._monotonic()
            self._slot.wake()
            with closing(self.source):
                while self._pass_one_on():
                    pass
        except Exception as error:  # noqa: BLE001  who watches raises it
            self.error = error
        self.ended = True
        self._slot.wake()

    def _pass_one_on(self) -> bool:
        """Read a frame and pass it on; kept in `_run`, it would stay alive until the next came."""
        assert self.source is not None  # noqa: S101  it is open
        frame = None if self.let_go_at is not None else self.source.read()
        if frame is None:
            return False
        self.heard_at = self._monotonic()
        with self._passing:
            if self.let_go_at is None:
                self.frames += 1
                self._take(frame)
        return True

    def _close(self) -> None:
        try:
            assert self.source is not None  # noqa: S101  it is open
            self.source.close()
        except Exception as error:  # noqa: BLE001  who watches raises it
            self.error = error
