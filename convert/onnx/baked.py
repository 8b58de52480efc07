"""The length of the sequence where an exporter wrote it into operators: set free.

It stands in the shapes of Reshape, and as the number of the last step in Gather and Slice. A
wrong guess does no harm unseen: the step is compared with the sequence tensor by tensor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from convert.onnx.graph import attribute_of, constant
from convert.onnx.layout import time_first
from convert.onnx.measure import noise, open_probe, run

_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Export:
    """How a graph was exported."""

    length: int
    """Of the sequence."""
    axes: frozenset[int]
    """Where time runs in the inputs; it is looked for there first."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of every tensor, over that length."""


def set_time_free(model: ModelProto, length: int, axes: Mapping[str, int], name: str) -> None:
    """Let a graph that was exported for one length take any.

    Args:
        model: Changed; its inputs are free already.
        length: What it was exported for.
        axes: Input to its time axis.
        name: Of the model, for messages.

    Raises:
        ConvertError: It does not run over that length.
    """
    baked = [node for node in model.graph.node if node.op_type in _BAKES]
    if not baked:
        return
    feed = noise(model, length, axes)
    values = feed | run(open_probe(time_first(model), name), feed, name)
    values |= {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = {key: value.shape for key, value in values.items()}
    export = _Export(length, frozenset(axes.values()), shapes)
    for node in baked:
        _BAKES[node.op_type](model.graph, node, export)


def _free_reshape(graph: GraphProto, node: NodeProto, export: _Export) -> None:
    if constant(graph, node.input[1]) is None:
        return
    shape = list(export.shapes[node.output[0]])
    exact = [i for i, size in enumerate(shape) if size == export.length]
    merged = [i for i, size in enumerate(shape) if size % export.length == 0]  # batch and time
    for place in sorted(exact or merged, key=lambda i: i not in export.axes)[:1]:
        shape[place] = -1
        _set_constant(graph, node, 1, shape)


def _free_gather(graph: GraphProto, node: NodeProto, export: _Export) -> None:
    index = constant(graph, node.input[1])
    size = export.shapes[node.input[0]][attribute_of(node, "axis", 0)]
    last = index is not None and index.size == 1 and index.item() == size - 1
    if index is not None and last and size == export.length:
        _set_constant(graph, node, 1, np.full_like(index, -1))


def _free_slice(graph: GraphProto, node: NodeProto, export: _Export) -> None:
    parts = [constant(graph, name) for name in node.input[1:4]]
    if len(parts) < 3 or any(part is None for part in parts):
        return
    starts, ends, axes = (np.array(part, np.int64) for part in parts)
    for i, axis in enumerate(axes):
        if export.shapes[node.input[0]][axis] == export.length:
            starts[i] = -1 if starts[i] == export.length - 1 > 0 else starts[i]
            ends[i] = _FOREVER if ends[i] >= export.length else ends[i]
    for place, value in enumerate((starts, ends, axes), 1):
        _set_constant(graph, node, place, value)


_BAKES: dict[str, Callable[[GraphProto, NodeProto, _Export], None]] = {
    "Reshape": _free_reshape,
    "Gather": _free_gather,
    "Slice": _free_slice,
}


def _set_constant(graph: GraphProto, node: NodeProto, place: int, value: ArrayLike) -> None:
    name = f"{node.output[0]}_{place}_free"
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    node.input[place] = name
