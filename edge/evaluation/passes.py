"""One pass of a follower through a sequence under a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.evaluation.protocols import Protocol, frames_since_given, jittered
from edge.evaluation.sequences import AnnotatedSequence
from edge.follower import Followed, Follower
from edge.types import Array, Box, Floats, Image, Ints

HORIZONS_S = (1 / 30, 1 / 10, 1 / 3)
"""How far ahead forecasts are compared with the truth."""
_NOWHERE: Box = (np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Pass:
    """What a follower said; a row for each shown frame from the first given box on."""

    seed: int
    frames: Ints
    """(n,) of the sequence, from 0."""
    since: Ints
    """(n,) how many shown frames ago a box was given; 0: in this one, where nothing is asked."""
    hidden: Array
    """(n,) bool: a board stood before the target."""
    boxes: Floats
    """(n, 4) left, top, right, bottom; NaN where nothing was asked."""
    presence: Floats
    """(n,) 0..1."""
    forecasts: Floats
    """(n, horizons, 4) boxes after `HORIZONS_S`; the box itself where the follower makes none."""


def run_pass(
    follower: Follower,
    images: Sequence[Image],
    sequence: AnnotatedSequence,
    protocol: Protocol,
    seed: int,
) -> Pass:
    """Lead a follower through the decoded pictures of a sequence."""
    shown = np.arange(0, len(sequence), protocol.show_every)
    since = frames_since_given(sequence.truth[shown], protocol.anchor_every)
    shown, since = shown[since >= 0], since[since >= 0]
    hidden = np.isin(since, protocol.hidden)
    said = []
    for row, frame in enumerate(map(int, shown)):
        image, at = images[frame], frame / sequence.fps
        if hidden[row]:
            image = covered(image, _stretch(sequence.truth[shown], since, row, protocol.hidden))
        if since[row]:
            said.append(follower.step(image, at))
            continue
        box = jittered(sequence.truth[frame], sequence.name, frame, seed)
        if protocol.keep_state and row:
            follower.step(image, at)
            follower.anchor(image, box, at)
        else:
            follower.start(image, box, at)
        said.append(Followed(_NOWHERE, 0.0))
    boxes = np.array([one.box for one in said], np.float64)
    presence = np.array([one.presence for one in said], np.float64)
    forecasts = np.array([_forecasts(one) for one in said], np.float64)
    return Pass(seed, shown, since, hidden, boxes, presence, forecasts)


def covered(image: Image, boxes: Floats) -> Image:
    """Return the picture with a board of its mean colour before all these boxes.

    Args:
        image: Left as it is.
        boxes: (n, 4) left, top, right, bottom; rows of NaN are ignored.
    """
    boxes = boxes[~np.isnan(boxes).any(axis=1)]
    if not len(boxes):
        return image
    limits = image.shape[1], image.shape[0]
    left, top = np.clip(np.floor(boxes[:, :2].min(axis=0)), 0, limits).astype(int)
    right, bottom = np.clip(np.ceil(boxes[:, 2:].max(axis=0)), 0, limits).astype(int)
    board = image.copy()
    board[top:bottom, left:right] = image.mean(axis=(0, 1)).astype(np.uint8)
    return board


def _stretch(truth: Floats, since: Ints, row: int, hidden: range) -> Floats:
    """Return the truth of all the frames in which the board of this row stands there."""
    first = row - since[row]
    return truth[first + hidden.start : first + hidden.stop]


def _forecasts(said: Followed) -> list[Box]:
    return [said.forecast(after) if said.forecast else said.box for after in HORIZONS_S]
