"""One rule a recurrent Keras layer or cell: its states, and one step in the operations of `cells`.

To add one, import this module from your own, name it with `--import`, and write

    @rule(MyCell)
    def my_cell(cell, shape):
        return Cell({"h": (1, cell.units)}, step, "what --explain says")

where `step(x, states)` takes (1, ...) tensors by state name and returns the output and next states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from convert import cells
from convert.cells import Activation, Tensor, Weights
from convert.errors import ConvertError
from convert.keras.layers import WindowAttention
from convert.keras.ops import TfOps, constant

States = dict[str, Tensor]
Shape = tuple[int, ...]
OPS = TfOps()


@dataclass(frozen=True)
class Cell:
    """A recurrent layer as one step."""

    states: Mapping[str, Shape]
    """Name within the layer to shape, (1, ...); every state starts at zero."""
    step: Callable[[Tensor, States], tuple[Tensor, States]]
    """Input (1, ...) and states by name to output (1, ...) and next states."""
    detail: str
    """For `--explain`."""


Rule = Callable[[Any, Shape], Cell]
_RULES: dict[type, Rule] = {}


def rule(kind: type) -> Callable[[Rule], Rule]:
    """Register the rule of a layer or cell class; it gets the layer and its input's shape (1, ...).

    Raises:
        ValueError: The class has a rule already.
    """

    def register(function: Rule) -> Rule:
        if kind in _RULES:
            raise ValueError(f"{kind.__name__}: has the rule {_RULES[kind].__name__}; keep one")
        _RULES[kind] = function
        return function

    return register


def supported() -> list[str]:
    """Return the names of all layer and cell classes that have a rule."""
    return sorted(kind.__name__ for kind in _RULES)


def is_recurrent(layer: Any) -> bool:
    """Say whether a layer carries something from one step to the next."""
    return isinstance(layer, keras.layers.RNN) or type(layer) in _RULES


def cell_of(layer: Any, shape: Shape) -> Cell:
    """Return a recurrent layer as one step.

    Args:
        layer: Built.
        shape: Of its input in one step, (1, ...).

    Raises:
        ConvertError: There is no rule for it.
    """
    return _apply(getattr(layer, "cell", layer), layer.name, shape)


def _apply(cell: Any, layer: str, shape: Shape) -> Cell:
    if type(cell) not in _RULES:
        raise ConvertError(
            f"layer {layer}: {type(cell).__name__} has no rule, there are rules for "
            f"{', '.join(supported())}; write one as convert/keras/rules.py says at its top, and "
            "name its module with --import"
        )
    return _RULES[type(cell)](cell, shape)


@rule(keras.layers.SimpleRNNCell)
def simple_rnn(cell: Any, _: Shape) -> Cell:
    """H' = f(W x + R h + b)."""
    weights = _weights(cell)

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        h = cells.rnn(OPS, x, states["h"], weights, cell.activation)
        return h, {"h": h}

    return Cell({"h": (1, cell.units)}, step, f"{cell.units} units, {_name(cell.activation)}")


@rule(keras.layers.LSTMCell)
def lstm(cell: Any, _: Shape) -> Cell:
    """Keras's gate order is i, f, c, o."""
    weights = _weights(cell)
    gate, activation = _activations(cell)

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        state = states["h"], states["c"]
        h, c = cells.lstm(OPS, x, state, weights, gate, activation)
        return h, {"h": h, "c": c}

    shape = (1, cell.units)
    return Cell({"h": shape, "c": shape}, step, f"{cell.units} units, gates i, f, c, o")


@rule(keras.layers.GRUCell)
def gru(cell: Any, _: Shape) -> Cell:
    """Keras's gate order is z, r, h; `reset_after` tells the two kinds of GRU apart."""
    advance = _gru_reset_after(cell) if cell.reset_after else _gru_reset_before(cell)

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        h = advance(x, states["h"])
        return h, {"h": h}

    when = "after" if cell.reset_after else "before"
    detail = f"{cell.units} units, gates z, r, h, reset {when} the product"
    return Cell({"h": (1, cell.units)}, step, detail)


@rule(type(keras.layers.ConvLSTM2D(1, 1).cell))
def conv_lstm(cell: Any, shape: Shape) -> Cell:
    """The cell's own convolutions; its `state_size` is -1, so the shape comes from the output's."""
    output = tuple(cell.compute_output_shape((1, *shape[1:]))[0])

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        y, (h, c) = cell(x, [states["h"], states["c"]])
        return y, {"h": h, "c": c}

    return Cell({"h": output, "c": output}, step, f"{cell.filters} filters, gates i, f, c, o")


@rule(keras.layers.StackedRNNCells)
def stacked(cell: Any, shape: Shape) -> Cell:
    """Cells on top of each other; their states are numbered, as all may have one name."""
    parts = []
    for inner in cell.cells:
        parts.append(_apply(inner, cell.name, shape))
        shape = next(iter(parts[-1].states.values()))  # what it gives is shaped as its first state

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        following: States = {}
        for index, part in enumerate(parts):
            own = {name: states[f"{index}_{name}"] for name in part.states}
            x, own = part.step(x, own)
            following |= {f"{index}_{name}": value for name, value in own.items()}
        return x, following

    states = {f"{i}_{name}": s for i, part in enumerate(parts) for name, s in part.states.items()}
    return Cell(states, step, "stacked: " + "; ".join(part.detail for part in parts))


@rule(WindowAttention)
def window_attention(layer: Any, _: Shape) -> Cell:
    """Keys and values of the last steps are the state."""
    projections = [[constant(v) for v in part.weights] for part in (layer.query, layer.key)]
    projections += [[constant(v) for v in part.weights] for part in (layer.value, layer.out)]
    by_head = (1, layer.heads, 1, layer.size)

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        query, key, value = (
            OPS.reshape(OPS.linear(x, *projection), by_head) for projection in projections[:3]
        )
        memory = states["keys"], states["values"], states["filled"]
        found, memory = cells.window_attention(OPS, query / layer.size**0.5, key, value, memory)
        y = OPS.linear(OPS.reshape(found, (1, layer.heads * layer.size)), *projections[3])
        return y, dict(zip(("keys", "values", "filled"), memory, strict=True))

    buffer = (1, layer.heads, layer.window, layer.size)
    states = {"keys": buffer, "values": buffer, "filled": (1, 1, 1, layer.window)}
    return Cell(states, step, f"{layer.heads} heads of {layer.size}, the last {layer.window} steps")


def _weights(cell: Any) -> Weights:
    bias = constant(cell.bias) if cell.use_bias else None
    return Weights(constant(cell.kernel), constant(cell.recurrent_kernel), bias)


def _gru_reset_after(cell: Any) -> Callable[[Tensor, Tensor], Tensor]:
    bias, recurrent_bias = constant(cell.bias) if cell.use_bias else (None, None)  # (2, 3 * units)
    weights = Weights(constant(cell.kernel), constant(cell.recurrent_kernel), bias, recurrent_bias)
    gate, activation = _activations(cell)
    return lambda x, h: cells.gru(OPS, x, h, weights, gate, activation)


def _gru_reset_before(cell: Any) -> Callable[[Tensor, Tensor], Tensor]:
    weights = _weights(cell)
    gate, activation = _activations(cell)
    return lambda x, h: cells.gru_reset_before(OPS, x, h, weights, gate, activation)


def _activations(cell: Any) -> tuple[Activation, Activation]:
    return cell.recurrent_activation, cell.activation


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", activation))
