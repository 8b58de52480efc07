"""Light and coding: what a camera does to a picture, batched, in torch alone.

Each effect is worked out only for the pictures that have it. N pictures, (N, 3, H, W), 0..1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from train.config import LightSettings
from train.dice import Dice

_LUMA = (0.299, 0.587, 0.114)
_KERNEL = 9  # pixels a side of a blur


@dataclass(frozen=True)
class Light:
    """What stays the same over a scene; each (B,), and 0 where it has none of it."""

    grey: Tensor
    coarse: Tensor  # 2 or 3: its resolution is so many times less
    dark: Tensor  # what is left of the light, 0..1
    turn: Tensor  # radians, where the shade lies
    shade: Tensor  # 0..1, how deep it is at the edge
    noise: Tensor  # standard deviation
    quality: Tensor  # of the coding, 1..100


def draw_light(dice: Dice, settings: LightSettings, scenes: int) -> Light:
    """Choose the light and the coding of so many scenes."""

    def some(share: float, low: float, high: float) -> Tensor:
        return dice.chance((scenes,), share) * dice.uniform((scenes,), low, high)  # (B,)

    dark = some(settings.dark, 0.2, 0.5)  # (B,)
    noise = some(settings.noise, 0.005, 0.04)  # (B,)
    return Light(
        grey=dice.chance((scenes,), settings.grey),
        coarse=some(settings.low_resolution, 1.5, 3.5).round(),
        dark=dark,
        turn=dice.uniform((scenes,), 0.0, 2 * math.pi),
        shade=some(settings.gradient, 0.1, 0.4),
        noise=torch.where(dark > 0, noise.clamp_min(0.02), noise),
        quality=some(settings.jpeg, 15.0, 80.0),
    )


def expose(dice: Dice, images: Tensor, light: Light, settings: LightSettings) -> Tensor:
    """Return the images as a cheap camera would give them, (B, T, 3, H, W) 0..1, changed in place.

    Args:
        dice: What differs from frame to frame: blur, a little gain, the noise itself.
        images: (B, T, 3, H, W) 0..1.
        light: What does not.
        settings: How many frames are blurred, how many scenes flicker.
    """
    scenes, frames = images.shape[:2]
    flat = images.flatten(0, 1)  # (N, 3, H, W)

    def some(amount: Tensor, effect: Callable[[Tensor, Tensor], Tensor]) -> None:
        at = amount.expand(scenes, frames).flatten().nonzero()[:, 0]  # (k,)
        if len(at):
            flat[at] = effect(flat[at], at // frames)

    some(dice.chance((scenes, frames), settings.blurred), lambda x, _: blurred(dice, x))
    some((light.coarse == 2)[:, None], lambda x, _: coarse(x, 2))
    some((light.coarse == 3)[:, None], lambda x, _: coarse(x, 3))
    some(light.shade[:, None], lambda x, b: shaded(x, light.turn[b], light.shade[b]))
    some(light.dark[:, None], lambda x, b: x * light.dark[b, None, None, None])
    some(dice.chance((scenes, frames), settings.gain), lambda x, _: gained(dice, x))
    some(light.grey[:, None], lambda x, _: grey(x))
    some(light.noise[:, None], lambda x, b: noisy(dice, x, light.noise[b]))
    some(light.quality[:, None], lambda x, b: jpeg(x, light.quality[b]))
    return flat.clamp_(0, 1).unflatten(0, (scenes, frames))  # (B, T, 3, H, W)


def grey(images: Tensor) -> Tensor:
    """Take the colours away."""
    weights = torch.tensor(_LUMA, device=images.device)  # (3,)
    return (images * weights[:, None, None]).sum(1, keepdim=True).expand_as(images)


def blurred(dice: Dice, images: Tensor) -> Tensor:
    """Blur each along a line of its own: 2 to 9 pixels long, any direction."""
    count = len(images)
    turn = dice.uniform((count, 1, 1), 0.0, math.pi)  # (N, 1, 1)
    length = dice.uniform((count, 1, 1), 1.0, _KERNEL / 2)  # (N, 1, 1) half of it
    ends = torch.arange(_KERNEL, device=images.device) - _KERNEL // 2  # (k,)
    x, y = ends[None, None, :], ends[None, :, None]
    along = x * turn.cos() + y * turn.sin()  # (N, k, k)
    across = y * turn.cos() - x * turn.sin()  # (N, k, k)
    kernel = (1 - across.abs()).clamp_min(0) * (along.abs() <= length)  # (N, k, k)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)  # (N, k, k)
    padded = functional.pad(images, (_KERNEL // 2,) * 4, mode="replicate")  # (N, 3, H + 8, W + 8)
    weights = kernel.repeat_interleave(3, 0)[:, None]  # (N * 3, 1, k, k)
    done = functional.conv2d(padded.flatten(0, 1)[None], weights, groups=3 * count)[0]
    return done.unflatten(0, (count, 3))  # (N, 3, H, W)


def coarse(images: Tensor, factor: int) -> Tensor:
    """Show them in a fraction of their resolution."""
    size = images.shape[-2:]
    small = (max(1, size[0] // factor), max(1, size[1] // factor))
    less = functional.interpolate(images, small, mode="area")  # (N, 3, h, w)
    return functional.interpolate(less, size, mode="bilinear", align_corners=False)


def shaded(images: Tensor, turn: Tensor, depth: Tensor) -> Tensor:
    """Darken towards one side and lighten the other; (N,) each."""
    height, width = images.shape[-2:]
    turn, depth = turn[:, None, None, None], depth[:, None, None, None]  # (N, 1, 1, 1)
    x = torch.linspace(-1, 1, width, device=images.device)  # (W,)
    y = torch.linspace(-1, 1, height, device=images.device)[:, None]  # (H, 1)
    return images * (1 + (x * turn.cos() + y * turn.sin()) * depth)


def gained(dice: Dice, images: Tensor) -> Tensor:
    """Make them brighter or darker, and each channel a little more."""
    gain = dice.uniform((len(images), 1, 1, 1), 0.8, 1.2)  # (N, 1, 1, 1)
    tint = 1 + 0.02 * dice.normal((len(images), 3, 1, 1))  # (N, 3, 1, 1)
    return (images * (gain * tint)).clamp(0, 1)


def noisy(dice: Dice, images: Tensor, spread: Tensor) -> Tensor:
    """Add noise of that standard deviation, (N,)."""
    return images + spread[:, None, None, None] * dice.normal(tuple(images.shape))


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Quantise blocks of 8 x 8 as JPEG does: ITU-T T.81 annex K, without subsampling of colours.

    Args:
        images: (N, 3, H, W); sides that are no multiple of 8 are padded with their edge.
        quality: (N,) 1..100, as libjpeg's.
    """
    height, width = images.shape[-2:]
    padded = functional.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
    basis, tables, colours = _constants(images.device)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)  # (N,)
    steps = (tables[None] * scale[:, None, None, None] / 255).clamp_min(1 / 255)  # (N, 3, 8, 8)
    steps = steps[:, :, None, :, None, :]  # (N, 3, 1, 8, 1, 8)
    planes = torch.einsum("dc,nchw->ndhw", colours, padded)  # (N, 3, H, W) Y, Cb, Cr
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))  # (N, 3, H/8, 8, W/8, 8)
    blocks = torch.einsum("ui,nchiwj,vj->nchuwv", basis, blocks, basis)  # coefficients
    blocks = (blocks / steps).round() * steps
    blocks = torch.einsum("ui,nchuwv,vj->nchiwj", basis, blocks, basis)  # pixels
    planes = blocks.flatten(4, 5).flatten(2, 3)  # (N, 3, H, W)
    done = torch.einsum("dc,nchw->ndhw", colours.inverse(), planes)  # (N, 3, H, W)
    return done[..., :height, :width].clamp(0, 1)


_LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMINANCE = (
    """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99"""
    + " 99" * 32
)


def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosine basis (8, 8), quantisation tables (3, 8, 8) and RGB to YCbCr (3, 3)."""
    i = torch.arange(8, device=device)  # (8,)
    basis = torch.cos((2 * i[None] + 1) * i[:, None] * (math.pi / 16)) / 2  # (8, 8)
    basis[0] /= math.sqrt(2)
    luma, chroma = (
        torch.tensor([float(word) for word in text.split()], device=device).view(8, 8)
        for text in (_LUMINANCE, _CHROMINANCE)
    )
    rows = [_LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)]
    return basis, torch.stack([luma, chroma, chroma]), torch.tensor(rows, device=device)
