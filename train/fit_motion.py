"""`python -m train.fit_motion --config configs/train-motion.toml --out DIR`: the motion LSTM.

Run it again to go on from the last checkpoint. `--control` fits the same net with a memory that is
always empty. Both are told the truth about no track that is held out.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from edge.cli import guarded
from edge.errors import UsageError
from train.config import load_settings
from train.crowd import Crowd
from train.dice import Dice
from train.fitting import Fitting
from train.motion import HORIZONS_S, MotionLSTM
from train.motion_data import Stretches, Track, Tracks, kitti_tracks, otb_tracks, sizes

HELD_OUT = 4
"""Every so manieth trajectory, by name, is held out."""
CAR_SEQUENCES = ("0000", "0002", "0004", "0006", "0008", "0010")
"""The KITTI sequences to learn from; figures are reported on 0012 to 0020."""
_CARS = 0.4  # share of a batch
_FORECAST = len(HORIZONS_S), 6
_CHECKED = 512  # stretches
_WEIGHT = (0.3, 10.0, 5.0, 2.5, 1.25)  # of a horizon: about one over how far targets get by then


class Forecasting:
    """The stage: a stretch at a time, the truth at every horizon from every detection."""

    def __init__(
        self, sources: list[tuple[Tracks, int]], held: Tracks, steps: int, control: bool
    ) -> None:
        """Take the data.

        Args:
            sources: Tracks to learn from, and how many stretches of each make a batch.
            held: Tracks to check on.
            steps: Detections in a stretch.
            control: The memory is always empty.
        """
        self.net = MotionLSTM().to(held.device)
        self._sources, self._steps, self._control = sources, steps, control
        generator = torch.Generator(held.device)
        generator.manual_seed(0)
        which = torch.arange(_CHECKED, device=held.device) % len(held.tracks)
        self._held = held.stretches(Dice(generator), which, steps)

    steps = 32

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch and return the terms of its loss; see `Stage.loss`."""
        dice = Dice(generator)
        terms: dict[str, Tensor] = {}
        for tracks, count in self._sources:
            seen = tracks.draw(dice, count, self._steps)
            found = judged(foreseen(self.net, seen, self._control), seen)
            share = count / sum(n for _, n in self._sources)
            terms = {name: terms.get(name, 0.0) + share * v for name, v in found.items()}
        return terms

    @torch.no_grad()
    def validate(self, net: MotionLSTM) -> dict[str, float]:
        """Return mean centre errors in sizes on held-out tracks; see `Stage.validate`."""
        forecast = foreseen(net, self._held, self._control)[..., :2]  # (B, T, 5, 2)
        off, known = centre_errors(forecast, self._held), self._held.known  # (B, T, 5) each
        mean = (off * known).sum((0, 1)) / known.sum((0, 1))  # (5,)
        return dict(zip(("now", "33 ms", "100 ms", "333 ms", "1 s"), mean.tolist(), strict=True))


def foreseen(net: MotionLSTM, seen: Stretches, control: bool = False) -> Tensor:
    """Return the forecasts (B, T, 5, 6) that a net makes along stretches.

    Args:
        net: It.
        seen: The stretches.
        control: The memory is empty at each step.
    """
    features = seen.features()  # (B, T, 6)
    if not control:
        return net.unrolled(features)
    alone = features.flatten(0, 1)[:, None]  # (B * T, 1, 6)
    return net.unrolled(alone).view(*features.shape[:2], *_FORECAST)


def judged(forecast: Tensor, seen: Stretches) -> dict[str, Tensor]:
    """Return the terms of the loss: distances, and the Laplace likelihood with its scales.

    The likelihood alone would make much of targets that hardly move and little of those that are
    hard to foresee, which are the ones that are lost.

    Args:
        forecast: (B, T, 5, 6).
        seen: What it was made from.
    """
    known = seen.known * seen.known[..., :1]  # (B, T, 5)
    off = forecast[..., :4] - seen.wanted()  # (B, T, 5, 4)
    weight = forecast.new_tensor(_WEIGHT)  # (5,)
    distance = off[..., :2].norm(dim=-1) + 0.2 * off[..., 2:].norm(dim=-1)  # (B, T, 5)
    spread = forecast[..., 4:]  # (B, T, 5, 2)
    pairs = off.abs().unflatten(-1, (2, 2)).sum(-1)  # (B, T, 5, 2)
    laplace = pairs * torch.exp(-spread) + 2 * spread  # (B, T, 5, 2)
    likelihood = laplace[..., 0] + 0.5 * laplace[..., 1]  # (B, T, 5)
    total = known.sum().clamp_min(1.0)
    return {
        "distance": (distance * weight * known).sum() / total,
        "likelihood": 0.1 * (likelihood * known).sum() / total,
    }


def centre_errors(displacement: Tensor, seen: Stretches) -> Tensor:
    """Return how far forecast centres are off, in true sizes, (B, T, 5).

    Args:
        displacement: (B, T, 5, 2) in sizes of the measured boxes.
        seen: What it was made from.
    """
    off = (displacement - seen.wanted()[..., :2]).norm(dim=-1)  # (B, T, 5)
    return off * sizes(seen.measured) / sizes(seen.truth[:, :, 0])


def split(tracks: list[Track]) -> tuple[list[Track], list[Track]]:
    """Return tracks to learn from and those held out: every HELD_OUTth by name."""
    held = set(sorted({track.name for track in tracks})[::HELD_OUT])
    return [t for t in tracks if t.name not in held], [t for t in tracks if t.name in held]


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, and return the exit code."""
    parser = ArgumentParser(prog="python -m train.fit_motion", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="a TOML file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--cars", type=Path, metavar="DIR", help="KITTI labels to learn from too")
    parser.add_argument("--control", action="store_true", help="the memory is always empty")
    parser.add_argument("--seed", type=int, help="in place of the file's")
    args = parser.parse_args(argv)
    return guarded("train.fit_motion", lambda: _fit(args))


def _fit(args: Namespace) -> int:
    settings = load_settings(args.config)
    if not settings.data.trajectories:
        raise UsageError(
            f"{args.config}: data.trajectories is empty; name a folder of x,y,w,h text"
        )
    seed = settings.seed if args.seed is None else args.seed
    torch.manual_seed(seed)
    learnt, held = split(otb_tracks(Path(settings.data.trajectories), settings.data.fps))
    cars = [kitti_tracks(args.cars / f"{name}.txt") for name in CAR_SEQUENCES if args.cars]
    with Crowd() as crowd:
        device = crowd.device
        count = round(settings.scenes * _CARS) if cars else 0
        sources = [(Tracks(learnt, device), settings.scenes - count)]
        if cars:
            sources.append((Tracks([track for part in cars for track in part], device), count))
        stage = Forecasting(sources, Tracks(held, device), settings.length, args.control)
        fitting = msgspec.structs.replace(settings.fitting, seed=seed)
        Fitting(stage, fitting, args.out, crowd).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
