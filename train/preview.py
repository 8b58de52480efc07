"""`python -m train.preview --out sheet.png`: what training sees, to be looked at.

A row is a scene. Above: sequences, each with its crops at the true boxes below it. Then: templates
and their searches. The box is green, and red where less than half can be seen; the number is the
visible share in percent.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from edge.cli import guarded
from edge.errors import SinkError
from edge.types import Image
from train.config import Settings, load_settings
from train.crops import crop
from train.render import Batch, Renderer
from train.sets import load_stills
from train.trajectories import load_trajectories

_FRAMES = 12  # of a sequence that are shown
_TILE = 144  # pixels a side of a frame on the sheet


def sheet(renderer: Renderer, settings: Settings, generator: torch.Generator) -> Image:
    """Return the contact sheet, (height, width, 3) RGB."""
    frames = renderer.sequences(generator)
    chosen = np.linspace(0, frames.images.shape[1] - 1, _FRAMES).astype(int)
    scene = settings.scene
    rows = []
    for i in range(len(frames.images)):
        crops = crop(frames.images[i].float(), renderer.region(frames.boxes[i]), scene.crop_size)
        pictures = crops.round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (T, s, s, 3)
        rows.append(np.hstack([_drawn(frames, i, t) for t in chosen]))
        rows.append(np.hstack([_fitted(pictures[t]) for t in chosen]))
    crops = renderer.crops(generator)
    shown = [
        np.hstack([_drawn(crops, i, t) for t in range(crops.images.shape[1])])
        for i in range(len(crops.images))
    ]
    across = max(1, rows[0].shape[1] // shown[0].shape[1])
    while len(shown) % across:
        shown.append(np.zeros_like(shown[0]))
    rows += [np.hstack(shown[i : i + across]) for i in range(0, len(shown), across)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _drawn(batch: Batch, scene: int, frame: int) -> Image:
    image = _fitted(batch.images[scene, frame].permute(1, 2, 0).contiguous().cpu().numpy())
    seen = float(batch.presence[scene, frame])
    box = batch.boxes[scene, frame].cpu().numpy() * _TILE / batch.images.shape[-1]
    colour = (0, 255, 0) if seen >= 0.5 else (255, 0, 0)
    left, top, right, bottom = (round(float(value)) for value in box)
    cv2.rectangle(image, (left, top), (right, bottom), colour, 1)
    cv2.putText(image, f"{seen * 100:.0f}", (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1)
    return image


def _fitted(image: Image) -> Image:
    size = (_TILE, _TILE)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _run(args: Namespace) -> int:
    settings = load_settings(args.config) if args.config else Settings()
    device = torch.device(args.device)
    stills = load_stills(args.stills or Path(settings.data.stills), args.split, device)
    motion = load_trajectories(settings.data.trajectories, device)
    generator = torch.Generator(device).manual_seed(
        settings.seed if args.seed is None else args.seed
    )
    picture = sheet(Renderer(stills, motion, settings), settings, generator)
    if not cv2.imwrite(str(args.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise SinkError(f"{args.out}: cannot be written; name a .png in a folder that exists")
    print(f"{args.out}: {picture.shape[1]} x {picture.shape[0]} pixels written")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the sheet and return the exit code."""
    parser = ArgumentParser(prog="python -m train.preview", description="Draw a contact sheet.")
    parser.add_argument("--out", type=Path, required=True, help="a .png")
    parser.add_argument("--config", type=Path, help="a TOML file (configs/train-smoke.toml)")
    parser.add_argument("--stills", type=Path, help="in place of the configuration's")
    parser.add_argument("--split", choices=("train", "held-out"), default="train")
    parser.add_argument("--seed", type=int, help="in place of the configuration's")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    return guarded("train.preview", lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
