"""Clips of a ball that rolls left, right or lies still, with the truth of every frame.

The ball leaves on one side and comes back on the other, so where it is says nothing of where it
goes: one frame alone cannot tell, whoever looks at it needs a memory.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from edge.types import Array, Floats, Image

SIDE = 16
"""Of a picture, in pixels."""
LABELS = ("left", "still", "right")
"""What the ball does, by the sign of its velocity plus one."""

_SPEEDS = (1.0, 2.5)  # pixels a frame, the least and the most
_RADIUS = 2.5  # pixels
_GROUND = 24.0  # of 255
_NOISE = 8.0  # standard deviation, of 255
_TURNS = 1 / 12  # chance in every frame that the ball chooses anew
_ENLARGED = 20
_FPS = 15.0


@dataclass(frozen=True)
class Clips:
    """Several clips of one length."""

    frames: Array
    """(clips, steps, SIDE, SIDE, 3) RGB, uint8."""
    velocity: Floats
    """(clips, steps): pixels to the right since the frame before."""

    @property
    def pixels(self) -> Array:
        """The frames as networks see them: float32, 0..1."""
        return self.frames.astype(np.float32) / np.float32(255)

    @property
    def doing(self) -> Array:
        """The index into `LABELS`, (clips, steps)."""
        return np.sign(self.velocity).astype(np.int64) + 1


def render(clips: int, steps: int, seed: int, ways: Sequence[int] = (-1, 0, 1)) -> Clips:
    """Render clips; the same arguments give the same pixels.

    Args:
        clips: How many.
        steps: Frames of each.
        seed: Of everything random.
        ways: What the ball may do: -1 left, 0 still, 1 right.
    """
    random = np.random.default_rng(seed)
    velocity = _velocities(clips, steps, ways, random)
    x = random.uniform(0, SIDE, (clips, 1)) + velocity.cumsum(axis=1)  # (clips, steps)
    y = random.uniform(SIDE / 2 - 2, SIDE / 2 + 2, (clips, 1))
    across, down = _to_ball(x) ** 2, _to_ball(y) ** 2
    ball = np.exp(-(down[:, :, :, None] + across[:, :, None, :]) / _RADIUS**2)[..., None]
    colour = random.uniform(150, 250, (clips, 1, 1, 1, 3))
    noise = random.normal(0, _NOISE, (*ball.shape[:4], 3))
    frames = _GROUND + ball * (colour - _GROUND) + noise
    return Clips(np.clip(frames, 0, 255).astype(np.uint8), velocity)


def write_video(path: Path, frames: Sequence[Image]) -> None:
    """Write frames as a Motion JPEG video, enlarged so that people can see it.

    Args:
        path: Ends in `.avi`.
        frames: (SIDE, SIDE, 3) RGB, uint8.
    """
    side = SIDE * _ENLARGED
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, (side, side))
    for frame in frames:
        large = cv2.resize(frame, (side, side), interpolation=cv2.INTER_NEAREST)
        writer.write(cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
    writer.release()


def main(argv: Sequence[str] | None = None) -> None:
    """Write one clip and say what the ball does in it."""
    parser = argparse.ArgumentParser(prog="python -m examples.clips", description=__doc__)
    parser.add_argument("path", type=Path, help="the video to write, .avi")
    parser.add_argument("--steps", type=int, default=150, help="frames, default 150")
    parser.add_argument("--seed", type=int, default=2026, help="another one, another clip")
    args = parser.parse_args(argv)
    clip = render(1, args.steps, args.seed)
    write_video(args.path, clip.frames[0])
    for first, last, label in _stretches(clip.doing[0]):
        print(f"frames {first} to {last}: {label}")


def _velocities(clips: int, steps: int, ways: Sequence[int], random: np.random.Generator) -> Floats:
    """Return (clips, steps); each is kept until the ball chooses anew."""
    shape = clips, steps
    chosen = random.choice(ways, shape) * random.uniform(*_SPEEDS, shape)
    turns = random.random(shape) < _TURNS
    turns[:, 0] = True
    since = np.maximum.accumulate(np.where(turns, np.arange(steps), 0), axis=1)
    return np.take_along_axis(chosen, since, axis=1)


def _to_ball(place: Floats) -> Floats:
    """Return (clips, steps, SIDE): how far pixels are from places, around the edge where nearer."""
    away = np.arange(SIDE) + 0.5 - place[..., None]
    return (away + SIDE / 2) % SIDE - SIDE / 2


def _stretches(doing: Array) -> Iterator[tuple[int, int, str]]:
    for number, group in groupby(enumerate(doing), key=lambda pair: pair[1]):
        frames = [frame for frame, _ in group]
        yield frames[0], frames[-1], LABELS[number]


if __name__ == "__main__":
    main()
