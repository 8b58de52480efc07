"""Branches (If) that are decided once the constants are in: the one that is taken stays."""

from collections.abc import Iterable
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from convert.onnx.graph import copy_of, prune, rename, replace


def take_branches(model: ModelProto) -> None:
    """Put the nodes of every decided branch in the place of its If, innermost ones too.

    ONNX Runtime does the same while it loads a model, and 1.32 fails at branches in branches.
    """
    graph = model.graph
    while True:
        for index, node in enumerate(graph.node):
            if node.op_type == "If" and (truth := _decided(model, node.input[0])) is not None:
                nodes = _inline(graph, node, "then_branch" if truth else "else_branch")
                replace(graph.node, [*graph.node[:index], *nodes, *graph.node[index + 1 :]])
                break
        else:
            return


def _decided(model: ModelProto, condition: str) -> bool | None:
    """Return the value of a condition that depends on no input."""
    model = copy_of(model)
    replace(model.graph.output, [helper.make_tensor_value_info(condition, 9, None)])
    prune(model.graph, set())
    if model.graph.input:
        return None
    results: Any = ReferenceEvaluator(model).run(None, {})
    return bool(results[0])


def _inline(graph: GraphProto, node: NodeProto, branch: str) -> list[NodeProto]:
    body = next(attribute.g for attribute in node.attribute if attribute.name == branch)
    taken = _made(graph.node) | {value.name for value in (*graph.initializer, *graph.input)}
    for name in {*(tensor.name for tensor in body.initializer), *_made(body.node)} & taken:
        _rename_all(body, name, f"{node.output[0]}/{name}")
    graph.initializer.extend(body.initializer)
    ends = [
        helper.make_node("Identity", [inner.name], [outer])
        for inner, outer in zip(body.output, node.output, strict=True)
        if outer
    ]
    return [*body.node, *ends]


def _rename_all(body: GraphProto, old: str, new: str) -> None:
    rename(body, old, new)
    for value in (*body.initializer, *body.output):
        if value.name == old:
            value.name = new


def _made(nodes: Iterable[NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output if name}
