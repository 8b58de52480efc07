"""A plan: what happens in a batch of scenes. B scenes, T frames, P pixels of a sprite's side."""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.config import SceneSettings
from train.dice import Dice
from train.layers import Camera, Layer, measure
from train.sets import Stills
from train.sprites import CAMERA, Sprites, draw_sprites
from train.trajectories import Trajectories

_LONG_GAP = 30  # frames of a trajectory at most between two frames that stand alone


@dataclass(frozen=True)
class Plan:
    """All that rendering needs, and what is true of the target."""

    photos: Tensor  # (B, 3, S, S) 0..1
    camera: Camera
    distractor: Layer
    target: Layer
    painted: Tensor  # (B,) False where a part of the photograph is the target
    occluder: Layer
    warp: Tensor  # (B, T, 3) the target's: share of its half size, phase x, phase y
    boxes: Tensor  # (B, T, 4) left, top, right, bottom in frame pixels, also where out of sight
    presence: Tensor  # (B, T) share of the target that can be seen, 0..1
    skips: Tensor  # (B, T) frames of the source since the frame before; 1 for the first

    def at(self, frame: int) -> "Plan":
        """Return one frame of it, with T = 1."""
        one = slice(frame, frame + 1)
        return Plan(
            photos=self.photos,
            camera=self.camera.at(one),
            distractor=self.distractor.at(one),
            target=self.target.at(one),
            painted=self.painted,
            occluder=self.occluder.at(one),
            warp=self.warp[:, one],
            boxes=self.boxes[:, one],
            presence=self.presence[:, one],
            skips=self.skips[:, one],
        )


@dataclass(frozen=True)
class Director:
    """Makes plans from what scenes are made of."""

    stills: Stills
    motion: Trajectories
    settings: SceneSettings

    def plan(self, dice: Dice, scenes: int, frames: int, alone: bool = False) -> Plan:
        """Draw a batch of scenes.

        Args:
            dice: Decides everything.
            scenes: B.
            frames: T.
            alone: The frames are a template and searches of it, moments apart, and no sequence.
        """
        settings = self.settings
        sprites = draw_sprites(dice, self.stills, settings, scenes)
        skips = _skips(dice, settings, (scenes, frames), alone)  # (B, T)
        path = self.motion.stretches(dice, skips)  # (B, T, 4)
        centre, size, excess = _place(dice, settings, sprites, path)
        leaves, covered, gone = _disappear(dice, settings, (scenes, frames), alone)
        centre = _walk_out(dice, (centre, size), leaves * (1 - gone.abs()), settings.frame_size)
        angle = _angles(dice, sprites.kind, frames)  # (B, T)
        always = torch.ones_like(angle)  # (B, T)
        target = Layer(sprites.target, centre, size, angle, always)
        occluder = _occlude(dice, settings, sprites, target, (covered, gone, alone))
        boxes, presence = measure(target, occluder, settings.frame_size)
        return Plan(
            photos=sprites.photos,
            camera=_camera(dice, sprites, target, excess, settings.frame_size),
            distractor=_distract(dice, settings, sprites, target, path),
            target=target,
            painted=sprites.kind != CAMERA,
            occluder=occluder,
            warp=_warps(dice, settings, sprites.kind, frames),
            boxes=boxes,
            presence=presence,
            skips=skips,
        )


def _skips(dice: Dice, settings: SceneSettings, shape: tuple[int, int], alone: bool) -> Tensor:
    """Frames that pass before each frame: one pace a scene, with frames lost now and then."""
    scenes, frames = shape
    if alone:
        skips = dice.integers(shape, 1, _LONG_GAP + 1)  # (B, T)
    else:
        pace = dice.integers((scenes, 1), 1, settings.skips + 1)  # (B, 1)
        lost = dice.chance(shape, 0.1).long()  # (B, T)
        skips = (pace + lost).clamp_max(settings.skips).expand(scenes, frames).clone()  # (B, T)
    skips[:, 0] = 1
    return skips


def _place(
    dice: Dice, settings: SceneSettings, sprites: Sprites, path: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Set trajectories into the frame: centre, size, and how far the camera had to follow.

    A target is made smaller, down to `smallest`, until its path fits; a step in sizes stays the
    same. What still does not fit is motion of the camera: (B, T, 2) each, frame pixels.
    """
    frame, scenes = settings.frame_size, len(path)
    low, high = settings.smallest, settings.largest
    side = low * (high / low) ** dice.uniform((scenes,))  # (B,)
    extent = path[..., :2].amax(1) - path[..., :2].amin(1)  # (B, 2)
    side = torch.minimum(side, 0.85 * frame / (1 + extent.amax(1))).clamp_min(low)  # (B,)
    natural = (
        sprites.spot[:, 2:].prod(1).sqrt() * sprites.photos.shape[-1]
    )  # (B,) in the photograph
    sharp = torch.maximum(torch.minimum(side, natural * 2.5), natural / 0.9).clamp(
        low, high
    )  # (B,)
    side = torch.where(sprites.kind == CAMERA, sharp, side)  # (B,)
    both = path[..., 2:].mean(2, keepdim=True)  # (B, T, 1) a camera cannot stretch one side
    stretch = (path[..., 2:] - both).clamp(-0.25, 0.25)  # (B, T, 2)
    growth = torch.where((sprites.kind == CAMERA)[:, None, None], both, both + stretch)  # (B, T, 2)
    shape = torch.stack([sprites.aspect.sqrt(), sprites.aspect.rsqrt()], 1)  # (B, 2)
    limits = (0.6 * low / side).log()[:, None, None], (0.5 * frame / side).log()[:, None, None]
    size = (side[:, None] * shape)[:, None] * growth.clamp(*limits).exp()  # (B, T, 2)
    steps = path[..., :2] * side[:, None, None]  # (B, T, 2)
    first = (size / 2 - steps).amax(1)  # (B, 2) no frame's box left of the frame
    last = (frame - size / 2 - steps).amin(1)  # (B, 2)
    centre = steps + torch.lerp(first, last, dice.uniform((scenes, 2)))[:, None]  # (B, T, 2)
    margin = torch.minimum(size / 2, torch.full_like(size, frame / 2))  # (B, T, 2)
    inside = torch.maximum(torch.minimum(centre, frame - margin), margin)  # (B, T, 2)
    return inside, size, centre - inside


def _disappear(
    dice: Dice, settings: SceneSettings, shape: tuple[int, int], alone: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which scenes leave (B, 1), which are covered (B, 1), and how far that is (B, T).

    The last: -1 before, 0 while the target is away, +1 when it is back.
    """
    scenes, frames = shape
    happens = dice.chance((scenes, 1), 0.0 if alone or frames < 8 else settings.disappearances)
    leaves = happens * dice.chance((scenes, 1), 0.4)  # (B, 1)
    ramp = dice.uniform((scenes, 1), 1.0, 0.15 * frames + 1)  # (B, 1) frames
    start = dice.uniform((scenes, 1), 0.15 * frames, 0.35 * frames)  # (B, 1)
    away = dice.uniform((scenes, 1), 1.0, 0.3 * frames)  # (B, 1)
    time = torch.arange(frames, device=dice.device)  # (T,)
    going = ((time - start) / ramp).clamp(0, 1)  # (B, T)
    back = ((time - start - ramp - away) / ramp).clamp(0, 1)  # (B, T)
    return leaves, happens - leaves, going - 1 + back  # (B, 1), (B, 1), (B, T)


def _walk_out(dice: Dice, place: tuple[Tensor, Tensor], share: Tensor, frame: int) -> Tensor:
    """Move targets out of the frame and back on the way they went; centres (B, T, 2).

    Args:
        dice: To which side.
        place: Centre and size, (B, T, 2) each.
        share: (B, T) 0: where it was; 1: outside.
        frame: Pixels a side.
    """
    centre, size = place
    side = torch.where(dice.uniform((len(share), 1)) < 0.5, -1.0, 1.0)  # (B, 1)
    outside = frame / 2 + side * (frame / 2 + size[..., 0] * 0.8)  # (B, T)
    x = torch.lerp(centre[..., 0], outside, share)  # (B, T)
    return torch.stack([x, centre[..., 1]], 2)  # (B, T, 2)


def _angles(dice: Dice, kind: Tensor, frames: int) -> Tensor:
    """Tilt of the target, slowly changing, (B, T) radians; none where a camera moves."""
    scenes = len(kind)
    tilt = 0.12 * dice.normal((scenes, 1)) * dice.chance((scenes, 1), 0.5)  # (B, 1)
    drift = 0.02 * dice.normal((scenes, frames)).cumsum(1)  # (B, T)
    return ((tilt + drift) * (kind != CAMERA)[:, None]).clamp(-0.4, 0.4)  # (B, T)


def _warps(dice: Dice, settings: SceneSettings, kind: Tensor, frames: int) -> Tensor:
    """Local warp of the target: strength and two phases that wander, (B, T, 3)."""
    scenes = len(kind)
    on = dice.chance((scenes, 1), settings.warped) * (kind != CAMERA)[:, None]  # (B, 1)
    strength = (on * dice.uniform((scenes, 1), 0.02, 0.1)).expand(scenes, frames)  # (B, T)
    phases = dice.uniform((scenes, 1, 2), 0.0, 6.2832) + 0.3 * dice.normal(
        (scenes, frames, 2)
    ).cumsum(1)  # (B, T, 2)
    return torch.cat([strength[..., None], phases], 2)  # (B, T, 3)


def _occlude(
    dice: Dice,
    settings: SceneSettings,
    sprites: Sprites,
    target: Layer,
    away: tuple[Tensor, Tensor, bool],
) -> Layer:
    """Set something before the target: over a part of it, or, where it is covered, over all.

    Args:
        dice: Where, how large.
        settings: How often.
        sprites: What.
        target: Before which.
        away: Which scenes are covered (B, 1), how far that is (B, T), whether frames stand alone.
    """
    covered, gone, alone = away
    scenes, frames = gone.shape
    drift = dice.normal((scenes, frames, 2))  # (B, T, 2)
    drift = 0.5 * drift if alone else 0.08 * drift.cumsum(1)  # (B, T, 2)
    offset = dice.uniform((scenes, 1, 2), -0.9, 0.9) + drift  # (B, T, 2)
    turn = dice.uniform((scenes, 1), 0, 6.2832)  # (B, 1)
    across = torch.stack([turn.cos(), turn.sin()], 2)  # (B, 1, 2)
    passing = gone[..., None] * across * 2.6  # (B, T, 2) past the target, in its sizes
    whole = covered[..., None]  # (B, 1, 1)
    offset = torch.where(whole > 0, passing, offset)  # (B, T, 2)
    scale = torch.where(whole > 0, 1.7, dice.uniform((scenes, 1, 2), 0.4, 1.0))  # (B, 1, 2)
    here = dice.chance((scenes, frames), 0.7 if alone else 1.0)  # (B, T)
    on = dice.chance((scenes, 1), settings.occluders) * here  # (B, T)
    if alone:
        on[:, 0] = 0.0  # the template is seen whole
    textures = torch.where(whole[..., None] > 0, sprites.solid, sprites.occluder)
    tilt = 0.3 * dice.normal((scenes, 1)).expand(scenes, frames)  # (B, T)
    return Layer(
        textures,
        target.centre + offset * target.size,
        target.size * scale,
        torch.where(covered > 0, target.angle, tilt),
        torch.maximum(on, covered.expand_as(on)),
    )


def _distract(
    dice: Dice, settings: SceneSettings, sprites: Sprites, target: Layer, path: Tensor
) -> Layer:
    """Let something move beside and behind the target, on the trajectory of another scene."""
    scenes, frames = path.shape[:2]
    turn = dice.uniform((scenes, 1), 0, 6.2832)  # (B, 1)
    beside = torch.stack([torch.cos(turn), torch.sin(turn)], 2) * dice.uniform(
        (scenes, 1, 1), 0.9, 2.0
    )
    away = (path.roll(1, 0)[..., :2] * 0.5).clamp(-1, 1)  # (B, T, 2)
    on = dice.chance((scenes, 1), settings.distractors).expand(scenes, frames)  # (B, T)
    return Layer(
        sprites.distractor,
        target.centre + (beside + away) * target.size,
        target.size * dice.uniform((scenes, 1, 1), 0.7, 1.3),
        target.angle + 0.1 * dice.normal((scenes, 1)),
        on,
    )


def _camera(dice: Dice, sprites: Sprites, target: Layer, excess: Tensor, frame: int) -> Camera:
    """Move the photograph: with the target where it is a part of it, else as a camera would.

    Args:
        dice: How.
        sprites: The photographs, and the target's spot in them.
        target: Where it is.
        excess: (B, T, 2) pixels that the camera had to follow the target.
        frame: Pixels a side.
    """
    scenes, frames = excess.shape[:2]
    spot = sprites.spot[:, None].expand(scenes, frames, 4)  # (B, T, 4)
    held = dice.uniform((scenes, 1, 1)) * dice.chance((scenes, 1, 1), 0.5)  # (B, 1, 1)
    shake = dice.normal((scenes, frames, 2)).cumsum(1) * dice.uniform((scenes, 1, 1), 0, 0.6)
    pan = held * (target.centre - target.centre[:, :1]) + shake - excess  # (B, T, 2)
    step = dice.uniform((scenes, 1, 1), 0.5, 0.95) * (
        1 + 0.004 * dice.normal((scenes, frames, 1)).cumsum(1)
    )
    free = Camera(
        dice.uniform((scenes, 1, 2), -0.3, 0.3).expand(scenes, frames, 2),
        frame / 2 + pan,
        (step * 2 / sprites.photos.shape[-1]).expand(scenes, frames, 2),
    )
    part = (sprites.kind == CAMERA)[:, None, None]  # (B, 1, 1)
    return Camera(
        torch.where(part, spot[..., :2], free.anchor),
        torch.where(part, target.centre, free.pivot),
        torch.where(part, spot[..., 2:] / (target.size / 2), free.scale),
    )
