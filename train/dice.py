"""Random numbers of a batch, all from one explicit generator, made on its device."""

import torch
from torch import Tensor


class Dice:
    """Draws tensors; the same seed on the same kind of device gives the same numbers."""

    def __init__(self, generator: torch.Generator) -> None:
        """Keep the generator, whose state every draw moves on."""
        self.generator, self.device = generator, generator.device

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return values in low..high."""
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Return values of mean 0 and standard deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, shape: tuple[int, ...], share: float) -> Tensor:
        """Return 1.0 for about that share of them, else 0.0."""
        return (self.uniform(shape) < share).float()

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> Tensor:
        """Return whole numbers of low..high - 1."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device)
