"""States made visible: every recurrent operator's becomes an input and an output of the graph."""

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper

from convert.errors import ConvertError
from convert.onnx.graph import ancestors, attribute_of, constant, copy_of, keep, prune, rename
from convert.onnx.rules import Carried, X, recurrent, rule_of, title
from convert.onnx.timeline import Timeline
from edge.manifest import StateTensor
from edge.types import Array

_MOVES = {"Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Concat", "Slice", "Gather"}
"""Operators that only put numbers elsewhere."""


def sequence_inputs(model: ModelProto) -> list[str]:
    """Return the inputs that a sequence enters by: all but those that only begin states.

    Raises:
        ConvertError: A state begins with what is computed from the sequence itself.
    """
    graph = copy_of(model).graph
    begun: list[tuple[NodeProto, set[str]]] = []
    for node in recurrent(graph):
        for state in rule_of(node).states:
            if len(node.input) > state.entry and node.input[state.entry]:
                begun.append((node, ancestors(model.graph, node.input[state.entry])))
                node.input[state.entry] = ""
    prune(graph, set())
    left = [value.name for value in graph.input]
    for node, beginnings in begun:
        if mixed := sorted(beginnings.intersection(left)):
            raise ConvertError(
                f"{title(node)}: its initial state is computed from the input {mixed[0]!r}, which "
                "a live stream has not seen yet; start it from a constant or an input of its own"
            )
    return left


def drop_mirrors(model: ModelProto) -> None:
    """Drop outputs that only repeat final states, unless there are no others."""
    graph = model.graph
    final = {name for node in recurrent(graph) for name in node.output[1:] if name}
    mirrors = {value.name for value in graph.output if _repeats(graph, value.name, final)}
    if len(mirrors) < len(graph.output):
        keep(graph.output, lambda value: value.name not in mirrors)
        prune(graph, {value.name for value in graph.input})


def _repeats(graph: GraphProto, name: str, final: set[str]) -> bool:
    """Say whether a tensor is made of final states by moving numbers only."""
    if name in final:
        return True
    made = next((node for node in graph.node if name in node.output), None)
    if made is None or made.op_type not in _MOVES:
        return False
    sources = made.input if made.op_type == "Concat" else made.input[:1]
    return all(_repeats(graph, source, final) for source in sources)


def expose(timeline: Timeline) -> tuple[ModelProto, tuple[StateTensor, ...]]:
    """Return the graph with its states as inputs and outputs, and what they are.

    Raises:
        ConvertError: An initial state is not the same number everywhere.
    """
    model = copy_of(timeline.model)
    graph = model.graph
    states = []
    for node, name in zip(recurrent(graph), unique_names(graph), strict=True):
        x = timeline.long[node.input[X]]
        shape = (1, x.shape[1], attribute_of(node, "hidden_size"))
        for carried in rule_of(node).states:
            state = StateTensor(
                name=f"{name}_{carried.name}",
                input=f"{name}_{carried.name}",
                output=f"{name}_{carried.name}_next",
                shape=shape,
                dtype=x.dtype.name,
                initial=_initial(timeline, node, carried),
            )
            _bind(graph, node, carried, state)
            states.append(state)
    prune(graph, {state.input for state in states})
    return model, tuple(states)


def unique_names(graph: GraphProto) -> list[str]:
    """Return a short name for every recurrent node, such that its states may be called by it."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    names: list[str] = []
    for index, node in enumerate(recurrent(graph)):
        plain = "".join(letter if letter.isalnum() else "_" for letter in node.name).strip("_")
        stem = name = plain or f"{node.op_type.lower()}_{index}"
        count = 1
        while name in names or _called(node, name) & taken:
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return names


def _called(node: NodeProto, name: str) -> set[str]:
    states = [f"{name}_{carried.name}" for carried in rule_of(node).states]
    return {*states, *(f"{state}_next" for state in states)}


def _initial(timeline: Timeline, node: NodeProto, carried: Carried) -> float:
    name = node.input[carried.entry] if len(node.input) > carried.entry else ""
    if not name:
        return 0.0
    value = _value(timeline, name)
    if (value != value.flat[0]).any():
        raise ConvertError(
            f"{title(node)}: its initial state {name!r} differs from element to element; "
            "start it from one number, or make it an input"
        )
    return float(value.flat[0])


def _value(timeline: Timeline, name: str) -> Array:
    stored = constant(timeline.model.graph, name)
    return np.asarray(timeline.long[name] if stored is None else stored)


def _bind(graph: GraphProto, node: NodeProto, carried: Carried, state: StateTensor) -> None:
    """Let a state enter and leave a node under its own names."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(state.dtype))
    for names, place in ((node.input, carried.entry), (node.output, carried.exit)):
        names.extend([""] * (place + 1 - len(names)))
    node.input[carried.entry] = state.input
    old = node.output[carried.exit]
    if old:
        rename(graph, old, state.output)
        if any(value.name == old for value in graph.output):
            graph.node.append(helper.make_node("Identity", [state.output], [old]))
    node.output[carried.exit] = state.output
    graph.input.append(helper.make_tensor_value_info(state.input, element, state.shape))
    graph.output.append(helper.make_tensor_value_info(state.output, element, state.shape))
