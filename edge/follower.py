"""Following one target by its picture: what `edgetrack eval` measures, and the least that can."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.types import Box, Image


@dataclass(frozen=True, slots=True)
class Followed:
    """What a follower says after a step."""

    box: Box
    """Where the target is in this frame."""
    presence: float
    """The belief that it is in view, 0..1."""
    forecast: Callable[[float], Box] | None = None
    """The box after so many seconds; None where the follower makes no forecast."""


class Follower(Protocol):
    """Follows one target from frame to frame; its memory, if any, is its own."""

    name: str

    def start(self, image: Image, box: Box, captured_at: float) -> None:
        """Forget everything and begin with this box of this frame."""

    def anchor(self, image: Image, box: Box, captured_at: float) -> None:
        """Take a confirmed box of the frame just stepped, memory kept; without memory: start."""

    def step(self, image: Image, captured_at: float) -> Followed:
        """Find the target in the next frame."""


class Stays:
    """The least a follower can do, and so what every other must beat: the box stays."""

    name = "stays"

    def __init__(self) -> None:
        self._box: Box = (0.0, 0.0, 0.0, 0.0)

    def start(self, image: Image, box: Box, captured_at: float) -> None:  # noqa: ARG002
        """Keep this box."""
        self._box = box

    anchor = start

    def step(self, image: Image, captured_at: float) -> Followed:  # noqa: ARG002
        """Say the same again."""
        return Followed(self._box, 1.0)
