"""Rendering: a plan -> pictures, boxes, presence, seconds. The same code on a CPU and a GPU."""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.config import Settings
from train.crops import region, to_view, view_points
from train.dice import Dice
from train.layers import Layer, sample
from train.light import Light, draw_light, expose
from train.plan import Director, Plan
from train.sets import Stills
from train.trajectories import Trajectories


@dataclass(frozen=True)
class Batch:
    """What a training step is given."""

    images: Tensor  # (B, T, 3, H, W) uint8 RGB
    boxes: Tensor  # (B, T, 4) left, top, right, bottom in pixels of `images`
    presence: Tensor  # (B, T) share of the target that can be seen, 0..1
    dt: Tensor  # (B, T) seconds since the frame before; one frame's time for the first
    reference: Tensor  # (B, T, 2) width, height of the box a crop was cut around; or of `boxes`


@dataclass(frozen=True)
class Scene:
    """A batch of sequences that are not rendered yet."""

    plan: Plan
    light: Light


class Renderer:
    """Renders batches; everything random comes from the generator it is given."""

    def __init__(self, stills: Stills, motion: Trajectories, settings: Settings) -> None:
        """Keep what scenes are made of.

        Args:
            stills: On the device that renders.
            motion: Likewise.
            settings: Of scenes and light.
        """
        self._director = Director(stills, motion, settings.scene)
        self._settings = settings
        self._device = stills.tiles.device

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator on the device that renders."""
        return torch.Generator(self._device).manual_seed(seed)

    def sequences(self, generator: torch.Generator) -> Batch:
        """Return frames, with images (scenes, length, 3, frame_size, frame_size)."""
        settings, dice = self._settings, Dice(generator)
        scene = self.begin(generator)
        size = settings.scene.frame_size
        whole = torch.tensor([0.0, 0.0, size, size], device=generator.device)  # (4,)
        images = self._shoot(dice, scene, whole.expand_as(scene.plan.boxes), size)
        return self._batch(images, scene.plan.boxes, scene.plan, scene.plan.boxes)

    def crops(self, generator: torch.Generator) -> Batch:
        """Return a template and searches: images (scenes, 1 + searches, 3, crop_size, crop_size).

        The template is the crop of the target's box, off by a little; a search is the crop of where
        the target was thought to be: off by up to half its size, and by its scale.
        """
        settings, dice = self._settings, Dice(generator)
        plan = self._director.plan(dice, settings.scenes, 1 + settings.searches, alone=True)
        scene = Scene(plan, draw_light(dice, settings.light, settings.scenes))
        guesses = _guesses(dice, plan.boxes)  # (B, T, 4)
        views = self.region(guesses)  # (B, T, 4)
        size = settings.scene.crop_size
        images = self._shoot(dice, scene, views, size)  # (B, T, 3, s, s)
        boxes, cut = (to_view(b, views, size) for b in (plan.boxes, guesses))  # (B, T, 4) each
        return self._batch(images, boxes, plan, cut)

    def begin(self, generator: torch.Generator) -> Scene:
        """Draw sequences without rendering them; `look` renders what a tracker looks at."""
        settings, dice = self._settings, Dice(generator)
        plan = self._director.plan(dice, settings.scenes, settings.length)
        return Scene(plan, draw_light(dice, settings.light, settings.scenes))

    def look(self, generator: torch.Generator, scene: Scene, frame: int, boxes: Tensor) -> Tensor:
        """Return one frame's crops of boxes, without rendering the frame.

        Args:
            generator: What differs from look to look: blur and noise.
            scene: From `begin`.
            frame: Which of its T.
            boxes: (B, 4) left, top, right, bottom in frame pixels, such as a tracker's own.

        Returns:
            (B, 3, crop_size, crop_size) uint8.
        """
        settings = self._settings.scene
        views = self.region(boxes)[:, None]  # (B, 1, 4)
        moment = Scene(scene.plan.at(frame), scene.light)
        images = self._shoot(Dice(generator), moment, views, settings.crop_size)
        return _pixels(images)[:, 0]

    def _shoot(self, dice: Dice, scene: Scene, views: Tensor, size: int) -> Tensor:
        images = draw(scene.plan, views, size, self._settings.scene.frame_size)  # (B, T, 3, s, s)
        return expose(dice, images, scene.light, self._settings.light)  # (B, T, 3, s, s)

    def region(self, boxes: Tensor) -> Tensor:
        """Return what the crops of boxes (..., 4) cover, likewise."""
        return region(boxes, self._settings.scene.context, self._settings.scene.square)

    def _batch(self, images: Tensor, boxes: Tensor, plan: Plan, cut: Tensor) -> Batch:
        dt = plan.skips / self._settings.data.fps  # (B, T)
        return Batch(_pixels(images), boxes, plan.presence, dt, cut[..., 2:] - cut[..., :2])


def _pixels(images: Tensor) -> Tensor:
    return images.mul_(255).round_().to(torch.uint8)  # (B, T, 3, H, W)


def _guesses(dice: Dice, boxes: Tensor) -> Tensor:
    """Shift and scale boxes as a tracker's guess would be off, (B, T, 4); the first by little."""
    scenes, frames = boxes.shape[:2]
    error = torch.ones(frames, device=boxes.device)  # (T,)
    error[0] = 0.2
    shift = dice.uniform((scenes, frames, 2), -0.5, 0.5) * error[:, None]  # (B, T, 2) of the size
    scale = (0.18 * dice.normal((scenes, frames, 2)) * error[:, None]).clamp(-0.5, 0.5).exp()
    size = boxes[..., 2:] - boxes[..., :2]  # (B, T, 2)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + shift * size  # (B, T, 2)
    half = size * scale / 2  # (B, T, 2)
    return torch.cat([centre - half, centre + half], 2)  # (B, T, 4)


def draw(plan: Plan, views: Tensor, size: int, frame: int) -> Tensor:
    """Draw what views of the frames show, before light and coding.

    Args:
        plan: The scenes.
        views: (B, T, 4) left, top, right, bottom in frame pixels; beyond the frame its edge is
            repeated, as in `train.crops.crop`.
        size: Pixels a side of the result.
        frame: Pixels a side of the frame.

    Returns:
        (B, T, 3, size, size) 0..1.
    """
    x, y = view_points(views, size, size)  # (B, T, s), (B, T, s)
    x = x.clamp(0.5, frame - 0.5)[:, :, None, :]  # (B, T, 1, s)
    y = y.clamp(0.5, frame - 0.5)[:, :, :, None]  # (B, T, s, 1)
    camera = plan.camera
    u = (
        camera.anchor[..., :1, None]
        + (x - camera.pivot[..., :1, None]) * camera.scale[..., :1, None]
    )
    v = (
        camera.anchor[..., 1:, None]
        + (y - camera.pivot[..., 1:, None]) * camera.scale[..., 1:, None]
    )
    u, v = torch.broadcast_tensors(u, v)  # (B, T, s, s)
    images = sample(plan.photos, u, v, "reflection")  # (B, T, 3, s, s)
    images = images.contiguous()  # (B, T, 3, s, s)
    _paint(images, plan.distractor, (x, y))
    _paint(images, plan.target, (x, y), plan.painted, plan.warp)
    _paint(images, plan.occluder, (x, y))
    return images


def _paint(
    images: Tensor,
    layer: Layer,
    points: tuple[Tensor, Tensor],
    painted: Tensor | None = None,
    warp: Tensor | None = None,
) -> None:
    """Set a layer into images (B, T, 3, s, s), in place, in the scenes that have it."""
    there = (layer.opacity > 0).any(1)  # (B,)
    scenes = (there if painted is None else there & painted).nonzero()[:, 0]  # (k,)
    if len(scenes) == 0:
        return
    layer = layer.of(scenes)
    u, v = layer.local(points[0][scenes], points[1][scenes])  # (k, T, s, s)
    if warp is not None:
        u, v = _bend(u, v, warp[scenes])  # (k, T, s, s)
    cover = layer.sprites[:, 3:]  # (k, 1, P, P)
    solid = torch.cat([layer.sprites[:, :3] * cover, cover], 1)  # (k, 4, P, P) premultiplied
    read = sample(solid, u, v, "zeros") * layer.opacity[..., None, None, None]  # (k, T, 4, s, s)
    images[scenes] = images[scenes] * (1 - read[:, :, 3:]) + read[:, :, :3]


def _bend(u: Tensor, v: Tensor, warp: Tensor) -> tuple[Tensor, Tensor]:
    """Warp a sprite's inside, (B, T, n, m) each; its edge stays, and so does its box."""
    strength, first, second = (warp[..., i, None, None] for i in range(3))  # (B, T, 1, 1)
    inner = strength * (1 - u.square()).clamp_min(0) * (1 - v.square()).clamp_min(0)  # (B, T, n, m)
    return u + inner * torch.sin(4 * v + first), v + inner * torch.sin(4 * u + second)
