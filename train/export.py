"""`python -m train.export --looking build/appearance/weights.pt --out bundles/track-stateless`.

What was fitted -> a bundle of kind `tracker`, through the converter like any user's model. The
crops that ranges and differences are measured on come from held-out pictures.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from convert.conversion import convert
from convert.model import SourceOptions
from convert.recording import Request
from convert.samples import read_samples
from convert.torch.tracker import TrackerModel
from convert.tracker import IMAGE, crop_input, sampled
from edge.cli import guarded
from edge.errors import UsageError
from edge.types import Array
from train.config import Settings, load_settings
from train.dice import Dice
from train.fitting import load
from train.following import Tracker
from train.geometry import described, jittered
from train.looking import Appearance
from train.memory import Forgetful, Still
from train.render import Renderer
from train.sets import load_stills
from train.trajectories import load_trajectories

_ORIGIN = "trained by edgetrack on free still photographs, see docs/tracker.md"
_RECORDED = 2  # steps for a device to replay: enough to carry the state once; pictures are large
_CONFIG = "that it was fitted with: it says what memory there is; default: %(default)s"
_MIXED = (
    "with both: how far the look's weights go from the first stage's to the second's, 0..1; half "
    "way keeps what either is better at (Wortsman et al. 2022); default: 1"
)


class Deployed(nn.Module):
    """What is converted: the encoder and one of the steps."""

    def __init__(self, encoder: nn.Module, step: nn.Module) -> None:
        super().__init__()
        self.encoder, self.step = encoder, step


def main(argv: Sequence[str] | None = None) -> int:
    """Write a bundle, and return the exit code."""
    parser = ArgumentParser(prog="python -m train.export", description=__doc__)
    parser.add_argument(
        "--config", type=Path, default=Path("configs/train-tracker.toml"), help=_CONFIG
    )
    parser.add_argument("--looking", type=Path, metavar="FILE", help="weights of the first stage")
    parser.add_argument("--following", type=Path, metavar="FILE", help="weights of the second")
    parser.add_argument("--mixed", type=float, default=1.0, metavar="SHARE", help=_MIXED)
    parser.add_argument("--quantise", choices=("none", "int8"), default="none", help="the encoder")
    parser.add_argument("--to", choices=("tflite,onnx", "tflite", "onnx"), default="tflite,onnx")
    parser.add_argument(
        "--accept", choices=("drift",), action="append", default=[], help="write it all the same"
    )
    parser.add_argument("--steps", type=int, default=1000, help="compared with what was fitted")
    parser.add_argument("--version", default="1", help="of the bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="is also its name")
    args = parser.parse_args(argv)
    return guarded("train.export", lambda: _export(args))


def _export(args: Namespace) -> int:
    settings = load_settings(args.config)
    module = deployed(args, settings).eval()
    source = TrackerModel(args.out.name, module, SourceOptions())
    image = crop_input(source.inputs[IMAGE], settings.scene.context, settings.scene.square)
    with TemporaryDirectory() as folder:
        path = Path(folder, "crops.npz")
        crops = sample_crops(settings)
        np.savez(path, image=crops["image"], target=crops["target"], motion=crops["motion"])
        samples = read_samples(path, sampled(source.inputs), image, args.steps)
    request = Request(
        name=args.out.name,
        version=args.version,
        licence="Apache-2.0",
        origin=_ORIGIN,
        image=image,
        scope="per_track",
        mode=args.quantise,
        steps=args.steps,
        formats=tuple(args.to.split(",")),
        recorded_steps=_RECORDED,
        accept=frozenset((*args.accept, *(() if source.states else ("dead-state",)))),
    )
    convert(source, samples, request, args.out)
    return 0


def deployed(args: Namespace, settings: Settings) -> Deployed:
    """Build what is converted.

    Args:
        args: Which weights, as on the command line.
        settings: Of the crops.

    Raises:
        UsageError: No weights are named, or no share.
        DataError: They cannot be read, or are of another net.
    """
    if not (args.looking or args.following) or not 0 <= args.mixed <= 1:
        raise UsageError("--looking, --following, --mixed: name weights, and a share of 0 to 1")
    seen, tracker = Appearance(), Tracker(settings)
    if args.looking:
        load(seen, args.looking)
    if not args.following:
        still = Still(settings.scene)
        still.matcher = seen.matcher
        return Deployed(seen.encoder, still)
    load(tracker, args.following)
    if args.looking:
        mix(tracker.step.matcher, seen.matcher, args.mixed)
    step = Forgetful(tracker.step) if settings.memory == "empty" else tracker.step
    return Deployed(tracker.encoder, step)


@torch.no_grad()
def mix(later: nn.Module, earlier: nn.Module, share: float) -> None:
    """Set the weights of `later`, in place, to that share of the way from those of `earlier`."""
    before = earlier.state_dict()
    for name, value in later.state_dict().items():
        if value.dtype.is_floating_point:
            value.copy_(torch.lerp(before[name], value, share))


def sample_crops(settings: Settings) -> dict[str, Array]:
    """Return sequences of crops as a tracker sees them, of held-out pictures.

    Returns:
        `image` and `target` (B, T - 1, s, s, 3) uint8, `motion` (B, T - 1, 6) float32.
    """
    cpu, data = torch.device("cpu"), settings.data
    stills = load_stills(Path(data.stills), "held-out", cpu)
    renderer = Renderer(stills, load_trajectories(data.trajectories, cpu), settings)
    generator = renderer.generator(settings.seed)
    dice, scene = Dice(generator), renderer.begin(generator)
    boxes = scene.plan.boxes  # (B, T, 4)
    target = renderer.look(generator, scene, 0, jittered(dice, boxes[:, 0]))  # (B, 3, s, s)
    images, motions = [], []
    for frame in range(1, boxes.shape[1]):
        last = jittered(dice, boxes[:, frame - 1])  # (B, 4) where a tracker thought it was
        images.append(renderer.look(generator, scene, frame, last))
        dt = scene.plan.skips[:, frame] / data.fps  # (B,)
        motions.append(described(dt, last, renderer.region(last)))
    image = torch.stack(images, 1).permute(0, 1, 3, 4, 2)  # (B, T - 1, s, s, 3)
    same = target.permute(0, 2, 3, 1)[:, None].expand_as(image)
    return {
        "image": image.numpy(),
        "target": same.numpy(),
        "motion": torch.stack(motions, 1).numpy().astype(np.float32),
    }


if __name__ == "__main__":
    sys.exit(main())
