"""Boxes between two frames: where a target is looked for, and what the step is told of that.

B boxes, left, top, right, bottom in frame pixels. The runtime's `edge/forecast.py` and
`edge/recurrent.py` do the same in numpy.
"""

import torch
from torch import Tensor

from train.dice import Dice
from train.motion import HORIZONS_S

_JITTER = 0.1  # of a box that is given: of its size, and of log width and height
_SMALLEST = 4.0  # pixels a side of what is looked for


def centre(boxes: Tensor) -> Tensor:
    """Return the centres of boxes (..., 4), (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def jittered(dice: Dice, boxes: Tensor) -> Tensor:
    """Return boxes (B, 4) as a detector or a person would give them: off by a tenth."""
    size = boxes[:, 2:] - boxes[:, :2]  # (B, 2)
    off = _JITTER * dice.normal((len(boxes), 4)).clamp(-2, 2)  # (B, 4)
    half = size * off[:, 2:].exp() / 2  # (B, 2)
    middle = centre(boxes) + off[:, :2] * size  # (B, 2)
    return torch.cat([middle - half, middle + half], 1)


def read(forecast: Tensor, dt: Tensor) -> Tensor:
    """Return the displacement (B, 4) that forecasts (B, 5, 6) say for times (B,); see the runtime.

    Linear between horizons, and still beyond the last: `edge.forecast.read`.
    """
    horizons = torch.tensor(HORIZONS_S, device=dt.device)  # (5,)
    right = torch.searchsorted(horizons, dt.contiguous()).clamp(1, len(HORIZONS_S) - 1)  # (B,)
    before, after = horizons[right - 1], horizons[right]  # (B,) each
    share = ((dt - before) / (after - before)).clamp(0, 1)[:, None]  # (B, 1)
    rows = torch.arange(len(dt), device=dt.device)  # (B,)
    return torch.lerp(forecast[rows, right - 1, :4], forecast[rows, right, :4], share)


def moved(boxes: Tensor, by: Tensor) -> Tensor:
    """Return boxes (B, 4) after a displacement (B, 4): dx, dy in sizes, logs of width, height."""
    extent = boxes[:, 2:] - boxes[:, :2]  # (B, 2)
    middle = centre(boxes) + by[:, :2] * extent.prod(1, keepdim=True).sqrt()  # (B, 2)
    half = extent * by[:, 2:].exp() / 2  # (B, 2)
    return torch.cat([middle - half, middle + half], 1)


def guarded(boxes: Tensor, frame: int) -> Tensor:
    """Keep what is looked for in the frame, and of a size that can be looked at, (B, 4)."""
    half = (boxes[:, 2:] - boxes[:, :2]).clamp(_SMALLEST, 2.0 * frame) / 2  # (B, 2)
    middle = centre(boxes).clamp(0, frame)  # (B, 2)
    return torch.cat([middle - half, middle + half], 1)


def described(dt: Tensor, boxes: Tensor, views: Tensor) -> Tensor:
    """Return `motion` (B, 6) of crops: dt (B,), the last boxes (B, 4) and the crops' views (B, 4).

    See `train.memory.Geometry`.
    """
    extent, view = boxes[:, 2:] - boxes[:, :2], views[:, 2:] - views[:, :2]  # (B, 2), (B, 2)
    size = extent.prod(1, keepdim=True).sqrt()  # (B, 1)
    middle = (centre(views) - centre(boxes)) / size  # (B, 2)
    shape = (extent[:, 0] / extent[:, 1]).log()  # (B,)
    return torch.cat([dt[:, None], middle, (view / size).log(), shape[:, None]], 1)
