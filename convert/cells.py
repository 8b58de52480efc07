"""Recurrent cells, each written once in operations that every framework has.

A rule brings a layer's weights into the form that is wanted here, and the framework's `Ops` trace
the cell into its graph. Kernels are (inputs, gates * units), the gates side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Tensor = Any  # of the framework that `Ops` belongs to
Activation = Callable[[Tensor], Tensor]


class Ops(Protocol):
    """The few operations that cells are made of, in one framework."""

    def linear(self, value: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Return value @ kernel + bias: (1, inputs), (inputs, outputs), (outputs,)."""

    def split(self, value: Tensor, parts: int) -> Sequence[Tensor]:
        """Cut the last axis into equal parts."""

    def concat(self, values: Sequence[Tensor], axis: int) -> Tensor:
        """Join along one axis."""

    def matmul(self, left: Tensor, right: Tensor, transpose_right: bool = False) -> Tensor:
        """Multiply the matrices in the last two axes."""

    def softmax(self, value: Tensor) -> Tensor:
        """Normalise over the last axis."""

    def sigmoid(self, value: Tensor) -> Tensor:
        """Return the logistic function."""

    def tanh(self, value: Tensor) -> Tensor:
        """Return the hyperbolic tangent."""

    def reshape(self, value: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the same elements in another shape."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a layer has learnt, in the framework's own tensors."""

    kernel: Tensor
    """(inputs, gates * units), for the input."""
    recurrent: Tensor
    """(units, gates * units), for the hidden state."""
    bias: Tensor | None
    """(gates * units,), added to the input's part."""
    recurrent_bias: Tensor | None = None
    """(gates * units,), added to the hidden state's part; only a GRU tells it from `bias`."""


def rnn(ops: Ops, x: Tensor, h: Tensor, weights: Weights, activation: Activation) -> Tensor:
    """Return the next h (1, units) of a plain RNN: h' = f(W x + R h + b) (Elman 1990).

    Args:
        ops: The framework.
        x: (1, inputs).
        h: (1, units).
        weights: One gate.
        activation: f.
    """
    return activation(_gates(ops, x, h, weights))


def lstm(
    ops: Ops,
    x: Tensor,
    state: tuple[Tensor, Tensor],
    weights: Weights,
    gate: Activation | None = None,
    activation: Activation | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the next h and c of an LSTM (Hochreiter and Schmidhuber 1997, with forget gate).

    Args:
        ops: The framework.
        x: (1, inputs).
        state: h and c, each (1, units).
        weights: Gates in the order i, f, g, o; that is also the order of Keras and PyTorch.
        gate: Of i, f and o; sigmoid.
        activation: Of g and the output; tanh.
    """
    gate, activation = gate or ops.sigmoid, activation or ops.tanh
    h, c = state
    i, f, g, o = ops.split(_gates(ops, x, h, weights), 4)  # (1, units) each
    c = gate(f) * c + gate(i) * activation(g)
    return gate(o) * activation(c), c


def gru(
    ops: Ops,
    x: Tensor,
    h: Tensor,
    weights: Weights,
    gate: Activation | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """Return the next h (1, units) of a GRU that resets after the product, as cuDNN does.

    Args:
        ops: The framework.
        x: (1, inputs).
        h: (1, units).
        weights: Gates in the order z, r, n; both biases, as those of n must not be summed.
        gate: Of z and r; sigmoid.
        activation: Of n; tanh.
    """
    gate, activation = gate or ops.sigmoid, activation or ops.tanh
    zr, new = _zr_and_n(weights)
    z, r = ops.split(gate(_gates(ops, x, h, zr)), 2)
    reset = r * ops.linear(h, new.recurrent, new.recurrent_bias)
    n = activation(ops.linear(x, new.kernel, new.bias) + reset)
    return n + z * (h - n)


def gru_reset_before(
    ops: Ops,
    x: Tensor,
    h: Tensor,
    weights: Weights,
    gate: Activation | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """Return the next h (1, units) of a GRU that resets before the product (Cho et al. 2014).

    Args:
        ops: The framework.
        x: (1, inputs).
        h: (1, units).
        weights: Gates in the order z, r, n; one bias.
        gate: Of z and r; sigmoid.
        activation: Of n; tanh.
    """
    gate, activation = gate or ops.sigmoid, activation or ops.tanh
    zr, new = _zr_and_n(weights)
    z, r = ops.split(gate(_gates(ops, x, h, zr)), 2)
    n = activation(_gates(ops, x, r * h, new))
    return n + z * (h - n)


def window_attention(
    ops: Ops, query: Tensor, key: Tensor, value: Tensor, memory: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Attend to this step and the window - 1 before it; cost and memory never grow.

    The memory moves by one slot a step: the oldest leaves, this step's key and value enter.

    Args:
        ops: The framework.
        query: (1, heads, 1, size), already divided by the square root of size.
        key: (1, heads, 1, size).
        value: (1, heads, 1, size).
        memory: Keys and values (1, heads, window, size), oldest first, and which slots are filled
            (1, 1, 1, window), 1.0 or 0.0.

    Returns:
        What was found, (1, heads, 1, size), and the next memory.
    """
    keys, values, filled = memory
    keys = ops.concat([keys[:, :, 1:, :], key], 2)
    values = ops.concat([values[:, :, 1:, :], value], 2)
    filled = ops.concat([filled[:, :, :, 1:], filled[:, :, :, :1] * 0.0 + 1.0], 3)
    scores = ops.matmul(query, keys, transpose_right=True)  # (1, heads, 1, window)
    shares = ops.softmax(scores + (filled - 1.0) * 1e9)
    return ops.matmul(shares, values), (keys, values, filled)


def _gates(ops: Ops, x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    return ops.linear(x, weights.kernel, weights.bias) + ops.linear(
        h, weights.recurrent, weights.recurrent_bias
    )


def _zr_and_n(weights: Weights) -> tuple[Weights, Weights]:
    """Cut a GRU's weights in two: r stands between the products of n, but not those of z and r.

    One chain of products and one activation for z and r is what interpreters run fastest.
    """
    cut = 2 * weights.recurrent.shape[0]
    bias, recurrent_bias = weights.bias, weights.recurrent_bias
    both = bias if recurrent_bias is None else bias + recurrent_bias
    return (
        Weights(weights.kernel[:, :cut], weights.recurrent[:, :cut], _part(both, slice(cut))),
        Weights(
            weights.kernel[:, cut:],
            weights.recurrent[:, cut:],
            _part(bias, slice(cut, None)),
            _part(recurrent_bias, slice(cut, None)),
        ),
    )


def _part(bias: Tensor | None, gates: slice) -> Tensor | None:
    return None if bias is None else bias[gates]
