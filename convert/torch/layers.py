"""Layers for networks that are trained here and run one frame at a time on the device."""

from typing import Any

import torch
from torch import Tensor, nn


@torch.library.custom_op("edgetrack::window_attention", mutates_args=())
def window_attention(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Let every step attend to itself and the window - 1 steps before it.

    One operator, so that an exported graph shows it as one node and the converter knows it.

    Args:
        query: (batch, heads, steps, size).
        key: (batch, heads, steps, size).
        value: (batch, heads, steps, size).
        window: Steps that are seen, this one included.

    Returns:
        (batch, heads, steps, size).
    """
    return _attend(query, key, value, window)


@window_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:  # noqa: ARG001
    return torch.empty_like(query)


class WindowAttention(nn.Module):
    """Causal self-attention over the last `window` steps, (B, T, width) to (B, T, width).

    Invariant: step t depends on steps t - window + 1 to t alone, so one frame at a time with a
    memory of `window` keys and values gives what the whole sequence gives.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        """Make an untrained layer.

        Args:
            width: Of the input and the output.
            heads: They share the width evenly.
            window: Steps that are seen, this one included; two or more.

        Raises:
            ValueError: The heads do not divide the width, or the window is too short.
        """
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width {width}: {heads} heads do not divide it; change one of them")
        if window < 2:
            raise ValueError(f"window {window}: attends to no earlier step; make it 2 or more")
        self.heads, self.window = heads, window
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, width) for x (B, T, width)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, size)
            for layer in (self.query, self.key, self.value)
        )
        found = window_attention(query, key, value, self.window)  # (B, heads, T, size)
        return self.out(found.transpose(1, 2).flatten(2))


def _attend(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    steps = torch.arange(query.shape[2], device=query.device)
    age = steps[:, None] - steps  # (T, T): how long ago, negative for what is to come
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (B, heads, T, T)
    scores = scores.masked_fill((age < 0) | (age >= window), float("-inf"))
    return scores.softmax(-1) @ value


def _keep_inputs(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG001  torch calls it
    *tensors, ctx.window = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():  # the forward once more: cheaper to keep than (B, heads, T, T)
        query, key, value = (tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
        found = _attend(query, key, value, ctx.window)
    return (*torch.autograd.grad(found, (query, key, value), gradient), None)


window_attention.register_autograd(_gradients, setup_context=_keep_inputs)
