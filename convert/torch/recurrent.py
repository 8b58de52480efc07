"""The rules of PyTorch's recurrent layers and of `WindowAttention`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from convert import cells
from convert.cells import Weights
from convert.errors import ConvertError
from convert.torch.layers import window_attention  # registers the operator
from convert.torch.ops import GraphOps
from convert.torch.rules import Call, Memory, States, Unrolled, rule


@dataclass(frozen=True, slots=True)
class Cell:
    """How one of torch's cells is told to `convert.cells`."""

    states: tuple[str, ...]
    gates: str
    """In torch's order, for a reader."""
    weights: Callable[[Sequence[Tensor]], Weights]
    """From (gates * units, inputs), (gates * units, units) and, where there are any, two biases."""
    step: Callable[[GraphOps, Proxy, States, Weights], States]
    """h is the first of the states and the output."""


def _summed(parts: Sequence[Tensor]) -> Weights:
    kernel, recurrent, *biases = parts
    return Weights(kernel.t(), recurrent.t(), biases[0] + biases[1] if biases else None)


def _zrn(parts: Sequence[Tensor]) -> Weights:
    """Bring torch's r, z, n into the order z, r, n; the two biases of n must stay apart."""
    r, z, n = zip(*(part.chunk(3) for part in parts), strict=True)
    kernel, recurrent, *biases = (torch.cat(gates) for gates in zip(z, r, n, strict=True))
    return Weights(kernel.t(), recurrent.t(), *(biases or [None, None]))


LSTM = Cell(("h", "c"), "i f g o", _summed, cells.lstm)
GRU = Cell(
    ("h",), "r z n", _zrn, lambda ops, x, state, weights: (cells.gru(ops, x, state[0], weights),)
)
RNN_TANH = Cell(
    ("h",),
    "tanh",
    _summed,
    lambda ops, x, state, weights: (cells.rnn(ops, x, state[0], weights, torch.tanh),),
)
RNN_RELU = Cell(
    ("h",),
    "relu",
    _summed,
    lambda ops, x, state, weights: (cells.rnn(ops, x, state[0], weights, torch.relu),),
)


def stack(call: Call, cell: Cell) -> Unrolled:
    """Unroll one or several layers of nn.LSTM, nn.GRU or nn.RNN.

    Raises:
        ConvertError: It runs backwards, projects, drops at random or does not step with the frames.
    """
    _check_sequence(call)
    layers = call.arguments["num_layers"]
    starts, others = _tensors(call.arguments["hx"]), _tensors(call.again["hx"])
    refuse_projection(call.layer, *sorted((s.shape[-1] for s in starts), reverse=True))
    params = call.arguments["params"]
    each = len(params) // layers
    weights = [cell.weights(params[index : index + each]) for index in range(0, len(params), each)]
    shape = (1, starts[0].shape[-1])
    states = tuple(
        Memory(
            f"{index}_{name}" if layers > 1 else name,
            shape,
            call.initial(start[index], other[index]),
        )
        for index in range(layers)
        for name, start, other in zip(cell.states, starts, others, strict=True)
    )

    def step(ops: GraphOps, given: Mapping[str, Proxy], states: States) -> tuple[Any, States]:
        x = ops.reshape(given["input"], (1, params[0].shape[1]))
        size, found = len(cell.states), []
        for index in range(layers):
            own = states[index * size : (index + 1) * size]
            found.append(cell.step(ops, x, own, weights[index]))
            x = found[-1][0]
        last = [
            ops.reshape(ops.concat(list(parts), 0), (layers, *shape))
            for parts in zip(*found, strict=True)
        ]
        return (ops.reshape(x, (1, *shape)), *last), tuple(
            part for parts in found for part in parts
        )

    return Unrolled(states, step, _detail(layers, shape[1], cell))


def single(call: Call, cell: Cell) -> Unrolled:
    """Unroll nn.LSTMCell, nn.GRUCell or nn.RNNCell."""
    starts, others = _tensors(call.arguments["hx"]), _tensors(call.again["hx"])
    if (rows := starts[0].shape[0]) != 1:
        raise ConvertError(
            f"{call.layer}: steps {rows} rows for one frame; only one state a stream is converted"
        )
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    parts = [call.arguments.get(name) for name in names]
    weights = cell.weights([part for part in parts if part is not None])
    states = tuple(
        Memory(name, tuple(start.shape), call.initial(start, other))
        for name, start, other in zip(cell.states, starts, others, strict=True)
    )

    def step(ops: GraphOps, given: Mapping[str, Proxy], states: States) -> tuple[Any, States]:
        found = cell.step(ops, given["input"], states, weights)
        return (found if len(found) > 1 else found[0]), found

    return Unrolled(states, step, _detail(1, starts[0].shape[1], cell))


rule(torch.ops.aten.lstm.input)(partial(stack, cell=LSTM))
rule(torch.ops.aten.gru.input)(partial(stack, cell=GRU))
rule(torch.ops.aten.rnn_tanh.input)(partial(stack, cell=RNN_TANH))
rule(torch.ops.aten.rnn_relu.input)(partial(stack, cell=RNN_RELU))
rule(torch.ops.aten.lstm_cell.default)(partial(single, cell=LSTM))
rule(torch.ops.aten.gru_cell.default)(partial(single, cell=GRU))
rule(torch.ops.aten.rnn_tanh_cell.default)(partial(single, cell=RNN_TANH))
rule(torch.ops.aten.rnn_relu_cell.default)(partial(single, cell=RNN_RELU))


@rule(window_attention._opoverload)
def attention(call: Call) -> Unrolled:
    """Unroll `WindowAttention`: it remembers the keys and values of the window."""
    _, heads, _, size = call.arguments["query"].shape
    window = call.arguments["window"]
    memory = (1, heads, window, size)
    states = (Memory("keys", memory), Memory("values", memory), Memory("filled", (1, 1, 1, window)))

    def step(ops: GraphOps, given: Mapping[str, Proxy], states: States) -> tuple[Any, States]:
        query = given["query"] * size**-0.5
        keys, values, filled = states
        return cells.window_attention(
            ops, query, given["key"], given["value"], (keys, values, filled)
        )

    return Unrolled(states, step, f"{heads} heads of {size} over the last {window} steps")


def _check_sequence(call: Call) -> None:
    given = call.arguments
    if given["bidirectional"]:
        raise ConvertError(
            f"{call.layer}: is bidirectional, so a step would need the frames to come; "
            "train it in one direction"
        )
    if given["train"] and given["dropout"] > 0:
        raise ConvertError(
            f"{call.layer}: drops at random between its layers, p={given['dropout']:g}; "
            "export the model in eval()"
        )
    if (shape := tuple(given["input"].shape))[:2] != (1, 1):
        raise ConvertError(
            f"{call.layer}: runs over several steps within one frame, input {list(shape)}; "
            "only a recurrence from frame to frame is converted"
        )


def refuse_projection(layer: str, units: int, projected: int = 0) -> None:
    """Refuse an LSTM whose hidden state is not as large as its cell.

    Raises:
        ConvertError: It is not: its exports go wrong.
    """
    if projected not in (0, units):
        raise ConvertError(
            f"{layer}: projects its {units} units to proj_size={projected}; "
            "train with proj_size=0 and a Linear layer after it"
        )


def _tensors(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _detail(layers: int, units: int, cell: Cell) -> str:
    many = f"{layers} layers of " if layers > 1 else ""
    return f"{many}{units} units, gates {cell.gates}"
