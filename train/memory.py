"""The step: a look, and what the past makes of it. N targets, one row each.

`Step` is what ships: an LSTM over the moves says where the target will be, which is where the next
crop is cut, and where it was expected it stays while the look does not see it. `Forgetful` is the
control: the same net whose memory is always empty. `Still` is the look alone, the baseline.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.config import SceneSettings
from train.model import EVIDENCE, Matcher, Sight
from train.motion import HORIZONS_S, MOVES, UNITS, MotionLSTM

_HINTS = 8  # numbers that the LSTM is told of what presence was judged by
_DOUBT = 0.1  # presence under which a look counts for less than where the target was expected
_DAMPING = 0.3  # what is believed of a change of size
_UNKNOWN = math.log(0.3)  # scale in sizes of what it foresees of a target it does not see
_LARGEST = math.log(1.6)  # change of size that is believed at all


@dataclass(frozen=True)
class Found:
    """All that a step gives."""

    sight: Sight
    box: Tensor  # (N, 4) left, top, right, bottom in shares of the crop
    presence: Tensor  # (N,) logit
    forecast: Tensor  # (N, 5, 6)
    memory: tuple[Tensor, ...]  # (N, UNITS) each


class Geometry(nn.Module):
    """How a crop lies to the target's last box: the meaning of `motion` (N, 6).

    Seconds since the last step; centre of the crop from the last box's, x and y, in sizes of that
    box; logs of the crop's width and height in that size; log of the last box's width / height.
    """

    def __init__(self, scene: SceneSettings) -> None:
        super().__init__()
        self._context, self._square = scene.context, scene.square

    def reference(self, motion: Tensor) -> Tensor:
        """Return width and height of the box that was cut around, in shares of the crop, (N, 2)."""
        shape = (motion[:, 3:4] - motion[:, 4:5]) / max(1e-3, 1 - self._square)  # (N, 1)
        tilt = shape * (0.5 * self._square)  # (N, 1)
        return torch.cat([tilt, -tilt], 1).exp() / self._context

    def moves(self, motion: Tensor, shift: Tensor, growth: Tensor) -> Tensor:
        """Return dt, displacement in sizes and change of log width and height, (N, MOVES).

        Args:
            motion: (N, 6).
            shift: (N, 2) of the box's centre from the crop's, in shares of the crop.
            growth: (N, 2) log of its width and height relative to the box that was cut around.
        """
        crop = motion[:, 3:5]  # (N, 2) log sides, in sizes of the last box
        shape = motion[:, 5:6] * 0.5  # (N, 1)
        last = torch.cat([shape, -shape], 1)  # (N, 2) log sides, likewise
        centre = motion[:, 1:3] + shift * crop.exp()  # (N, 2)
        size = crop + self.reference(motion).log() + growth - last  # (N, 2)
        return torch.cat([motion[:, :1], centre, size], 1)  # (N, MOVES)


class Step(nn.Module):
    """One step of the tracker: features, template, motion and memory -> box, presence, forecast."""

    def __init__(self, scene: SceneSettings) -> None:
        super().__init__()
        self.matcher = Matcher()
        self.geometry = Geometry(scene)
        self.hints = nn.Linear(EVIDENCE, _HINTS)
        self.motion = MotionLSTM(MOVES + 1 + _HINTS)
        self.presence = nn.Linear(UNITS, 1)
        nn.init.zeros_(self.presence.weight)  # it starts as the look alone
        nn.init.zeros_(self.presence.bias)

    def forward(
        self, features: Tensor, template: Tensor, motion: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        """Take one step.

        Args:
            features: (N, c, c, CHANNELS) of the crop.
            template: (N, TEMPLATE ** 2, CODE).
            motion: (N, 6), see `Geometry`.
            hidden: (N, UNITS), zeros at first.
            cell: (N, UNITS), zeros at first.

        Returns:
            box (N, 4) left, top, right, bottom in shares of the crop, presence (N, 1) 0..1,
            forecast (N, 5, 6) from that box, and the next hidden and cell.
        """
        found = self.all(features, template, motion, (hidden, cell))
        presence = torch.sigmoid(found.presence)[:, None]  # (N, 1)
        return found.box, presence, found.forecast, *found.memory

    def all(
        self, features: Tensor, template: Tensor, motion: Tensor, memory: tuple[Tensor, Tensor]
    ) -> Found:
        """Take one step and return all of it."""
        sight = self.matcher(features, template)
        growth = damped(sight.growth)  # (N, 2)
        moves = self.geometry.moves(motion, sight.shift, growth)  # (N, MOVES)
        hints = torch.tanh(self.hints(sight.evidence))  # (N, _HINTS)
        score = torch.sigmoid(sight.presence)[:, None]  # (N, 1)
        told = torch.cat([moves, score, hints], 1)  # (N, MOVES + 1 + _HINTS)
        forecast, hidden, cell = self.motion(told, *memory)
        presence = sight.presence + self.presence(hidden)[:, 0]  # (N,)
        share = (score * (1 / _DOUBT)).clamp(0, 1)  # (N, 1)
        reference = self.geometry.reference(motion)  # (N, 2)
        box = edges(sight.shift * share, growth * share, reference)  # (N, 4)
        return Found(sight, box, presence, forecast, (hidden, cell))


class Forgetful(nn.Module):
    """A step whose memory is always empty: the control, and what tells how much memory is worth."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("nothing", torch.zeros(1, UNITS), persistent=False)

    def forward(self, features: Tensor, template: Tensor, motion: Tensor) -> tuple[Tensor, ...]:
        """Take one step; see `Step.forward`."""
        nothing = motion[:, :1] * self.nothing  # (N, UNITS) a constant would not have N rows
        return self.step(features, template, motion, nothing, nothing)[:3]


class Still(nn.Module):
    """The look alone: no memory, and what it sees will stay."""

    def __init__(self, scene: SceneSettings) -> None:
        super().__init__()
        self.matcher = Matcher()
        self.geometry = Geometry(scene)
        scales = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]).repeat(len(HORIZONS_S), 1)  # (5, 6)
        self.register_buffer("known", scales, persistent=False)
        self.register_buffer("unknown", scales * _UNKNOWN, persistent=False)

    def forward(self, features: Tensor, template: Tensor, motion: Tensor) -> tuple[Tensor, ...]:
        """Take one step; see `Step.forward`."""
        found = self.all(features, template, motion, ())
        return found.box, torch.sigmoid(found.presence)[:, None], found.forecast

    def all(
        self, features: Tensor, template: Tensor, motion: Tensor, memory: tuple[Tensor, ...]
    ) -> Found:
        """Take one step and return all of it; the memory as it was."""
        sight = self.matcher(features, template)
        box = edges(sight.shift, damped(sight.growth), self.geometry.reference(motion))  # (N, 4)
        presence = torch.sigmoid(sight.presence)[:, None, None]  # (N, 1, 1)
        forecast = self.unknown - presence * self.known  # (N, 5, 6)
        return Found(sight, box, sight.presence, forecast, memory)


def damped(growth: Tensor) -> Tensor:
    """Return what is believed of a change of size (N, 2) that one look says."""
    return growth.clamp(-_LARGEST, _LARGEST) * _DAMPING


def edges(shift: Tensor, growth: Tensor, reference: Tensor) -> Tensor:
    """Return left, top, right, bottom (N, 4) in shares of the crop, from its left and top."""
    half = reference * growth.clamp(-3, 3).exp() / 2  # (N, 2)
    return torch.cat([shift - half, shift + half], 1) + 0.5
