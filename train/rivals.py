"""What a motion LSTM is measured against: staying, damped velocity, and a Kalman filter.

Their numbers are parameters, fitted to the same stretches by the same gradient descent, so that the
comparison is with filters at their best.
"""

import torch
from torch import Tensor, nn

from train.dice import Dice
from train.motion import HORIZONS_S
from train.motion_data import Noise, Stretches, Tracks, sizes

_STRETCHES, _STEPS = 192, 24  # of a batch, and detections in each
_WEIGHT = (0.0, 10.0, 5.0, 2.5, 0.0)  # of a horizon: those that figures are given for


class Velocity(nn.Module):
    """Goes on at a smoothed velocity that fades; no gain at all is to stay."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Parameter(torch.tensor(0.3).log())  # seconds
        self.fading = nn.Parameter(torch.tensor(0.5).log())  # seconds

    def forward(self, seen: Stretches) -> Tensor:
        """Return displacements of the centre, in sizes of the measured box, (B, T, 5, 2)."""
        size = sizes(seen.measured)  # (B, T, 1)
        velocity = torch.zeros_like(seen.measured[:, 0, :2])  # (B, 2) pixels a second
        said = [_faded(velocity, self.fading.exp())]
        for step in range(1, seen.dt.shape[1]):
            dt = seen.dt[:, step, None].clamp_min(1e-3)  # (B, 1)
            moved = seen.measured[:, step, :2] - seen.measured[:, step - 1, :2]  # (B, 2)
            kept = torch.exp(-dt / self.memory.exp())  # (B, 1)
            velocity = kept * velocity + (1 - kept) * moved / dt  # (B, 2)
            said.append(_faded(velocity, self.fading.exp()))
        return torch.stack(said, 1) / size[:, :, None]  # (B, T, 5, 2)


class Kalman(nn.Module):
    """Constant velocity that may fade, noise in sizes, and noise that follows surprise.

    An Ornstein-Uhlenbeck velocity; with an endless `fading` it is the constant-velocity filter. The
    position's variance grows where a detection is further off than expected (Mehra 1972), as much
    as `nervous` says.
    """

    def __init__(self, nervous: bool = False, fading: bool = True) -> None:
        super().__init__()
        self.noise = nn.Parameter(torch.tensor(0.05).log())  # of a detection, in sizes
        self.drift = nn.Parameter(torch.tensor(1.0).log())  # sizes a second, per root second
        self.first = nn.Parameter(torch.tensor(1.0).log())  # velocity at first, sizes a second
        self.fading = nn.Parameter(torch.tensor(2.0).log(), requires_grad=fading)  # seconds
        if not fading:
            self.fading.data.fill_(5.0)  # two minutes
        self.nervous = nn.Parameter(torch.tensor(1.0 if nervous else 0.0), requires_grad=nervous)

    def forward(self, seen: Stretches) -> Tensor:
        """Return displacements of the centre, in sizes of the measured box, (B, T, 5, 2)."""
        fading, noise = self.fading.exp(), (2 * self.noise).exp()
        place = seen.measured[:, 0, :2]  # (B, 2)
        velocity = torch.zeros_like(place)  # (B, 2)
        blank = torch.ones_like(place[:, :1])  # (B, 1)
        p, c, v = noise * blank, 0 * blank, (2 * self.first).exp() * blank  # (B, 1) each
        said = [_faded(velocity, fading)]
        for step in range(1, seen.dt.shape[1]):
            dt = seen.dt[:, step, None]  # (B, 1)
            kept = torch.exp(-dt / fading)  # (B, 1)
            reach = fading * (1 - kept)  # (B, 1)
            q = (2 * self.drift).exp()
            place = place + velocity * reach  # (B, 2)
            velocity = velocity * kept  # (B, 2)
            p = p + 2 * reach * c + reach**2 * v + q * _wander(dt, fading)  # (B, 1)
            c = kept * (c + reach * v) + q * reach**2 / 2  # (B, 1)
            v = kept**2 * v + q * fading * (1 - kept**2) / 2  # (B, 1)
            size = sizes(seen.measured[:, step])  # (B, 1)
            off = (seen.measured[:, step, :2] - place) / size  # (B, 2)
            surprise = off.square().sum(1, keepdim=True) / (p + noise) / 2  # (B, 1) 1 is expected
            p = p * (1 + self.nervous.clamp(0, 2) * (surprise - 1).clamp(0, 100))  # (B, 1)
            gain, steer = p / (p + noise), c / (p + noise)  # (B, 1)
            place, velocity = place + gain * off * size, velocity + steer * off * size  # (B, 2)
            p, c, v = (1 - gain) * p, (1 - gain) * c, v - steer * c  # (B, 1)
            here = (place - seen.measured[:, step, :2])[:, None]  # (B, 1, 2)
            said.append(here + _faded(velocity, fading))
        return torch.stack(said, 1) / sizes(seen.measured)[:, :, None]  # (B, T, 5, 2)


def tuned(rival: nn.Module, sources: list[tuple[Tracks, float]], batches: int = 400) -> nn.Module:
    """Fit a rival's numbers to the distance of its forecasts from the truth.

    Args:
        rival: Changed in place, and returned.
        sources: Tracks to learn from, and the share of a batch that is theirs.
        batches: How many.
    """
    free = [parameter for parameter in rival.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(free, 0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, batches)
    dice = Dice(torch.Generator().manual_seed(1))
    for _ in range(batches):
        loss = torch.zeros(())
        for tracks, share in sources:
            seen = tracks.draw(dice, round(share * _STRETCHES), _STEPS, Noise())
            off = (rival(seen) - seen.wanted()[..., :2]).norm(dim=-1)  # (B, T, 5)
            known = seen.known * seen.known[..., :1]  # (B, T, 5)
            loss = loss + share * (off * known * off.new_tensor(_WEIGHT)).sum() / known.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return rival


def _faded(velocity: Tensor, fading: Tensor) -> Tensor:
    """Return how far a velocity (B, 2) that fades leads by each horizon, (B, 5, 2)."""
    reach = fading * (1 - torch.exp(-velocity.new_tensor(HORIZONS_S) / fading))  # (5,)
    return velocity[:, None] * reach[:, None]


def _wander(dt: Tensor, fading: Tensor) -> Tensor:
    """Return the variance of place that an Ornstein-Uhlenbeck velocity adds in dt, per drift^2."""
    lapsed = 1 - torch.exp(-dt / fading)
    short = dt**3 / 3
    long = fading**2 * (dt - fading * (lapsed + lapsed**2 / 2))
    return torch.where(dt < 0.05 * fading, short, long)
