"""`python -m train.export_motion --weights build/motion/weights.pt --out edge/models/motion`.

The motion LSTM -> a bundle of kind `sequence` with a state per track, through the converter like
any user's model. It is tried on the moves of held-out trajectories.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from convert.conversion import convert
from convert.model import SourceOptions
from convert.recording import Request
from convert.samples import read_samples
from convert.torch import open_torch
from edge.cli import guarded
from edge.manifest import QuantisationMode
from train.config import load_settings
from train.dice import Dice
from train.fit_motion import split
from train.fitting import read
from train.motion import UNITS, MotionLSTM
from train.motion_data import Tracks, otb_tracks

_ORIGIN = "trained by edgetrack on annotated trajectories, see docs/motion.md"
_STEPS = 1000  # over which the converted networks are compared
_STRETCH = 40  # of them on one track


class MotionSequence(nn.Module):
    """A `MotionLSTM` as a layer over time, the form in which converters know an LSTM."""

    def __init__(self, net: MotionLSTM | None = None) -> None:
        super().__init__()
        self.net = net or MotionLSTM()
        weight, bias = self.net.gates.weight.detach(), self.net.gates.bias.detach()
        self.lstm = nn.LSTM(weight.shape[1] - UNITS, UNITS, batch_first=True)
        none = torch.zeros_like(bias)
        parts = weight[:, :-UNITS], weight[:, -UNITS:], bias, none
        self.lstm.load_state_dict(dict(zip(self.lstm.state_dict(), parts, strict=True)))

    def forward(self, motion: Tensor) -> dict[str, Tensor]:
        """Return the forecasts (N, T, 5, 6) along steps (N, T, F)."""
        hidden, _ = self.lstm(self.net.told(motion))  # (N, T, UNITS)
        return {"forecast": self.net.foreseen(motion, hidden)}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bundle, and return the exit code."""
    parser = ArgumentParser(prog="python -m train.export_motion", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/train-motion.toml"))
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--quantise", choices=("none", "float16"), default="none")
    parser.add_argument("--version", default="1", help="of the bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="is also its name")
    args = parser.parse_args(argv)
    return guarded("train.export_motion", lambda: _export(args))


def _export(args: Namespace) -> int:
    data = load_settings(args.config).data
    net = MotionLSTM()
    net.load_state_dict(read(args.weights))
    _, held = split(otb_tracks(Path(data.trajectories), data.fps))
    write(net, Tracks(held), args.out, args.version, args.quantise)
    return 0


def write(
    net: MotionLSTM, held: Tracks, folder: Path, version: str, mode: QuantisationMode = "none"
) -> None:
    """Convert a net, verified on stretches of tracks, into a bundle called as its folder.

    Raises:
        ConvertError: What was converted is not the same model.
        SinkError: The bundle cannot be written.
    """
    with TemporaryDirectory() as place:
        weights, moves = Path(place, "weights.pt"), Path(place, "held-out-moves.npy")
        torch.save(MotionSequence(net).state_dict(), weights)
        options = SourceOptions(weights=weights, shapes={"motion": (net.features,)})
        source = open_torch("train.export_motion:MotionSequence", options)
        dice = Dice(torch.Generator().manual_seed(0))
        which = torch.arange(_STEPS // _STRETCH) % len(held.tracks)
        seen = held.stretches(dice, which, _STRETCH).features()  # (B, T, F)
        np.save(moves, seen.flatten(0, 1).numpy())
        samples = read_samples(moves, source.inputs, None, _STEPS)
    request = Request(
        name=folder.name,
        version=version,
        licence="Apache-2.0",
        origin=_ORIGIN,
        scope="per_track",
        mode=mode,
        steps=_STEPS,
    )
    convert(source, samples, request, folder)


if __name__ == "__main__":
    sys.exit(main())
