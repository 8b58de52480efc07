"""What gives way when a frame takes too long or the board gets hot: `[budget]`, docs/budget.md.

First the detectors look more rarely, last frames are left out; it comes back in the other order.
"""

import logging
import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping

from edge.config import BudgetSettings
from edge.vitals import Heat, Pace

_log = logging.getLogger(__name__)

LOOK, ASIDE = "detect", "aside"
"""Stages that only some frames have: a look on the path, and one on a thread of its own, which
holds up no frame but heats the board."""

WINDOW_S = 1.0
"""Times of frames are means over so long."""
OVER = 1.02
"""A budget that is exceeded by less is held."""
OVER_S = 1.5
"""Less is done when the budget was exceeded for so long: longer than one slow frame is noticed."""
UNDER_S = 5.0
"""More is done when it would have fitted into the budget for so long."""
MARGIN = 0.85
"""It fits when it would take at most this share of the budget, or so much less than when it was
given up."""
UNDONE_S = 30.0
"""Where more was done and has to be taken back within so long, the next wait is twice as long."""
LONGEST_S = 300.0
"""No wait is longer."""
HOT_S = 10.0
"""While the board stays hot, or is cool again, another step follows after so long."""
HOT_STEP = 0.8
"""What is done after a step of heat, of what was done before."""
RARER, SLOWER = 1.5, 0.8
"""A step makes looks at least so much rarer, and the frame rate at most so much of what it was."""
_LOOKS = 5  # of whose times the median counts: one outlier is none
_LONGEST_INTERVAL_S = 1.0  # from frame to frame: what is longer is a camera that was away


class Load:
    """What frames and looks take, as measured."""

    def __init__(self, every: int) -> None:
        """Begin without a measurement, as if the detectors looked at every so many-th frame."""
        self.interval_s = 0.0
        """From one frame of the camera to the next; 0: not known yet."""
        self.gap = float(every)
        """Frames from look to look."""
        self._since = 0
        self._paths: deque[tuple[float, float]] = deque()  # when, and what it took
        self._looks: deque[float] = deque(maxlen=_LOOKS)
        self._asides: deque[float] = deque(maxlen=_LOOKS)

    @property
    def path_s(self) -> float:
        """What a frame takes, without its look."""
        return sum(path_s for _, path_s in self._paths) / len(self._paths) if self._paths else 0.0

    @property
    def look_s(self) -> float:
        """What a look takes on the path."""
        return statistics.median(self._looks) if self._looks else 0.0

    @property
    def aside_s(self) -> float:
        """What a look takes on its own thread."""
        return statistics.median(self._asides) if self._asides else 0.0

    def add(self, stages_s: Mapping[str, float], interval_s: float, now: float) -> None:
        """Take the times of a frame.

        Args:
            stages_s: What was done for it -> seconds.
            interval_s: Since the camera's frame before; 0: nobody knows.
            now: Monotonic seconds.
        """
        if 0 < interval_s < _LONGEST_INTERVAL_S:
            known = self.interval_s or interval_s
            self.interval_s = known + (interval_s - known) * (interval_s / WINDOW_S)
        look_s, aside_s = stages_s.get(LOOK, 0.0), stages_s.get(ASIDE, 0.0)
        self._paths.append((now, sum(stages_s.values()) - look_s - aside_s))
        while now - self._paths[0][0] > WINDOW_S:
            self._paths.popleft()
        self._since += 1
        if look_s or aside_s:
            self.gap += (self._since - self.gap) / _LOOKS
            self._since = 0
            # A look that moved to the thread, or back, is paid for once.
            (self._looks if look_s else self._asides).append(look_s or aside_s)
            (self._asides if look_s else self._looks).append(0.0)


class Governor:
    """Holds the budget: `pace = governor.after(stages_s, interval_s, now)` for every frame.

    Invariant: a pace changes at most once in `OVER_S`, and every change is logged once.
    """

    def __init__(
        self, settings: BudgetSettings, wanted_every: int, heat: Callable[[], Heat]
    ) -> None:
        """Begin with all that was asked for.

        Args:
            settings: What may give way, and how far.
            wanted_every: The detectors look at every so many-th frame where nothing gives way.
            heat: Says how hot the board is, and takes no time for it.
        """
        self.pace = Pace(every=wanted_every)
        self.heat = Heat()
        """As last told."""
        self._settings, self._wanted, self._ask = settings, wanted_every, heat
        self._slowest = max(settings.slowest_every, wanted_every)
        self._load = Load(wanted_every)
        self._ceiling = math.inf  # share of the time that all work may take, while it is hot
        self._heated_at = self._bettered_at = -math.inf
        self._over_at = self._under_at = math.inf  # since when
        self._wait_s = UNDER_S
        self._fits = MARGIN  # share of the budget

    def after(self, stages_s: Mapping[str, float], interval_s: float, now: float) -> Pace:
        """Take the times of a frame, and return how much is to be done from now on.

        Args:
            stages_s: What was done for it, as `Tracker.stages` and more of the kind -> seconds.
            interval_s: From the camera's frame before to this one, also where that one was
                dropped or left out; 0: nobody knows.
            now: Monotonic seconds.
        """
        self._load.add(stages_s, interval_s, now)
        self.heat = self._ask()
        if self._settings.hold and self._load.interval_s:
            self._note_heat(now)
            self._hold(now)
        return self.pace

    @property
    def _rate(self) -> float:
        """Frames a second that come through."""
        return self.pace.fps or 1.0 / self._load.interval_s

    def _hold(self, now: float) -> None:
        """Do less where the budget has been exceeded, and more where it has had room."""
        pressure = self._pressure(self._load.gap, self._rate)
        better = self._better()
        self._over_at = min(self._over_at, now) if pressure > OVER else math.inf
        self._under_at = min(self._under_at, now) if better else math.inf
        if now - self._over_at >= OVER_S and (worse := self._worse()):
            undone = now - self._bettered_at < UNDONE_S
            self._wait_s = min(self._wait_s * 2, LONGEST_S) if undone else UNDER_S
            fits = max(MARGIN, min(MARGIN * pressure, 1.0))
            self._fits = fits if undone else max(self._fits, fits)
            self._change(worse)
        elif better and now - self._under_at >= self._wait_s:
            self._bettered_at = now
            self._fits = self._fits if better.reason else MARGIN
            self._change(better)

    def _worse(self) -> Pace | None:
        """Return the next pace at which less is done; None where nothing more may give way."""
        every = self.pace.every
        if every < self._slowest and (self._load.look_s or self._load.aside_s):
            rarer = max(self._fitting(1.0), math.ceil(every * RARER))
            return self._made(min(rarer, self._slowest), self.pace.fps)
        fitting = self._rate / self._pressure(self._load.gap, self._rate)
        fps = max(min(fitting, self._rate * SLOWER), self._settings.slowest_fps)
        return self._made(every, round(fps, 1)) if fps < self._rate else None

    def _better(self) -> Pace | None:
        """Return the next pace at which more is done, if it fits well into the budget."""
        every, fps = self.pace.every, self.pace.fps
        if fps:
            faster = fps / SLOWER
            if self._pressure(self._load.gap, faster) > self._fits:
                return None
            return self._made(
                every, round(faster, 1) if faster * self._load.interval_s < 1 else 0.0
            )
        often = max(self._wanted, self._fitting(self._fits), every // 2)
        worth_it = often <= every / RARER or often == self._wanted
        return self._made(often, fps) if often < every and worth_it else None

    def _pressure(self, gap: float, rate: float) -> float:
        """Return what is done of what may be done, by the clock or by heat, whichever is more.

        Args:
            gap: Frames from look to look.
            rate: Frames a second.
        """
        path_s, look_s, aside_s = self._load.path_s, self._load.look_s, self._load.aside_s
        in_time = (path_s + look_s / gap) * rate / self._settings.share
        return max(in_time, (path_s + (look_s + aside_s) / gap) * rate / self._ceiling)

    def _fitting(self, limit: float) -> int:
        """Return how rarely the detectors must look for the pressure to be at most a limit."""
        load, every = self._load, 1
        for cost_s, share in (
            (load.look_s, self._settings.share),
            (load.look_s + load.aside_s, self._ceiling),
        ):
            left_s = share * limit * load.interval_s - load.path_s
            every = max(every, math.ceil(cost_s / left_s) if left_s > 0 else self._slowest)
        return min(every, self._slowest)

    def _note_heat(self, now: float) -> None:
        """Lower what may be done while the board is hot, and raise it once it is cool again."""
        celsius, throttled = self.heat.temperature_c, self.heat.throttled
        hot = throttled or (celsius is not None and celsius >= self._settings.hot_c)
        cool = not throttled and (celsius is None or celsius < self._settings.cool_c)
        if now - self._heated_at < HOT_S:
            return
        if hot:
            load = self._load
            spent_s = load.path_s + (load.look_s + load.aside_s) / load.gap
            self._ceiling = min(self._ceiling, spent_s * self._rate * HOT_STEP)
            self._heated_at = now
        elif cool and self._ceiling < math.inf:
            all_done = self.pace.every == self._wanted and not self.pace.fps
            self._ceiling = math.inf if all_done else self._ceiling / HOT_STEP
            self._heated_at = now

    def _made(self, every: int, fps: float) -> Pace:
        if every == self._wanted and not fps:
            return Pace(every=every)
        return Pace(every=every, fps=fps, reason="heat" if self._ceiling < math.inf else "time")

    def _change(self, pace: Pace) -> None:
        before, self.pace, load = self.pace, pace, self._load
        _log.info(
            "budget: %s; it was %s (%s): a frame takes %.1f ms, a look %.1f ms, frames come every "
            "%.1f ms%s",
            _words(pace),
            _words(before),
            pace.reason or "all is done again",
            load.path_s * 1e3,
            (load.look_s or load.aside_s) * 1e3,
            load.interval_s * 1e3,
            _degrees(self.heat),
        )
        load.gap = float(pace.every)
        self._over_at = self._under_at = math.inf


def _words(pace: Pace) -> str:
    looks = "a look a frame" if pace.every == 1 else f"a look every {pace.every} frames"
    return looks + (f", {pace.fps:g} frames a second" if pace.fps else "")


def _degrees(heat: Heat) -> str:
    words = [] if heat.temperature_c is None else [f"{heat.temperature_c:.1f} C"]
    words += ["throttled"] if heat.throttled else []
    return f", board: {', '.join(words)}" if words else ""
