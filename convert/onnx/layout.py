"""layout=1 (batch first), which ONNX Runtime does not run, as layout=0."""

from onnx import ModelProto, NodeProto, helper

from convert.onnx.graph import attribute_of, copy_of, replace
from convert.onnx.rules import X, has_rule, recurrent, rule_of

_SWAP = (1, 0, 2)
"""(batch, seq, inputs) to and from (seq, batch, inputs); the same for states."""
_Y_BACK = (2, 0, 1, 3)
"""(seq, directions, batch, units) to (batch, seq, directions, units)."""


def is_batch_first(model: ModelProto) -> bool:
    """Say whether any recurrent node has layout=1."""
    return any(attribute_of(node, "layout", 0) for node in recurrent(model.graph))


def time_first(model: ModelProto) -> ModelProto:
    """Return a model that computes the same with layout=0 throughout."""
    model = copy_of(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        batch_first = has_rule(node) and attribute_of(node, "layout", 0)
        nodes += _turn(node) if batch_first else [node]
    replace(model.graph.node, nodes)
    return model


def _turn(node: NodeProto) -> list[NodeProto]:
    before, after = [], []
    own = next(filter(None, node.output))
    for index in (X, *(state.entry for state in rule_of(node).states)):
        if index < len(node.input) and node.input[index]:
            turned = f"{own}_entry_{index}"
            before.append(_transpose(node.input[index], turned, _SWAP))
            node.input[index] = turned
    for index, name in enumerate(node.output):
        if name:
            node.output[index] = f"{name}_time_first"
            after.append(_transpose(node.output[index], name, _SWAP if index else _Y_BACK))
    for index, attribute in enumerate(node.attribute):
        if attribute.name == "layout":
            del node.attribute[index]
            break
    return [*before, node, *after]


def _transpose(source: str, target: str, order: tuple[int, ...]) -> NodeProto:
    return helper.make_node("Transpose", [source], [target], perm=order)
