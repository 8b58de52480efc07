"""The tracker's appearance part: a crop and a template -> where the target is in the crop.

N targets. The encoder is a small depthwise-separable network in the manner of MobileNet (Howard et
al. 2017); template and search are compared as in SiamRPN's successors, by a correlation of every
cell of the one with every cell of the other, here followed by a learnt filter that starts out as
the plain sum along the diagonal. The box is the expectation under the score map, so that no peak
has to be chosen.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8  # pixels of a crop a cell
TEMPLATE = 6  # cells a side: the middle of the crop
CHANNELS = 64  # of the features
CODE = 48  # of a cell that is compared
FILTERS = 6  # what the matched filter looks for: the whole, its inside, its four halves


@dataclass(frozen=True)
class Sight:
    """What one look at a crop says of the target; c cells a side."""

    shift: Tensor  # (N, 2) of the centre from the crop's, in shares of the crop
    growth: Tensor  # (N, 2) log of width and height relative to the reference box
    presence: Tensor  # (N,) logit
    scores: Tensor  # (N, c * c) logits of where the centre is
    cells: Tensor  # (N, c * c, 4) what each cell says of shift and growth
    evidence: Tensor  # (N, EVIDENCE) what presence was judged by


EVIDENCE = 2 * CHANNELS + 2


class Encoder(nn.Module):
    """Crops -> features of a grid of cells, and the template code of the middle ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(3, 16, 3, stride=2),
            _separable(16, 32, 3, stride=2),
            Residual(32, 3),
            _separable(32, CHANNELS, 5, stride=2),
            Residual(CHANNELS, 5),
            Residual(CHANNELS, 5),
            Residual(CHANNELS, 5),
        )
        self.code = nn.Conv2d(CHANNELS, CODE, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Look at crops.

        Args:
            image: (N, s, s, 3) uint8 RGB, s a multiple of STRIDE.

        Returns:
            features (N, c, c, CHANNELS) and template (N, TEMPLATE ** 2, CODE).
        """
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)  # (N, 3, s, s)
        features = self.body((pixels - 127.5) * (1 / 64))  # (N, CHANNELS, c, c)
        low = (features.shape[-1] - TEMPLATE) // 2
        middle = features[:, :, low : low + TEMPLATE, low : low + TEMPLATE]
        template = self.code(middle).flatten(2).transpose(1, 2)  # (N, TEMPLATE ** 2, CODE)
        return features.permute(0, 2, 3, 1), template


class Matcher(nn.Module):
    """Features and a template -> where the target is, and whether."""

    def __init__(self) -> None:
        super().__init__()
        maps = TEMPLATE**2
        self.code = nn.Conv2d(CHANNELS, CODE, 1)
        self.even = nn.BatchNorm2d(maps)
        self.filter = nn.Conv2d(maps, FILTERS, TEMPLATE)
        self.head = nn.Sequential(
            _conv(CHANNELS + maps + FILTERS, CHANNELS, 1),
            Residual(CHANNELS, 5),
            Residual(CHANNELS, 5),
        )
        self.read = nn.Conv2d(CHANNELS, 5, 1)
        self.judge = nn.Sequential(nn.Linear(EVIDENCE, 32), nn.ReLU6(), nn.Linear(32, 1))
        with torch.no_grad():
            self.filter.weight.copy_(_diagonal())
            self.filter.bias.zero_()
            self.read.weight.mul_(0.1)

    def forward(self, features: Tensor, template: Tensor) -> Sight:
        """Compare.

        Args:
            features: (N, c, c, CHANNELS).
            template: (N, TEMPLATE ** 2, CODE).
        """
        features = features.permute(0, 3, 1, 2)  # (N, CHANNELS, c, c)
        cells = features.shape[-1]
        code = self.code(features).flatten(2)  # (N, CODE, c * c)
        alike = torch.matmul(template, code) * CODE**-0.5  # (N, TEMPLATE ** 2, c * c)
        maps = self.even(alike.unflatten(2, (cells, cells)))  # (N, TEMPLATE ** 2, c, c)
        low = TEMPLATE // 2
        around = (low, TEMPLATE - 1 - low) * 2
        found = self.filter(functional.pad(maps, around))  # (N, FILTERS, c, c)
        seen = self.head(torch.cat([features, maps, found], 1))  # (N, CHANNELS, c, c)
        read = self.read(seen).flatten(2).transpose(1, 2)  # (N, c * c, 5)
        scores, said = read[..., 0], read[..., 1:]  # (N, c * c), (N, c * c, 4)
        where = _centres(cells, said.device)  # (c * c, 2)
        said = torch.cat([where + said[..., :2] * (1 / cells), said[..., 2:]], 2)  # (N, c * c, 4)
        weight = torch.softmax(scores, 1)[:, None]  # (N, 1, c * c)
        box = torch.matmul(weight, said)[:, 0]  # (N, 4)
        grid = seen.flatten(2).transpose(1, 2)  # (N, c * c, CHANNELS)
        peak = scores.amax(1, keepdim=True)  # (N, 1)
        total = peak + (scores - peak).exp().sum(1, keepdim=True).log()  # (N, 1)
        pooled = torch.matmul(weight, grid)[:, 0]  # (N, CHANNELS)
        evidence = torch.cat([pooled, grid.mean(1), peak, total], 1)  # (N, EVIDENCE)
        presence = self.judge(evidence)[:, 0]  # (N,)
        return Sight(box[:, :2], box[:, 2:], presence, scores, said, evidence)


class Residual(nn.Module):
    """x + a depthwise and a pointwise convolution of it."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            _conv(channels, channels, kernel, groups=channels),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, c, c), as given."""
        return functional.relu6(x + self.change(x))


def _conv(given: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(
        given, made, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(made), nn.ReLU6())


def _separable(given: int, made: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_conv(given, given, kernel, stride, groups=given), _conv(given, made, 1))


def _centres(cells: int, device: torch.device) -> Tensor:
    """Return the cells' centres from the crop's centre in shares of it, (c * c, 2) x, y."""
    steps = (torch.arange(cells, device=device) + 0.5) * (1 / cells) - 0.5  # (c,)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], 2).flatten(0, 1)  # (c * c, 2)


def _diagonal() -> Tensor:
    """Return a matched filter: map k of the correlation is read where cell k would then lie.

    Returns:
        (FILTERS, TEMPLATE ** 2, TEMPLATE, TEMPLATE): means over all cells, the inner, left, right,
        upper and lower ones.
    """
    side = TEMPLATE
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inner = (x >= 1) & (x < side - 1) & (y >= 1) & (y < side - 1)
    half = side // 2
    groups = [x >= 0, inner, x < half, x >= half, y < half, y >= half]
    own = torch.eye(side * side).view(side * side, side, side)  # map k, read at cell k
    return torch.stack([own * (group / group.sum()).flatten()[:, None, None] for group in groups])
