"""How a follower is led through a sequence: where it starts, where it is helped, what counts.

Every box that a follower is given is the truth, its centre and sides off by up to a tenth. The
disturbance depends on the sequence, the frame and the seed alone, so that all followers, and all
protocols, are given the same boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from edge.errors import UsageError
from edge.types import Box, Floats, Ints

JITTER = 0.1
"""Uniform up to this: of the centre in widths and heights, of both sides in their logarithm."""


@dataclass(frozen=True)
class Protocol:
    """A way through a sequence. Frames in which a box was given are not scored."""

    name: str
    anchor_every: int = 0
    """Frames shown from one given box to the next; 0: only the first is given."""
    show_every: int = 1
    """Only every so many frames are shown."""
    more_passes: int = 0
    """So many more passes than seeds: where the start decides all, one more is needed."""
    keep_state: bool = False
    """A given box is an `anchor`, memory kept, in place of a fresh `start`."""
    hidden: range = range(0)
    """In these frames after a given box, a board stands before the target."""


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("ope", more_passes=1),
        Protocol("r10", anchor_every=10),
        Protocol("r30", anchor_every=30),
        Protocol("s3", anchor_every=10, show_every=3),
        Protocol("hide", anchor_every=30, hidden=range(10, 20)),
    )
}
DEFAULT = ("ope", "r10", "r30", "s3")


def named(names: Sequence[str], *, keep_state: bool = False) -> list[Protocol]:
    """Return protocols by name.

    Raises:
        UsageError: There is no such protocol.
    """
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise UsageError(f"protocol {unknown[0]!r}: is unknown; choose from {', '.join(PROTOCOLS)}")
    found = [PROTOCOLS[name] for name in names]
    if not keep_state:
        return found
    return [
        replace(protocol, name=f"{protocol.name}-kept", keep_state=True)
        if protocol.anchor_every
        else protocol
        for protocol in found
    ]


def jittered(box: Floats, sequence: str, frame: int, seed: int) -> Box:
    """Return a true box as a detector might give it.

    Args:
        box: (4,) left, top, right, bottom.
        sequence: Its name.
        frame: Of the sequence.
        seed: Of the pass.
    """
    random = np.random.default_rng([seed, frame, crc32(sequence.encode())])
    noise = random.uniform(-JITTER, JITTER, (2, 2))
    size = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + noise[0] * size
    half = size * np.exp(noise[1]) / 2
    left, top, right, bottom = map(float, (*(centre - half), *(centre + half)))
    return left, top, right, bottom


def frames_since_given(truth: Floats, every: int) -> Ints:
    """Return for each shown frame how long ago a box was given; one that is due waits for truth.

    Args:
        truth: (n, 4) of the shown frames; NaN where there is no box.
        every: Frames from one to the next; 0: only the first.

    Returns:
        (n,) 0 where a box is given, -1 before the first.
    """
    there = [bool(np.isfinite(box).all()) for box in truth]
    since = np.full(len(truth), -1)
    last = -1
    for row in range(len(truth)):
        due = last < 0 or 0 < every <= row - last
        if due and there[row]:
            last = row
        since[row] = row - last if last >= 0 else -1
    return since
