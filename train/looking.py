"""The first stage: single looks. A template and searches of it, no memory."""

import torch
from torch import Tensor, nn

from train.config import Settings
from train.dice import Dice
from train.losses import Truth, corners, iou, judged
from train.model import Encoder, Matcher, Sight
from train.render import Batch, Renderer

_HELD_OUT_BATCHES = 8


class Appearance(nn.Module):
    """Encoder and matcher together: what is fitted."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.matcher = Matcher()

    def forward(self, images: Tensor, wrong: Tensor) -> Sight:
        """Look for each scene's template in its searches.

        Args:
            images: (B, 1 + K, 3, s, s) uint8, the template first.
            wrong: (B, K) bool: look for the next scene's template instead.

        Returns:
            Of B * K searches.
        """
        pixels = images.permute(0, 1, 3, 4, 2).flatten(0, 1).contiguous()  # (B * (1 + K), s, s, 3)
        features, codes = self.encoder(pixels)
        features = features.unflatten(0, images.shape[:2])[:, 1:].flatten(0, 1)
        own = codes.unflatten(0, images.shape[:2])[:, :1]  # (B, 1, TEMPLATE ** 2, CODE)
        template = torch.where(wrong[..., None, None], own.roll(1, 0), own)
        return self.matcher(features, template.flatten(0, 1))


class Looking:
    """Fits an `Appearance` to single looks."""

    def __init__(self, net: Appearance, renderer: Renderer, held: Renderer, s: Settings) -> None:
        """Keep what is fitted, and to what.

        Args:
            net: Changed by fitting.
            renderer: Of training scenes.
            held: Of held-out pictures.
            s: How many searches, how often the template is another scene's.
        """
        self.net = net
        self._renderer, self._held, self._settings = renderer, held, s

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Render a batch and return the terms of its loss."""
        batch = self._renderer.crops(generator)
        shape = (len(batch.images), batch.images.shape[1] - 1)
        wrong = Dice(generator).uniform(shape) < self._settings.mistaken  # (B, K)
        return judged(self.net(batch.images, wrong), truth(batch, wrong))

    @torch.no_grad()
    def validate(self, net: Appearance) -> dict[str, float]:
        """Measure on scenes of held-out pictures: IoU where the target is, and the loss."""
        generator = self._held.generator(0)
        overlap, losses = [], []
        for _ in range(_HELD_OUT_BATCHES):
            batch = self._held.crops(generator)
            wrong = torch.zeros_like(batch.presence[:, 1:], dtype=torch.bool)  # (B, K)
            true = truth(batch, wrong)
            sight = net(batch.images, wrong)
            box = corners(sight.shift, sight.growth, true.reference)
            wanted = corners(true.shift, true.growth, true.reference)
            overlap.append(iou(box, wanted)[true.visible > 0.5])
            losses.append(torch.stack(list(judged(sight, true).values())).sum())
        return {"iou": torch.cat(overlap).mean().item(), "loss": torch.stack(losses).mean().item()}


def truth(batch: Batch, wrong: Tensor) -> Truth:
    """Return where the target is in every search, B * K of them."""
    size = batch.images.shape[-1]
    box = batch.boxes[:, 1:].flatten(0, 1) / size  # (N, 4)
    reference = batch.reference[:, 1:].flatten(0, 1) / size  # (N, 2)
    visible = torch.where(wrong, 0, batch.presence[:, 1:]).flatten()  # (N,)
    growth = ((box[:, 2:] - box[:, :2]) / reference).log()  # (N, 2)
    return Truth((box[:, :2] + box[:, 2:]) / 2 - 0.5, growth, reference, visible)
