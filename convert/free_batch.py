"""A TFLite network for any number of rows, out of the same network for two rows and for three.

No interpreter resizes networks reliably (see `edge.backends.tflite`), so the file gets a signature
for each of some numbers of rows, all with the same weights. The exporters write the number into
shapes and into constants that operators are given; where the two files differ, and nowhere else, it
is that number at work, and it works linearly: what three rows add to two, each further row adds.
"""

from collections.abc import Callable, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convert.errors import ConvertError
from edge.backends.tflite import ROWS
from edge.types import Array

WRITTEN = (2, 3)
"""How many rows the two files are written for: of one row, exporters leave out the dimension."""
_MOST_ROWS, _MOST_BYTES = 64, 256 * 1024
"""Of a batch and of its inputs: a large batch saves calls, but leaves the processor's cache."""


def free_batch(two: bytes, three: bytes, name: str) -> bytes:
    """Return a network with a signature for one row, two, four and so on.

    Args:
        two: The network for two rows.
        three: The same network for three.
        name: Of the model, for messages.

    Raises:
        ConvertError: The two are not the same network.
    """
    from ai_edge_litert.tools import flatbuffer_utils  # noqa: TID251  format, no runtime

    models = [
        flatbuffer_utils.read_model_from_bytearray(bytearray(content)) for content in (two, three)
    ]
    twins = _twins(models, name)
    model, (signature,) = models[0], models[0].signatureDefs
    graphs, signatures = [], []
    for index, rows in enumerate(_sizes(model)):
        graphs.append(_graph(model, twins, rows))
        signatures.append(copy(signature))
        signatures[-1].subgraphIndex = index
        signatures[-1].signatureKey = f"{ROWS}{rows}".encode()
    model.subgraphs, model.signatureDefs = graphs, signatures
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


Counted = Callable[[int], Array]
"""From a number of rows to what a shape or a constant is for it."""


@dataclass(frozen=True)
class _Twins:
    """What two networks have where they differ, by the number of the tensor in the first."""

    shapes: Mapping[int, Counted]
    constants: Mapping[int, Counted]


def _twins(models: list[Any], name: str) -> _Twins:
    shapes, constants = {}, {}
    for pair in _pairs(models, name).items():
        tensors = [m.subgraphs[0].tensors[i] for m, i in zip(models, pair, strict=True)]
        first, second = (np.array(tensor.shape, np.int64) for tensor in tensors)
        if first.shape == second.shape and (first != second).any():
            shapes[pair[0]] = partial(_linear, first, second)
        values = [_constant(m, t) for m, t in zip(models, tensors, strict=True)]
        if values[0].tobytes() != values[1].tobytes():
            constants[pair[0]] = _counted(values, (first, second), name)
    return _Twins(shapes, constants)


def _counted(values: list[Array], shapes: tuple[Array, Array], name: str) -> Counted:
    """Return how a constant hangs on the rows: by its numbers, or as rows that are all the same."""
    two, three = values
    if two.dtype == np.int32 and two.shape == three.shape:
        return partial(_linear, two, three)
    axes = np.flatnonzero(shapes[0] != shapes[1])
    if len(axes) == 1:
        filled = [v.reshape(*s, -1) for v, s in zip(values, shapes, strict=True)]
        one = filled[0].take([0], axes[0])
        if all((value == one).all() for value in filled):
            return lambda rows: np.repeat(one, _linear(*shapes, rows)[axes[0]], axes[0])
    raise ConvertError(
        f"{name}: a constant is made for a number of rows, so TFLite cannot free the batch; "
        "compute it from an input, or leave tflite out with --to"
    )


def _pairs(models: list[Any], name: str) -> dict[int, int]:
    """Return which tensor of the second network is which of the first."""
    first, second = (model.subgraphs[0] for model in models)
    pairs = dict(zip(first.inputs, second.inputs, strict=True))
    kinds = [[_kind(model, op) for op in model.subgraphs[0].operators] for model in models]
    if kinds[0] != kinds[1]:
        raise ConvertError(
            f"{name}: the exporter writes other operators for three rows than for two, so TFLite "
            "cannot free the batch; leave tflite out with --to"
        )
    for mine, other in zip(first.operators, second.operators, strict=True):
        pairs |= zip(mine.inputs, other.inputs, strict=True)
        pairs |= zip(mine.outputs, other.outputs, strict=True)
    pairs.pop(-1, None)  # an input that is left out
    return pairs


def _sizes(model: Any) -> list[int]:
    """Return the numbers of rows that get a signature: powers of two from 1."""
    graph = model.subgraphs[0]
    given = [_row_bytes(graph.tensors[index]) for index in graph.inputs]
    most = min(_MOST_ROWS, _MOST_BYTES // sum(given))
    return [1, *(size for size in (2, 4, 8, 16, 32, 64) if size <= most)]


def _row_bytes(tensor: Any) -> int:
    """Return the bytes of one row."""
    from ai_edge_litert import schema_py_generated as schema  # noqa: TID251  format, no runtime

    one_byte = (schema.TensorType.UINT8, schema.TensorType.INT8)
    return int(np.prod(tensor.shape[1:])) * (1 if tensor.type in one_byte else 4)


def _graph(model: Any, twins: _Twins, rows: int) -> Any:
    """Return the network for so many rows; its own constants are added to the model."""
    graph = deepcopy(model.subgraphs[0])
    graph.name = f"{ROWS}{rows}".encode()
    for index, shape in twins.shapes.items():
        graph.tensors[index].shape = shape(rows).tolist()
    for index, value in twins.constants.items():
        model.buffers.append(copy(model.buffers[0]))
        model.buffers[-1].data = np.frombuffer(value(rows).tobytes(), np.uint8)
        graph.tensors[index].buffer = len(model.buffers) - 1
    for tensor in graph.tensors:
        tensor.name = b""  # exporters write a path of hundreds of letters; signatures name the ends
    for op in graph.operators:
        if getattr(op.builtinOptions, "newShape", None) is not None:
            op.builtinOptions.newShape = graph.tensors[op.outputs[0]].shape  # repeats its constant
    return graph


def _linear(two: Array, three: Array, rows: int) -> Array:
    return (two + (rows - WRITTEN[0]) * (three - two)).astype(two.dtype)


def _constant(model: Any, tensor: Any) -> Array:
    """Return the numbers of an int32 constant, the bytes of any other, nothing of no constant."""
    from ai_edge_litert import schema_py_generated as schema  # noqa: TID251  format, no runtime

    data = model.buffers[tensor.buffer].data
    integers = tensor.type == schema.TensorType.INT32
    content = b"" if data is None else bytes(bytearray(data))
    return np.frombuffer(content, np.int32 if integers else np.uint8)


def _kind(model: Any, op: Any) -> tuple[int, int]:
    code = model.operatorCodes[op.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode), len(op.inputs)
