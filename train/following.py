"""The recurrent stage: sequences, in closed loop. Each crop is cut where the net itself looked for.

B scenes, T frames. The encoder stays as the first stage left it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge.errors import DataError
from train.config import Settings
from train.dice import Dice
from train.geometry import centre, described, guarded, jittered, moved, read
from train.losses import Truth, giou, judged
from train.memory import Step, Still
from train.model import Encoder
from train.motion import HORIZONS_S, UNITS
from train.render import Renderer, Scene

_UNROLLED = 8  # frames that gradients flow back through
_GIVEN, _IN_SIGHT = 0.7, 0.7  # share of targets that are given a box, visible share that it takes
_HELD_OUT_BATCHES = 2


class Tracker(nn.Module):
    """Encoder and step together: what is fitted, the encoder apart."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.encoder = Encoder().requires_grad_(False)
        self.step = (Still if settings.memory == "none" else Step)(settings.scene)

    def begin(self, appearance: Mapping[str, Tensor], motion: Mapping[str, Tensor]) -> None:
        """Take over what a look and a motion LSTM have learnt.

        Args:
            appearance: Weights of a `train.looking.Appearance`.
            motion: Weights of a `train.motion.MotionLSTM` with one feature beside the moves; what
                this one is told beyond that counts for nothing at first.

        Raises:
            DataError: They are of other nets.
        """
        try:
            parts = {n: v for n, v in appearance.items() if n.startswith("encoder.")}
            self.encoder.load_state_dict({n.removeprefix("encoder."): v for n, v in parts.items()})
            parts = {n: v for n, v in appearance.items() if n.startswith("matcher.")}
            matcher = {n.removeprefix("matcher."): v for n, v in parts.items()}
            self.step.matcher.load_state_dict(matcher)
            if isinstance(self.step, Still):
                return
            own = self.step.motion.state_dict()
            gates = own["gates.weight"]  # (4 * UNITS, told + UNITS)
            known = motion["gates.weight"]  # (4 * UNITS, fewer + UNITS)
            told = known.shape[1] - UNITS
            gates[:, :told], gates[:, -UNITS:] = known[:, :told], known[:, -UNITS:]
            gates[:, told:-UNITS] = 0
            self.step.motion.load_state_dict({**motion, "gates.weight": gates})
        except (KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"weights: are of another net, {reason}; name others") from error

    def train(self, mode: bool = True) -> "Tracker":
        """Set the mode; what batches were like stays as the first stage measured it."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


@dataclass
class _Targets:
    """What is known of the targets between two frames."""

    boxes: Tensor  # (B, 4) left, top, right, bottom in frame pixels
    template: Tensor  # (B, cells, CODE)
    forecast: Tensor  # (B, 5, 6)
    memory: tuple[Tensor, Tensor]  # (B, UNITS) each


class Following:
    """Fits a `Tracker` to sequences."""

    def __init__(self, net: Tracker, renderer: Renderer, held: Renderer, s: Settings) -> None:
        """Keep what is fitted, and to what.

        Args:
            net: Changed by fitting.
            renderer: Of training scenes.
            held: Of held-out pictures.
            s: How long sequences are, how often boxes are given anew.
        """
        self.net = net
        self._renderer, self._held, self._settings = renderer, held, s

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Follow a batch of sequences and return the terms of the loss, means over frames."""
        frames = self._follow(self.net, self._renderer, generator)
        return {name: torch.stack([f[name] for f in frames]).mean() for name in frames[0]}

    @torch.no_grad()
    def validate(self, net: Tracker) -> dict[str, float]:
        """Follow sequences of held-out pictures and return the terms of the loss."""
        generator = self._held.generator(0)
        batches = [self._follow(net, self._held, generator) for _ in range(_HELD_OUT_BATCHES)]
        frames = [frame for batch in batches for frame in batch]
        return {name: float(torch.stack([f[name] for f in frames]).mean()) for name in frames[0]}

    def _follow(
        self, net: Tracker, renderer: Renderer, generator: torch.Generator
    ) -> list[dict[str, Tensor]]:
        dice, scene = Dice(generator), renderer.begin(generator)
        targets = self._start(net, renderer, generator, scene)
        low, high = self._settings.pauses
        pause = int(dice.integers((1,), low, high + 1))  # frames from one given box to the next
        terms = []
        for frame in range(1, scene.plan.boxes.shape[1]):
            if frame % _UNROLLED == 0:
                hidden, cell = targets.memory
                targets.memory = (hidden.detach(), cell.detach())
            found, targets = self._step(net, renderer, generator, (scene, frame, targets))
            terms.append(found)
            if frame % pause == 0:
                self._anchor(net, renderer, dice, (scene, frame, targets))
        return terms

    def _start(
        self, net: Tracker, renderer: Renderer, generator: torch.Generator, scene: Scene
    ) -> _Targets:
        boxes = jittered(Dice(generator), scene.plan.boxes[:, 0])  # (B, 4)
        _, template = _encode(net, renderer.look(generator, scene, 0, boxes))
        count, device = len(boxes), boxes.device
        nothing = torch.zeros(count, UNITS, device=device)  # (B, UNITS)
        still = torch.zeros(count, len(HORIZONS_S), 6, device=device)  # (B, 5, 6)
        return _Targets(boxes, template, still, (nothing, nothing))

    def _step(
        self,
        net: Tracker,
        renderer: Renderer,
        generator: torch.Generator,
        at: tuple[Scene, int, _Targets],
    ) -> tuple[dict[str, Tensor], _Targets]:
        scene, frame, targets = at
        dt = scene.plan.skips[:, frame] / self._settings.data.fps  # (B,)
        size = self._settings.scene.frame_size
        expected = guarded(moved(targets.boxes, read(targets.forecast, dt)), size)  # (B, 4)
        views = renderer.region(expected)  # (B, 4)
        features, _ = _encode(net, renderer.look(generator, scene, frame, expected))
        motion = described(dt, targets.boxes, views)  # (B, 6)
        found = net.step.all(features, targets.template, motion, targets.memory)
        extent = views[:, 2:] - views[:, :2]  # (B, 2)
        box = views[:, :2].repeat(1, 2) + found.box * extent.repeat(1, 2)  # (B, 4) frame pixels
        true = scene.plan.boxes[:, frame]  # (B, 4)
        near = (centre(true) - centre(expected)).abs() < extent / 2  # (B, 2)
        seen = scene.plan.presence[:, frame] * near.all(1)  # (B,)
        truth = _truth(true, views, expected, seen)
        known = near.all(1).float()  # (B,) what is lost is not followed any more
        terms = judged(found.sight, truth)
        terms["presence"] = terms["presence"] + _certain(found.presence, seen)
        terms["followed"] = self._settings.followed * _off(box, true, known)
        if self._settings.memory != "none":
            later = self._later(scene, frame)  # (B, 5, 4)
            unlikely = surprise(found.forecast, box.detach(), later, known)
            terms["forecast"] = self._settings.foreseen * unlikely
        memory = found.memory if self._settings.memory == "kept" else targets.memory
        forecast = found.forecast.detach()
        return terms, _Targets(box.detach(), targets.template, forecast, memory)

    def _anchor(
        self, net: Tracker, renderer: Renderer, dice: Dice, at: tuple[Scene, int, _Targets]
    ) -> None:
        """Give most targets that are in sight their box anew, as a detector does; in place."""
        scene, frame, targets = at
        given = dice.uniform((len(targets.boxes),)) < _GIVEN
        given &= scene.plan.presence[:, frame] > _IN_SIGHT  # (B,)
        boxes = jittered(dice, scene.plan.boxes[:, frame])  # (B, 4)
        targets.boxes = torch.where(given[:, None], boxes, targets.boxes)
        _, template = _encode(net, renderer.look(dice.generator, scene, frame, boxes))
        targets.template = torch.where(given[:, None, None], template, targets.template)
        there = targets.forecast - functional.pad(targets.forecast[:, :1, :4], (0, 2))  # (B, 5, 6)
        targets.forecast = torch.where(given[:, None, None], there, targets.forecast)

    def _later(self, scene: Scene, frame: int) -> Tensor:
        """Return the true boxes at the horizons (B, 5, 4), NaN after the sequence's end."""
        times = (scene.plan.skips / self._settings.data.fps).cumsum(1)  # (B, T)
        horizons = torch.tensor(HORIZONS_S, device=times.device)  # (5,)
        wanted = times[:, frame, None] + horizons  # (B, 5)
        last = times.shape[1] - 1
        right = torch.searchsorted(times.contiguous(), wanted.contiguous()).clamp(1, last)  # (B, 5)
        before, after = times.gather(1, right - 1), times.gather(1, right)  # (B, 5) each
        share = ((wanted - before) / (after - before))[..., None]  # (B, 5, 1)
        index = right[..., None].expand(-1, -1, 4)  # (B, 5, 4)
        boxes = scene.plan.boxes
        there = torch.lerp(boxes.gather(1, index - 1), boxes.gather(1, index), share)  # (B, 5, 4)
        return there.masked_fill(share > 1.001, torch.nan)


def surprise(forecast: Tensor, boxes: Tensor, later: Tensor, known: Tensor) -> Tensor:
    """Return how unlikely a forecast held what came: Laplace, mean over what is known.

    Args:
        forecast: (B, 5, 6).
        boxes: (B, 4) that it starts from.
        later: (B, 5, 4) true boxes at its horizons; NaN where there is none.
        known: (B,) 0 where the target is lost.
    """
    extent = boxes[:, 2:] - boxes[:, :2]  # (B, 2)
    size = extent.prod(1).sqrt()[:, None, None]  # (B, 1, 1)
    there = torch.isfinite(later).all(2) * known[:, None]  # (B, 5)
    later = torch.where(there[..., None] > 0, later, boxes[:, None])  # (B, 5, 4)
    moves = (centre(later) - centre(boxes)[:, None]) / size  # (B, 5, 2)
    growth = ((later[..., 2:] - later[..., :2]) / extent[:, None]).log()  # (B, 5, 2)
    off = (forecast[..., :4] - torch.cat([moves, growth], 2)).unflatten(2, (2, 2))  # (B, 5, 2, 2)
    scale = forecast[..., 4:].clamp(-6, 4)  # (B, 5, 2)
    nll = (off.abs() * (-scale).exp()[..., None] + scale[..., None]).sum((2, 3))  # (B, 5)
    return (nll * there).sum() / there.sum().clamp_min(1.0)


def _truth(true: Tensor, views: Tensor, expected: Tensor, seen: Tensor) -> Truth:
    extent = views[:, 2:] - views[:, :2]  # (B, 2)
    size = expected[:, 2:] - expected[:, :2]  # (B, 2)
    growth = ((true[:, 2:] - true[:, :2]) / size).log()  # (B, 2)
    return Truth((centre(true) - centre(views)) / extent, growth, size / extent, seen)


def _off(found: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """Return how far boxes are from the true ones, hidden or not: mean over what is known."""
    size = true[:, 2:] - true[:, :2]  # (B, 2)
    shift = ((centre(found) - centre(true)) / size).abs().mean(1)  # (B,)
    return ((1 - giou(found, true) + 0.5 * shift) * known).sum() / known.sum().clamp_min(1.0)


def _certain(presence: Tensor, seen: Tensor) -> Tensor:
    known = ((seen - 0.15) / 0.35).clamp(0, 1)  # (B,)
    return 0.5 * functional.binary_cross_entropy_with_logits(presence, known)


def _encode(net: Tracker, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return net.encoder(images.permute(0, 2, 3, 1).contiguous())
