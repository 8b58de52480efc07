"""The life of a camera: opened when it is there, watched while it delivers, opened anew when not.

No driver is trusted. Each opening has a thread of its own; the thread of the loop looks after it
between two frames, and never waits for it.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from edge.capture import NewestFrame, Opening
from edge.config import SourceSettings
from edge.errors import SourceError
from edge.sources import FrameSource
from edge.types import CameraState, Condition, Counts, Frame
from edge.vitals import CameraStatus

_log = logging.getLogger(__name__)

DOWN = frozenset[CameraState]({"starting", "lost", "recovering"})
"""The states in which nothing comes."""
_BLACK_S = 1.0  # a picture that is black for so long makes the camera's state; fewer are a dark cut
_LONGEST_FROZEN_S = 3600.0
_EARLY = 0.1  # of a period: a frame that comes so much too early still counts as in time


class Camera:
    """A source that may come and go; its newest frame is taken, older ones that wait are dropped.

    Invariant: it is opened once at a time, and over all openings index and `captured_at` of its
    frames never decrease. All but `retrying` is called by one thread.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        settings: SourceSettings,
        *,
        once: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over a source; nothing is opened yet.

        Args:
            open_source: Opens it, each time anew.
            settings: How long to wait for what.
            once: It is a file: what ends it ends the frames, and nobody hurries it.
            monotonic: Seconds; of the frames' clock.
        """
        self.monotonic = monotonic
        self.status = CameraStatus(since=monotonic())
        self.ended = False
        """No frame will come any more."""
        self._open_source, self._settings, self._once = open_source, settings, once
        self._slot = NewestFrame()
        self._counts = Counts()
        self._opening: Opening | None = None
        self._counted: Opening | None = None  # the last that is known to have succeeded
        self._try_at = -math.inf
        self._failures = 0  # openings in a row that came to nothing
        self._stuck = 0  # openings in a row because the picture stood still
        self._black_at: float | None = None
        self._told: set[tuple[CameraState, str]] = set()  # since it last delivered
        self._first, self._next = 0, 0  # index of the first frame of this opening, and of the next
        self._last_at = -math.inf
        self._period_s, self._due_at = 0.0, -math.inf

    @property
    def down(self) -> bool:
        """Whether nothing comes."""
        return self.status.state in DOWN

    def start(self, counts: Counts) -> None:
        """Count frames there from now on."""
        self._counts = counts

    def take(self, wait_s: float) -> Frame | None:
        """See to the source, then return its newest frame, waited for at most so long.

        Raises:
            SourceError: A file went away, or the driver of a camera hangs.
            EdgeError: What else no other opening would mend.
        """
        pause_s = self._watch(self.monotonic())
        return self._slot.take(min(wait_s, pause_s))

    def judged(self, condition: Condition, now: float) -> None:
        """Note what the frame last taken is worth."""
        opening = self._opening
        if opening is None or opening.let_go_at is not None:
            return  # a late one of a source that was given up
        self._count_opening(opening)
        if condition != "black":
            self._black_at = None
        elif self._black_at is None:
            self._black_at = now
        if condition == "good":
            self._stuck = 0
        self._change(self._state_of(condition, now), "", now)

    def limit(self, fps: float) -> None:
        """Drop frames above a rate before they wait for anybody; 0: none."""
        self._period_s = 1.0 / fps if fps else 0.0

    def retrying(self, now: float) -> bool:
        """Say whether nothing comes, and all is done about it: no driver keeps us waiting."""
        opening = self._opening
        if not self.down:
            return False
        if opening is None:
            return True
        asked_at = max(opening.heard_at, opening.let_go_at or -math.inf)
        return now - asked_at <= self._settings.deadline_s

    def turn_to(
        self, open_source: Callable[[], FrameSource], settings: SourceSettings, *, once: bool
    ) -> None:
        """Take another source, or the same one with other settings, from now on.

        The present one is let go first; the arguments are those of the beginning.
        """
        self._open_source, self._settings, self._once = open_source, settings, once
        self._failures = self._stuck = 0
        self._try_at, self.ended = -math.inf, False
        if self._opening is not None:
            self._give_up("the settings name another source", self.monotonic())

    def stop(self, wait_s: float) -> None:
        """Close the source; a driver that takes longer is left to its thread."""
        try:
            if self._opening is not None:
                self._opening.let_go()
                self._opening.join(wait_s)
        finally:  # a second Ctrl-C may come at any moment
            if self._slot.clear():
                self._counts.dropped["stopped"] += 1

    def _watch(self, now: float) -> float:
        """Do what is due; return in how many seconds something else is."""
        opening = self._opening
        if opening is None:
            if self.ended or now < self._try_at:
                return math.inf if self.ended else self._try_at - now
            self._first = self._next
            self._opening = Opening(self._open_source, self._slot, self._put, self.monotonic)
            return math.inf
        if opening.source is not None:
            self._count_opening(opening)
        if opening.ended:
            if not self._slot.full:  # its last frame comes first
                self._finish(opening, now)
                return 0.0
        elif opening.let_go_at is not None:
            self._refuse_hanging(opening, opening.let_go_at, now)
        elif not self._once:
            self._check(opening, now)
        return math.inf

    def _check(self, opening: Opening, now: float) -> None:
        """Give a source up that is silent for too long, or whose picture stands still."""
        wanted, name = self._settings, self.status.description or "camera"
        if opening.source is None:  # no opening can be broken off; it may yet come to its end
            self._refuse_hanging(opening, opening.began, now)
            if now - opening.began > wanted.deadline_s:
                reason = f"{name}: does not open within {wanted.deadline_s:g} s; it is waited for"
                self._change("lost", reason, now)
        elif now - opening.heard_at > wanted.deadline_s:
            self._give_up(f"{name}: no picture for {wanted.deadline_s:g} s; it is opened anew", now)
        elif self.status.state == "frozen" and wanted.reopen_frozen_s:
            stands_s = min(wanted.reopen_frozen_s * 2**self._stuck, _LONGEST_FROZEN_S)
            if now - self.status.since > stands_s:
                self._stuck += 1
                self._give_up(f"{name}: stands still for {stands_s:g} s; it is opened anew", now)

    def _give_up(self, reason: str, now: float) -> None:
        if self._opening is not None:
            self._opening.let_go()
        self._change("lost", reason, now)

    def _refuse_hanging(self, opening: Opening, since: float, now: float) -> None:
        """Raise if a driver has kept its thread for too long: this process cannot free it."""
        if now - since > self._settings.hang_s:
            does = "let go of the camera" if opening.source is not None else "open the camera"
            raise SourceError(
                f"{self.status.description or 'camera'}: its driver hangs, it does not {does} "
                f"within {self._settings.hang_s:g} s; start edgetrack again, or plug it in anew"
            )

    def _finish(self, opening: Opening, now: float) -> None:
        """Note how an opening came to its end: the next is tried after a pause, if at all."""
        self._opening = None
        error = opening.error
        wanted_once = self._once and opening.let_go_at is None
        if error is not None and (wanted_once or not isinstance(error, SourceError)):
            raise error
        if error is None and opening.let_go_at is None:
            self.ended = True
            return
        wanted = self._settings
        lasted = opening.frames > 0 and now - opening.began > wanted.longest_retry_s
        self._failures = 0 if lasted else self._failures + 1
        pause_s = wanted.retry_s * 2.0 ** (self._failures - 1) if self._failures else 0.0
        self._try_at = now + min(pause_s, wanted.longest_retry_s)
        self._change("lost", self.status.reason if error is None else str(error), now)

    def _count_opening(self, opening: Opening) -> None:
        """Note that an opening succeeded, once."""
        if opening is self._counted or opening.source is None:
            return
        self._counted = opening
        known = self.status
        self.status = msgspec.structs.replace(
            known, openings=known.openings + 1, description=opening.source.description
        )
        if known.state == "lost":
            self._change("recovering", "", opening.heard_at)

    def _put(self, frame: Frame) -> None:
        """Take a frame over from the thread that reads them."""
        counts = self._counts
        counts.seen += 1
        index, at = self._first + frame.index, max(frame.captured_at, self._last_at)
        self._next, self._last_at = index + 1, at
        if not self._in_time(at):
            counts.dropped["pace"] += 1
            return
        if (index, at) != (frame.index, frame.captured_at):
            frame = replace(frame, index=index, captured_at=at)
        if self._slot.put(frame):
            counts.dropped["newer"] += 1

    def _in_time(self, at: float) -> bool:
        """Say whether a frame captured at a time keeps the rate within its limit."""
        period_s = self._period_s
        if at < self._due_at - _EARLY * period_s:
            return False
        steady = at - self._due_at < period_s  # else nothing came for long: count from here
        self._due_at = (self._due_at if steady else at) + period_s
        return True

    def _state_of(self, condition: Condition, now: float) -> CameraState:
        """Return the state that a frame of this condition puts the camera in."""
        if condition == "frozen":
            return "frozen"
        black_s = 0.0 if self._black_at is None else now - self._black_at
        if condition == "black" and (self.down or black_s >= _BLACK_S):
            return "black"
        return "streaming" if condition == "good" or self.down else self.status.state

    def _change(self, state: CameraState, reason: str, now: float) -> None:
        """Publish a change; what is tried over and over again is told once."""
        before = self.status
        if (state, reason) == (before.state, before.reason):
            return
        since = before.since if state == before.state else now
        self.status = msgspec.structs.replace(before, state=state, reason=reason, since=since)
        if state not in DOWN:
            self._told.clear()
        if (state, reason) not in self._told:
            self._told.add((state, reason))
            about = reason if state in DOWN else before.description
            _log.info("camera %s%s", state, f": {about}" if about else "")
