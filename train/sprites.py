"""Sprites: the things of a scene, each a square of colours and cover. B scenes, P pixels a side."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from train.config import SceneSettings
from train.dice import Dice
from train.sets import Stills

_TRIES = 8  # spots of a photograph to choose from: a flat one cannot be followed
_FLAT = 0.06  # standard deviation under which a part of a photograph is no target
SIDE = 96  # pixels of a sprite that is cut from a photograph
CAMERA, CUT_OUT, PATCH = 0, 1, 2  # kinds of scenes


@dataclass(frozen=True)
class Sprites:
    """What a scene's target, distractor and occluder look like."""

    kind: Tensor  # (B,) CAMERA, CUT_OUT or PATCH
    photos: Tensor  # (B, 3, S, S) 0..1
    target: Tensor  # (B, 4, P, P)
    distractor: Tensor  # (B, 4, P, P)
    occluder: Tensor  # (B, 4, P, P)
    solid: Tensor  # (B, 4, P, P) nothing shows through it
    aspect: Tensor  # (B,) width / height of the target
    spot: Tensor  # (B, 4) centre x, y and half width, height of the target in the photo's -1..1


def draw_sprites(dice: Dice, stills: Stills, settings: SceneSettings, scenes: int) -> Sprites:
    """Choose photographs and things for so many scenes."""
    photos = _photos(dice, stills, scenes)  # (B, 3, S, S)
    aspect = torch.exp2(dice.uniform((scenes,), -1.0, 1.0))  # (B,)
    spot, detail = _best_spots(dice, aspect, photos)  # (B, 4), (B,)
    draw = dice.uniform((scenes,))  # (B,)
    kind = (draw >= settings.cameras).long() + (draw >= settings.cameras + settings.cutouts).long()
    kind = torch.where((kind == CAMERA) & (detail < _FLAT), CUT_OUT, kind)  # (B,)
    part = _patches(photos, _best_spots(dice, aspect, photos)[0])  # (B, 3, P, P)
    order = torch.arange(scenes, device=dice.device)  # (B,)
    source = torch.where(dice.chance((scenes,), settings.same_photo) > 0, order, order.roll(1))
    patch = torch.cat([part[source], _masks(dice, scenes, blob=True)], 1)  # (B, 4, P, P)
    solid = torch.cat([part.roll(1, 0), _masks(dice, scenes, blob=False)], 1)  # (B, 4, P, P)
    things, aspects = _things(dice, stills, settings, photos)  # (B, 4, P, P), (B,)
    seen = _patches(photos, spot)  # (B, 3, P, P)
    whole = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)  # (B, 4, P, P)
    target = torch.stack([whole, things, patch])[kind, order]  # (B, 4, P, P)
    distractor = _like(dice, target, things.roll(1, 0))  # (B, 4, P, P)
    occluder = _like(dice, target, patch.roll(1, 0))  # (B, 4, P, P)
    aspect = torch.where(kind == CUT_OUT, aspects, aspect)  # (B,)
    return Sprites(kind, photos, target, distractor, occluder, solid, aspect, spot)


def _photos(dice: Dice, stills: Stills, scenes: int) -> Tensor:
    """Draw photographs, half of them mirrored, (B, 3, S, S) 0..1."""
    pixels = stills.tiles[dice.integers((scenes,), 0, len(stills.tiles))]  # (B, 3, S, S), a copy
    mirror = dice.chance((scenes,), 0.5).nonzero()[:, 0]  # (k,)
    pixels[mirror] = pixels[mirror].flip(-1)
    return pixels.float().div_(255)


def _things(
    dice: Dice, stills: Stills, settings: SceneSettings, photos: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw cut-outs, some of them in their photograph's colours: (B, 4, P, P), aspects (B,)."""
    scenes = len(photos)
    which = dice.integers((scenes,), 0, len(stills.cutouts))  # (B,)
    things = stills.cutouts[which].float() / 255  # (B, 4, P, P)
    if things.shape[-1] != SIDE:
        things = functional.interpolate(things, (SIDE, SIDE), mode="area")  # (B, 4, P, P)
    things = torch.where(dice.chance((scenes, 1, 1, 1), 0.5) > 0, things.flip(-1), things)
    share = dice.chance((scenes,), settings.harmonised) * dice.uniform((scenes,), 0.35, 0.5)
    return harmonise(things, photos, share), stills.aspects[which]


def _like(dice: Dice, target: Tensor, other: Tensor) -> Tensor:
    """Return the target's copy for half of the scenes, else the other; tinted, (B, 4, P, P)."""
    copied = dice.chance((len(target), 1, 1, 1), 0.5)  # (B, 1, 1, 1)
    tint = 1 + 0.15 * dice.normal((len(target), 3, 1, 1))  # (B, 3, 1, 1)
    chosen = torch.where(copied > 0, target, other)  # (B, 4, P, P)
    return torch.cat([(chosen[:, :3] * tint).clamp(0, 1), chosen[:, 3:]], 1)


def harmonise(sprites: Tensor, photos: Tensor, share: Tensor) -> Tensor:
    """Move colours towards a photograph's mean and spread.

    Args:
        sprites: (B, 4, P, P).
        photos: (B, 3, S, S).
        share: (B,) 0: as they are; 1: wholly.
    """
    photos = photos[..., ::8, ::8]  # (B, 3, S / 8, S / 8) enough for two numbers
    colours, cover = sprites[:, :3], sprites[:, 3:]  # (B, 3, P, P), (B, 1, P, P)
    weight = cover / cover.sum((2, 3), keepdim=True).clamp_min(1e-3)  # (B, 1, P, P)
    mean = (colours * weight).sum((2, 3), keepdim=True)  # (B, 3, 1, 1)
    spread = ((colours - mean).square() * weight).sum((2, 3), keepdim=True).sqrt()  # (B, 3, 1, 1)
    wanted, wanted_spread = photos.mean((2, 3), keepdim=True), photos.std((2, 3), keepdim=True)
    fitted = (colours - mean) * (wanted_spread / spread.clamp_min(0.02)).clamp(0.5, 2.0) + wanted
    mixed = torch.lerp(colours, fitted, share[:, None, None, None])  # (B, 3, P, P)
    return torch.cat([mixed.clamp(0, 1), cover], 1)  # (B, 4, P, P)


def _spots(dice: Dice, aspect: Tensor, pixels: int) -> Tensor:
    """Draw parts of photographs: centre and half size in -1..1, (B, 4); none leaves the middle."""
    scenes = len(aspect)
    side = dice.uniform((scenes,), 40.0, 110.0) / pixels  # (B,) half of it is in -1..1 the whole
    half = torch.stack([side * aspect.sqrt(), side / aspect.sqrt()], 1).clamp_max(0.45)  # (B, 2)
    centre = dice.uniform((scenes, 2), -0.5, 0.5)  # (B, 2)
    return torch.cat([centre, half], 1)  # (B, 4)


def _best_spots(dice: Dice, aspect: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
    """Return of a few spots of each photograph the one with the most to see.

    Returns:
        Spots (B, 4), and their standard deviation (B,), 0..1.
    """
    drawn = torch.stack([_spots(dice, aspect, photos.shape[-1]) for _ in range(_TRIES)])
    looks = torch.stack([_patches(photos, spot, 8) for spot in drawn])  # (tries, B, 3, 8, 8)
    detail, best = looks.std((3, 4)).mean(2).max(0)  # (B,), (B,)
    return drawn[best, torch.arange(len(photos), device=photos.device)], detail


def _patches(photos: Tensor, spots: Tensor, side: int = SIDE) -> Tensor:
    """Cut spots out of photographs, (B, 3, P, P)."""
    ends = (torch.arange(side, device=photos.device) + 0.5) * (2 / side) - 1  # (P,)
    x = spots[:, 0:1] + ends * spots[:, 2:3]  # (B, P)
    y = spots[:, 1:2] + ends * spots[:, 3:4]  # (B, P)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)  # (B, P, P, 2)
    return functional.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)


def _masks(dice: Dice, scenes: int, blob: bool) -> Tensor:
    """Draw soft masks (B, 1, P, P): blobs, or rounded rectangles that fill their square."""
    ends = (torch.arange(SIDE, device=dice.device) + 0.5) * (2 / SIDE) - 1  # (P,)
    x, y = ends[None, None, :], ends[None, :, None]  # (1, 1, P), (1, P, 1)
    power = (
        dice.uniform((scenes, 1, 1), 2.0, 5.0)
        if blob
        else torch.full((scenes, 1, 1), 12.0, device=dice.device)
    )
    radius = (x.abs() ** power + y.abs() ** power) ** (1 / power)  # (B, P, P)
    if blob:
        turn = torch.atan2(y, x)[..., None]  # (1, P, P, 1)
        waves = torch.arange(2, 6, device=dice.device)  # (4,)
        size = dice.uniform((scenes, 1, 1, 4), 0.0, 0.09)  # (B, 1, 1, 4)
        phase = dice.uniform((scenes, 1, 1, 4), 0.0, 6.2832)  # (B, 1, 1, 4)
        radius = radius * (1.1 + (size * torch.sin(turn * waves + phase)).sum(-1))  # (B, P, P)
    edge = torch.exp(dice.uniform((scenes, 1, 1), 2.2, 4.0))  # (B, 1, 1) 9 soft .. 55 sharp
    return torch.sigmoid((0.97 - radius) * edge)[:, None]  # (B, 1, P, P)
