"""Layers: flat things set into a frame; where their pixels are, and what is seen of the target."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

GRID = 32  # points a side on which a target's visible share is measured


@dataclass(frozen=True)
class Camera:
    """Where the photograph stands: photo = anchor + (pixel - pivot) * scale, photo in -1..1."""

    anchor: Tensor  # (B, T, 2) x, y in the photograph
    pivot: Tensor  # (B, T, 2) x, y in frame pixels
    scale: Tensor  # (B, T, 2) of the photograph's -1..1 a pixel

    def at(self, frames: slice) -> "Camera":
        """Return it for some frames only."""
        return Camera(self.anchor[:, frames], self.pivot[:, frames], self.scale[:, frames])


@dataclass(frozen=True)
class Layer:
    """Something flat that is set into the frames of each scene."""

    sprites: Tensor  # (B, 4, P, P) colours and cover, 0..1
    centre: Tensor  # (B, T, 2) x, y in frame pixels
    size: Tensor  # (B, T, 2) width, height in frame pixels
    angle: Tensor  # (B, T) radians, clockwise
    opacity: Tensor  # (B, T) 0: not there

    def of(self, scenes: Tensor) -> "Layer":
        """Return it for some scenes only, (k,) whole numbers."""
        parts = (self.sprites, self.centre, self.size, self.angle, self.opacity)
        return Layer(*(part[scenes] for part in parts))

    def at(self, frames: slice) -> "Layer":
        """Return it for some frames only."""
        parts = (self.centre, self.size, self.angle, self.opacity)
        return Layer(self.sprites, *(part[:, frames] for part in parts))

    def local(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map frame pixels to the sprite's -1..1.

        Args:
            x: (B, T, n, m) or what broadcasts to it.
            y: Likewise.
        """
        x = x - self.centre[..., 0, None, None]  # (B, T, n, m)
        y = y - self.centre[..., 1, None, None]  # (B, T, n, m)
        cos, sin = self.angle.cos()[..., None, None], self.angle.sin()[..., None, None]
        half = self.size[..., None, None] / 2  # (B, T, 2, 1, 1)
        u = (x * cos + y * sin) / half[:, :, 0]  # (B, T, n, m)
        v = (y * cos - x * sin) / half[:, :, 1]  # (B, T, n, m)
        return u, v

    def points(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Map the sprite's -1..1 to frame pixels; the way back of `local`."""
        half = self.size[..., None, None] / 2  # (B, T, 2, 1, 1)
        u, v = u * half[:, :, 0], v * half[:, :, 1]  # (B, T, n, m)
        cos, sin = self.angle.cos()[..., None, None], self.angle.sin()[..., None, None]
        x = u * cos - v * sin + self.centre[..., 0, None, None]  # (B, T, n, m)
        y = u * sin + v * cos + self.centre[..., 1, None, None]  # (B, T, n, m)
        return x, y


def sample(pictures: Tensor, u: Tensor, v: Tensor, beyond: str) -> Tensor:
    """Read pictures at points; a scene's frames share its picture.

    Args:
        pictures: (B, C, H, W).
        u: (B, T, n, m) -1..1 from edge to edge.
        v: Likewise.
        beyond: `zeros`, `border` or `reflection`.

    Returns:
        (B, T, C, n, m).
    """
    frames, rows = u.shape[1:3]
    grid = torch.stack([u, v], -1).flatten(1, 2)  # (B, T * n, m, 2): no copy of the picture a frame
    read = functional.grid_sample(pictures, grid, padding_mode=beyond, align_corners=False)
    return read.unflatten(2, (frames, rows)).transpose(1, 2)  # (B, T, C, n, m)


def measure(target: Layer, occluder: Layer, frame: int) -> tuple[Tensor, Tensor]:
    """Return the target's box and the share of it that can be seen.

    Args:
        target: Its cover says what belongs to it: from one half.
        occluder: What is before it.
        frame: Pixels a side; what is outside cannot be seen.

    Returns:
        (B, T, 4) left, top, right, bottom in frame pixels, of the whole target; (B, T) 0..1.
    """
    cover = functional.interpolate(target.sprites[:, 3:], (GRID, GRID), mode="area")  # (B, 1, G, G)
    steps = (torch.arange(GRID, device=cover.device) + 0.5) * (2 / GRID) - 1  # (G,)
    x, y = target.points(steps[None, None, None, :], steps[None, None, :, None])  # (B, T, G, G)
    inside = (x >= 0) & (x < frame) & (y >= 0) & (y < frame)  # (B, T, G, G)
    u, v = occluder.local(x, y)  # (B, T, G, G)
    hidden = sample(occluder.sprites[:, 3:], u, v, "zeros")[:, :, 0]  # (B, T, G, G)
    free = 1 - hidden * occluder.opacity[..., None, None]  # (B, T, G, G)
    seen = (cover * free * inside).sum((2, 3)) / cover.sum((2, 3)).clamp_min(1e-6)  # (B, T)
    return _enclose(target), seen


def _enclose(layer: Layer) -> Tensor:
    """Return the boxes of what is covered by at least a half, (B, T, 4) left, top, right, bottom.

    Only each row's first and last pixel can touch the box, however the sprite is turned.
    """
    mine = layer.sprites[:, 3] > 0.5  # (B, P, P)
    side = mine.shape[-1]
    edges = torch.arange(side + 1, device=mine.device) * (2 / side) - 1  # (P + 1,) of the pixels
    first = torch.where(mine, edges[:-1], torch.inf).amin(2)  # (B, P)
    last = torch.where(mine, edges[1:], -torch.inf).amax(2)  # (B, P)
    empty = ~mine.any(2, keepdim=True).repeat(1, 2, 1)[:, None]  # (B, 1, 2P, 1)
    u = torch.stack([first, last], 2).repeat(1, 2, 1)[:, None]  # (B, 1, 2P, 2)
    v = torch.cat([edges[:-1], edges[1:]])[None, None, :, None]  # (1, 1, 2P, 1) tops, bottoms
    x, y = layer.points(u.masked_fill(empty, 0), v)  # (B, T, 2P, 2)
    least = [p.masked_fill(empty, torch.inf).amin((2, 3)) for p in (x, y)]
    most = [p.masked_fill(empty, -torch.inf).amax((2, 3)) for p in (x, y)]
    return torch.stack(least + most, 2)  # (B, T, 4)
