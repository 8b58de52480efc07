"""One frame of time in, one out: the step as seen from outside, and sequences brought to it.

Where a model has axes for time and batch, time leaves and the batch stays in front; where time is
all there is in front of a frame, it stays, and is 1.
"""

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from convert.onnx.graph import copy_of, dims, opset, rename, replace, set_dims
from convert.onnx.measure import TIME, noise, open_probe, run
from convert.onnx.rules import X, recurrent
from convert.onnx.timeline import Timeline
from edge.types import Array


def loses_time(timeline: Timeline, tensor: str) -> bool:
    """Say whether an input or output has no axis of time any more once it is a step's."""
    axis, shape = timeline.axis(tensor), timeline.long[tensor].shape
    if axis is None or len(shape) < 3:
        return False
    if tensor not in timeline.inputs:
        return any(loses_time(timeline, name) for name in timeline.inputs)
    first = recurrent(timeline.model.graph)[0]
    return bool(shape[1 - axis] == timeline.long[first.input[X]].shape[1])


def whole(timeline: Timeline, name: str, frames: Array) -> Array:
    """Return an input as the sequence model takes it.

    Args:
        timeline: Of the model.
        name: Of the input.
        frames: (steps, ...), each as the step takes it.
    """
    join = np.stack if loses_time(timeline, name) else np.concatenate
    return join(list(frames), axis=timeline.inputs[name])


def by_step(timeline: Timeline, name: str, value: Array) -> Array:
    """Return an output of the sequence model as (steps, ...), each as the step gives it."""
    axis = timeline.axis(name)
    if axis is None:
        raise ValueError(f"{name}: has no axis of time; ask for it after every step")
    frames = np.moveaxis(value, axis, 0)
    return frames if loses_time(timeline, name) else np.expand_dims(frames, 1 + axis)


def one_step(timeline: Timeline, model: ModelProto, name: str) -> bytes:
    """Return the file of a graph whose states are exposed, for one frame, all shapes fixed.

    Args:
        timeline: Of the graph.
        model: Left as it is.
        name: For messages.

    Raises:
        ConvertError: It does not run.
    """
    model = copy_of(model)
    graph = model.graph
    front, back = [], []
    for value in graph.input:
        if value.name in timeline.inputs:
            front += _enter(model, value.name, timeline)
            shape = [1 if size == TIME else size for size in dims(value)]
            if loses_time(timeline, value.name):
                del shape[timeline.inputs[value.name]]
            set_dims(value, shape)
    for value in graph.output:
        if value.name in timeline.long and loses_time(timeline, value.name):
            inner = f"{value.name}_over_time"
            rename(graph, value.name, inner)
            back += _axis_node(model, "Squeeze", inner, value.name, timeline.axis(value.name))
    replace(graph.node, [*front, *graph.node, *back])
    found = run(open_probe(model, name), noise(model, 1, timeline.inputs), name)
    for value in graph.output:
        set_dims(value, found[value.name].shape)
    return bytes(model.SerializeToString())


def _enter(model: ModelProto, name: str, timeline: Timeline) -> list[NodeProto]:
    if not loses_time(timeline, name):
        return []
    inner = f"{name}_over_time"
    rename(model.graph, name, inner)
    return _axis_node(model, "Unsqueeze", name, inner, timeline.inputs[name])


def _axis_node(
    model: ModelProto, op: str, source: str, target: str, axis: int | None
) -> list[NodeProto]:
    """Return a Squeeze or Unsqueeze; its axes are an attribute before opset 13."""
    if opset(model) < 13:
        return [helper.make_node(op, [source], [target], axes=[axis])]
    axes = f"{target}_axes"
    model.graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), axes))
    return [helper.make_node(op, [source, axes], [target])]
