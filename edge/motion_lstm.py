"""Where targets are going: a recurrent model over their steps, in place of the Kalman filter.

A bundle (`motion` is the one that ships) is stepped for all tracks that were seen, in one batch;
until a track is seen again its forecast is read at the time that has passed. What a track knows of
its past is in its columns of the state, so two trackers share one loaded model.
"""

import threading
from functools import cache
from pathlib import Path

import numpy as np

from edge import bundle as bundles
from edge.errors import BundleError
from edge.forecast import HORIZONS_S, N_VALUES, read
from edge.motion import MIN_SIZE_PX
from edge.step import StepModel
from edge.types import Array, Floats

INPUT, OUTPUT = "motion", "forecast"
N_FEATURES = 6
LONGEST_S = 2.0
"""A gap is not told longer than this, the longest that the shipped model was trained on."""
GATE = 0.5
"""A track's box widens on each side by so much of its forecast's scale, to be compared."""
_SOON = 2
"""The horizon whose displacement, a tenth of a second ahead, is given as velocity."""

_VELOCITY, _SEEN, _UNSEEN_S, _SCALE = slice(4, 6), slice(6, 10), 10, 11
_FORECAST = slice(12, 12 + len(HORIZONS_S) * N_VALUES)
_MEMORY = _FORECAST.stop
"""Rows of a state: centre x, centre y, width, height now (px); velocity (px/s); the same four as
they were last measured; seconds since then; the forecast's scale now (sizes); the forecast; then
the model's own state."""


class MotionLSTM:
    """A stand-in for `edge.motion.Motion`, with the same meaning of its first six rows."""

    def __init__(self, model: StepModel) -> None:
        """Check that a model is one of motion.

        Raises:
            BundleError: It takes or gives something else.
        """
        _check(model)
        self._model = model
        manifest = model.manifest
        self.name = f"{manifest.name} {manifest.version} {model.folder.name}"
        self._turn = threading.Lock()  # several threads may look, and an interpreter serves one
        memory = model.initial_state(1)
        ends = np.cumsum([_MEMORY, *(value.shape[1] for value in memory.values())]).tolist()
        self._rows = dict(zip(memory, map(slice, ends, ends[1:]), strict=True))
        self.n_state: int = ends[-1]

    def start(self, boxes: Floats, scores: Floats) -> Floats:
        """Return the state (rows, n) of targets seen for the first time.

        Args:
            boxes: (4, n) centre x, centre y, width, height.
            scores: (n,) of the detections.
        """
        state = np.zeros((self.n_state, boxes.shape[1]))
        for name, value in self._model.initial_state(boxes.shape[1]).items():
            state[self._rows[name]] = value.T
        state[_SEEN] = boxes
        self._step(state, np.s_[:], boxes, scores)
        return state

    def predict(self, state: Floats, dt: float) -> None:
        """Carry the state forward by dt > 0 seconds, in place."""
        state[_UNSEEN_S] += dt
        forecast = state[_FORECAST].T.reshape(-1, len(HORIZONS_S), N_VALUES)
        moves, scales = read(forecast, state[_UNSEEN_S])  # (n, 4), (n, 2)
        state[:4] = _moved(state[_SEEN], moves.T)
        state[_SCALE] = scales[:, 0]

    def correct(self, state: Floats, measured: Floats, seen: Array | None, scores: Floats) -> None:
        """Tell the model what was measured, in place.

        Args:
            state: changed in place.
            measured: (4, n) centre x, centre y, width, height.
            seen: (n,) False where a column of `measured` means nothing; None: all were seen.
            scores: (n,) of the detections.
        """
        if seen is None:
            self._step(state, np.s_[:], measured, scores)
        elif len(columns := seen.nonzero()[0]):
            self._step(state, columns, measured[:, columns], scores[columns])

    def reach(self, state: Floats, _unseen_s: Floats) -> Floats:
        """Return how far boxes may be off (n,), in sizes; the forecast knows of the time."""
        reach: Floats = state[_SCALE] * GATE
        return reach

    def _step(self, state: Floats, columns: Array | slice, boxes: Floats, scores: Floats) -> None:
        old, count = state[:, columns], boxes.shape[1]
        rows = _filled_up(count)
        told = np.zeros((rows, N_FEATURES), np.float32)
        features, before = told[:count].T, old[_SEEN]
        np.minimum(old[_UNSEEN_S], LONGEST_S, out=features[0], casting="same_kind")
        features[1:3] = (boxes[:2] - before[:2]) / np.sqrt(before[2] * before[3])
        features[3:5] = np.log(boxes[2:] / before[2:])
        features[5] = scores
        memory: dict[str, Array] = {}
        for name, place in self._rows.items():
            memory[name] = np.zeros((rows, place.stop - place.start), np.float32)
            memory[name][:count] = old[place].T
        with self._turn:
            outputs, next_memory = self._model.step({INPUT: told}, memory)
        forecast = outputs[OUTPUT][:count].transpose(1, 2, 0)  # (5, 6, n)
        new = np.empty(old.shape)
        new[:4] = _moved(boxes, forecast[0, :4])
        size = np.sqrt(boxes[2] * boxes[3]) / (HORIZONS_S[_SOON] - HORIZONS_S[0])
        new[_VELOCITY] = (forecast[_SOON, :2] - forecast[0, :2]) * size
        new[_SEEN], new[_UNSEEN_S], new[_SCALE] = boxes, 0.0, np.exp(forecast[0, 4])
        new[_FORECAST] = forecast.reshape(len(HORIZONS_S) * N_VALUES, -1)
        for name, place in self._rows.items():
            new[place] = next_memory[name][:count].T
        state[:, columns] = new


def open_motion(name: str = "motion") -> MotionLSTM:
    """Load a bundle by its folder or installed name; it is shared by all that ask for it.

    Raises:
        BundleError: It is missing, damaged or no model of motion.
        BackendError: No interpreter for it is installed.
    """
    return _opened(bundles.find(name))


@cache
def _opened(folder: Path) -> MotionLSTM:
    return MotionLSTM(StepModel(bundles.load(folder)))


def _check(model: StepModel) -> None:
    wanted = {INPUT: (-1, N_FEATURES)}, {OUTPUT: (-1, len(HORIZONS_S), N_VALUES)}
    inputs = {name: spec.shape for name, spec in model.inputs.items()}
    found = inputs, {name: spec.shape for name, spec in model.outputs.items()}
    if found != wanted:
        raise BundleError(
            f"{model.folder}: from {found[0]} it gives {found[1]}, a model of motion from "
            f"{wanted[0]} {wanted[1]}; name one such as `motion`"
        )


def _filled_up(count: int) -> int:
    """Return for how many rows to call, at least so many.

    Interpreters have networks for 1, 2, 4 to 64 rows, and to call the next larger one costs less
    than to call two that fit.
    """
    return 1 << (count - 1).bit_length() if count <= 64 else -(-count // 32) * 32


def _moved(boxes: Floats, moves: Floats) -> Floats:
    """Return boxes (4, n) after moves (4, n): of the centre in sizes, of the log sizes."""
    size = np.sqrt(boxes[2] * boxes[3])
    extent = np.maximum(boxes[2:] * np.exp(moves[2:4]), MIN_SIZE_PX)
    return np.concatenate((boxes[:2] + moves[:2] * size, extent))
