"""Where targets are going: one constant-velocity Kalman filter over all tracks, dt in seconds.

Centre x, centre y, width and height are each filtered on their own. All noise is proportional to
the target's size, in its motion and in its detections alike, so the size cancels out of the gain:
one covariance for the two centre coordinates and one for the two sizes serve every target, counted
in sizes of that target.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge.types import Array, Floats

N_STATE = 14
"""Rows of a state: centre x, centre y, width, height (px); their velocities (px/s); then, first for
the centre and then for the size: position variance, position-velocity covariance, velocity
variance (sizes and seconds)."""

MIN_SIZE_PX = 1.0
"""No box shrinks further than this while unseen."""

_MOVES = (  # rows and columns of the transition: what flows into what in a step
    np.array([0, 1, 2, 3, 6, 7, 8, 8, 10, 9, 9, 11, 11, 13]),
    np.array([4, 5, 6, 7, 6, 7, 10, 12, 12, 11, 13, 11, 13, 13]),
)

MAX_STEPS = 64
"""How many transitions, one a dt, are kept: a file has a few, a live camera ever new ones."""


class MotionModel(Protocol):
    """What carries the boxes of tracks; all that it knows of them is a state (n_state, n).

    The first six rows are centre x, centre y, width, height (px) and the centre's velocity (px/s).
    """

    n_state: int
    """Rows of a state."""
    name: str
    """Two models of one name understand each other's states."""

    def start(self, boxes: Floats, scores: Floats, /) -> Floats:
        """Return the state of targets seen for the first time; boxes (4, n), scores (n,)."""

    def predict(self, state: Floats, dt: float, /) -> None:
        """Carry the state forward by dt > 0 seconds, in place."""

    def correct(
        self, state: Floats, measured: Floats, seen: Array | None, scores: Floats, /
    ) -> None:
        """Take what was measured, (4, n), where it was seen (n,), in place."""

    def reach(self, state: Floats, unseen_s: Floats, /) -> Floats:
        """Return how far the boxes may be off (n,), in sizes, unseen for so long (n,)."""


@dataclass(slots=True)
class Motion:
    """The noise of the model; the defaults serve people at 25 fps and cars at 10 fps alike."""

    centre_noise: float = 0.05
    """Standard deviation of a detection's centre, in target sizes."""
    size_noise: float = 0.1
    """Standard deviation of a detection's width and height, in target sizes."""
    centre_drift: float = 1.0
    """How much the centre's velocity wanders: sizes a second, per root second."""
    size_drift: float = 1.75
    """How much the growth wanders: sizes a second, per root second. It is large because a person's
    width swings with the gait and a near car grows by itself."""
    first_velocity: float = 1.0
    """Standard deviation of a new target's velocity, sizes a second."""
    first_growth: float = 0.4
    """Standard deviation of a new target's growth, sizes a second."""
    growth_memory_s: float = 1.0
    """Unseen, the growth falls to 1/e in this time: a moment's growth is not for ever."""
    reach_s: float = 0.3
    """How fast an unseen target may leave the track, sizes a second."""
    n_state: int = field(init=False, repr=False, default=N_STATE)
    name: str = field(init=False, repr=False, default="kalman")
    _noise: Floats = field(init=False, repr=False)
    _steps: dict[float, tuple[Floats, Floats]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._noise = np.array([[self.centre_noise**2], [self.size_noise**2]])

    def start(self, boxes: Floats, _scores: Floats | None = None) -> Floats:
        """Return the state (14, n) of targets seen for the first time.

        Args:
            boxes: (4, n) centre x, centre y, width, height.
        """
        state = np.zeros((N_STATE, boxes.shape[1]))
        state[:4] = boxes
        state[8], state[9] = self.centre_noise**2, self.size_noise**2
        state[12], state[13] = self.first_velocity**2, self.first_growth**2
        return state

    def predict(self, state: Floats, dt: float) -> None:
        """Carry the state (14, n) forward by dt > 0 seconds, in place."""
        transition, drift = self._step(dt)
        np.matmul(transition, state.copy(), out=state)
        state += drift
        size = state[2:4]
        np.maximum(size, MIN_SIZE_PX, out=size)

    def correct(
        self,
        state: Floats,
        measured: Floats,
        seen: Array | None = None,
        _scores: Floats | None = None,
    ) -> None:
        """Move the state (14, n) towards what was measured, in place.

        Args:
            state: changed in place.
            measured: (4, n) centre x, centre y, width, height.
            seen: (n,) False where a column of `measured` means nothing; None: all were seen.
        """
        moved = (measured - state[:4]).reshape(2, 2, -1)  # (of centre and size, 2, n)
        if seen is not None:
            moved *= seen
        # Further off than thought possible: the position was less certain than thought, by as
        # much (Mehra 1972, covariance matching). A face that darts is followed at once, without
        # making the filter nervous for those that walk.
        off = moved / state[2:4]
        off *= off
        position, covariance = state[8:10], state[8:12].reshape(2, 2, -1)
        surprise = (off[:, 0] + off[:, 1]) / (position + self._noise)  # 2 is expected
        position *= np.maximum(surprise, 2.0) * 0.5
        gain = covariance / (position + self._noise)  # (of position and velocity, 2, n)
        if seen is not None:
            gain *= seen
        estimate = state[:8].reshape(2, 2, 2, -1)
        estimate += gain[:, :, None] * moved
        state[12:] -= gain[1] * state[10:12]
        covariance -= gain[0] * covariance

    def reach(self, _state: Floats, unseen_s: Floats) -> Floats:
        """Return how far boxes may be off (n,), in sizes, unseen for so long (n,)."""
        return unseen_s * self.reach_s

    def _step(self, dt: float) -> tuple[Floats, Floats]:
        dt = round(dt, 6)  # a microsecond moves nothing, and a file's dt is one and not twenty
        step = self._steps.get(dt)
        if step is None:
            if len(self._steps) >= MAX_STEPS:
                self._steps.clear()
            step = self._steps[dt] = _transition(self, dt)
        return step


def _transition(motion: Motion, dt: float) -> tuple[Floats, Floats]:
    """Return the matrix (14, 14) and the added noise (14, 1) of one step of dt seconds.

    Boxes, velocities and covariances all move linearly, so one matrix carries all of them. Steps
    compose: two of dt equal one of 2 dt.
    """
    kept = math.exp(-dt / motion.growth_memory_s)
    grown = motion.growth_memory_s * (1 - kept)  # seconds' worth of the present growth
    matrix = np.eye(N_STATE)
    matrix[_MOVES] = (
        *(dt, dt, grown, grown, kept, kept),
        *(2 * dt, dt * dt, dt),
        *(2 * grown, grown * grown, kept, kept * grown, kept * kept),
    )
    noise = np.zeros((N_STATE, 1))
    noise[8::2, 0] = motion.centre_drift**2 * _wander(dt)
    noise[9::2, 0] = motion.size_drift**2 * _fading_wander(dt, motion.growth_memory_s)
    return matrix, noise


def _wander(dt: float) -> Floats:
    """Return what a velocity in unit Brownian motion adds in dt seconds.

    Returns:
        (3,) position variance, position-velocity covariance and velocity variance.
    """
    return np.array((dt**3 / 3, dt**2 / 2, dt))


def _fading_wander(dt: float, memory: float) -> Floats:
    """Return `_wander` of a velocity that also fades, an Ornstein-Uhlenbeck process."""
    lapsed = 1 - math.exp(-dt / memory)
    velocity = memory * (lapsed - lapsed**2 / 2)
    position = memory**2 * (dt - memory * (lapsed + lapsed**2 / 2))
    return np.array((max(position, 0.0), (memory * lapsed) ** 2 / 2, velocity))
