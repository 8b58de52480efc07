"""`python -m train.fit --config configs/train-appearance.toml --out build/appearance`: a stage.

Run it again to go on from the last checkpoint; under `torchrun` several processes fit one net.
"""

import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from edge.cli import guarded
from edge.errors import UsageError
from train.config import Settings, load_settings
from train.crowd import Crowd
from train.curves import draw
from train.fitting import LOG, Fitting, Stage, load, read
from train.following import Following, Tracker
from train.looking import Appearance, Looking
from train.render import Renderer
from train.sets import load_stills
from train.trajectories import load_trajectories


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, and return the exit code."""
    parser = ArgumentParser(prog="python -m train.fit", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="a TOML file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--looking", type=Path, metavar="FILE", help="weights of the first stage")
    parser.add_argument("--motion", type=Path, metavar="FILE", help="weights of a motion LSTM")
    parser.add_argument("--minutes", type=float, help="stop after so many, to go on another time")
    args = parser.parse_args(argv)
    return guarded("train.fit", lambda: _fit(args))


def _fit(args: Namespace) -> int:
    until = time.monotonic() + 60 * (args.minutes or math.inf)
    settings = load_settings(args.config)
    with Crowd() as crowd:
        torch.manual_seed(settings.seed)
        Fitting(_stage(args, settings, crowd.device), settings.fitting, args.out, crowd).run(until)
        if crowd.rank == 0 and (args.out / LOG).exists():
            draw(args.out)
    return 0


def _stage(args: Namespace, settings: Settings, device: torch.device) -> Stage:
    training, held = (_renderer(settings, split, device) for split in ("train", "held-out"))
    if settings.stage == "looking":
        net = Appearance()
        if args.looking:
            load(net, args.looking)
        return Looking(net.to(device), training, held, settings)
    if not (args.looking and args.motion):
        raise UsageError("--looking, --motion: this stage begins with weights of both; name them")
    tracker = Tracker(settings)
    tracker.begin(read(args.looking), read(args.motion))
    return Following(tracker.to(device), training, held, settings)


def _renderer(settings: Settings, split: str, device: torch.device) -> Renderer:
    data = settings.data
    stills = load_stills(Path(data.stills), split, device)
    return Renderer(stills, load_trajectories(data.trajectories, device), settings)


if __name__ == "__main__":
    sys.exit(main())
