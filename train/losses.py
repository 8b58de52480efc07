"""What a look at a crop is judged by. N crops, c cells a side."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from train.model import Sight

_SPREAD = 1.0  # cells: standard deviation of the score map that is wanted
_HIDDEN, _SEEN = 0.15, 0.5  # visible shares from which presence counts as none, and as full


@dataclass(frozen=True)
class Truth:
    """Where the target is in its crop."""

    shift: Tensor  # (N, 2) of its centre from the crop's, in shares of the crop
    growth: Tensor  # (N, 2) log of its width and height relative to the reference box
    reference: Tensor  # (N, 2) width and height of the reference box in shares of the crop
    visible: Tensor  # (N,) share of it that can be seen; 0 where the template is another's


def judged(sight: Sight, truth: Truth) -> dict[str, Tensor]:
    """Return the terms of the loss by name, weighted; their sum is what is minimised."""
    there = (truth.visible > _HIDDEN).float()  # (N,)
    count = there.sum().clamp_min(1.0)

    def mean(values: Tensor) -> Tensor:
        return (values * there).sum() / count

    box = corners(sight.shift, sight.growth, truth.reference)  # (N, 4)
    wanted = corners(truth.shift, truth.growth, truth.reference)  # (N, 4)
    off = torch.cat([(sight.shift - truth.shift) / truth.reference, sight.growth - truth.growth], 1)
    target = score_map(truth.shift, round(sight.scores.shape[1] ** 0.5))  # (N, c * c)
    cells = corners(sight.cells[..., :2], sight.cells[..., 2:], truth.reference[:, None])
    each = 1 - giou(cells, wanted[:, None])  # (N, c * c)
    known = ((truth.visible - _HIDDEN) / (_SEEN - _HIDDEN)).clamp(0, 1)  # (N,)
    return {
        "box": mean(1 - giou(box, wanted) + 0.5 * off.abs().mean(1)),
        "map": 0.5 * mean(-(target * functional.log_softmax(sight.scores, 1)).sum(1)),
        "cells": mean((target * each).sum(1)),
        "presence": 0.5 * functional.binary_cross_entropy_with_logits(sight.presence, known),
    }


def corners(shift: Tensor, growth: Tensor, reference: Tensor) -> Tensor:
    """Return left, top, right, bottom (..., 4) in shares of the crop, from its centre."""
    half = reference * growth.clamp(-3, 3).exp() / 2  # (..., 2)
    return torch.cat([shift - half, shift + half], -1)


def score_map(shift: Tensor, cells: int) -> Tensor:
    """Return where a centre is, as a Gaussian over the cells that sums to 1, (N, c * c)."""
    steps = (torch.arange(cells, device=shift.device) + 0.5) / cells - 0.5  # (c,)
    off = (steps - shift[..., None]) * (cells / _SPREAD)  # (N, 2, c)
    x, y = torch.softmax(-off.square() / 2, -1).unbind(1)  # (N, c), (N, c)
    return (y[:, :, None] * x[:, None, :]).flatten(1)  # (N, c * c)


def iou(found: Tensor, wanted: Tensor) -> Tensor:
    """Return intersection over union of boxes (..., 4), (...)."""
    return _overlap(found, wanted)[0]


def giou(found: Tensor, wanted: Tensor) -> Tensor:
    """Return generalised intersection over union (Rezatofighi et al. 2019) of boxes, (...)."""
    share, union = _overlap(found, wanted)
    low, high = torch.minimum(found, wanted), torch.maximum(found, wanted)
    around = (high[..., 2:] - low[..., :2]).prod(-1)
    return share - (around - union) / around


def _overlap(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over union, and the union."""
    low, high = torch.maximum(found, wanted), torch.minimum(found, wanted)
    shared = (high[..., 2:] - low[..., :2]).clamp_min(0).prod(-1)
    area = (found[..., 2:] - found[..., :2]).prod(-1) + (wanted[..., 2:] - wanted[..., :2]).prod(-1)
    union = area - shared
    return shared / union, union
