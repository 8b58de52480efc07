"""One rule a recurrent operator: where its states enter and leave, and what it cannot have.

To add one, for an operator that takes its state and returns it as LSTM does, import this module
from your own, name it with `--import`, and write

    register(Rule("MyCell", (Carried("h", 3, 1),), gates="z, n"))
"""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto

from convert.errors import ConvertError
from convert.onnx.graph import attribute_of

X, LENGTHS = 0, 4
"""Which inputs of a recurrent operator the sequence and the lengths are."""
_LOOPS = ("Scan", "Loop")


@dataclass(frozen=True, slots=True)
class Carried:
    """One state of an operator."""

    name: str
    entry: int
    """The input that it starts with: (directions, batch, units)."""
    exit: int
    """The output that it ends with."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How an operator carries its state."""

    op: str
    states: tuple[Carried, ...]
    gates: str
    """Their order in the weights; empty where there is one only."""


_RULES: dict[str, Rule] = {}


def register(rule: Rule) -> None:
    """Add the rule of an operator.

    Raises:
        ValueError: The operator has a rule already.
    """
    if rule.op in _RULES:
        raise ValueError(f"{rule.op}: has a rule already, {_RULES[rule.op]}; keep one")
    _RULES[rule.op] = rule


register(Rule("LSTM", (Carried("h", 5, 1), Carried("c", 6, 2)), gates="i, o, f, c"))
register(Rule("GRU", (Carried("h", 5, 1),), gates="z, r, h"))
register(Rule("RNN", (Carried("h", 5, 1),), gates=""))


def rule_of(node: NodeProto) -> Rule:
    """Return the rule of a recurrent node."""
    return _RULES[node.op_type]


def has_rule(node: NodeProto) -> bool:
    """Say whether a node carries a state that a rule knows of."""
    return node.op_type in _RULES


def recurrent(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes that have a rule, in the order in which they run."""
    return [node for node in graph.node if has_rule(node)]


def check_operators(model: ModelProto) -> None:
    """Refuse what cannot run one step at a time.

    Raises:
        ConvertError: A loop, a recurrent operator without a rule or inside a branch, or one that
            reads the sequence from its end.
    """
    for node, nested in _nodes(model.graph):
        if node.op_type in _LOOPS or _looks_recurrent(node):
            raise ConvertError(
                f"{title(node)}: has no rule, there are rules for {', '.join(sorted(_RULES))}; "
                "export the model with one of those, or write a rule as convert/onnx/rules.py says"
            )
        if not has_rule(node):
            continue
        if nested:
            raise ConvertError(
                f"{title(node)}: stands inside a branch (If), where its state cannot be reached; "
                "export the model without the branch"
            )
        direction = attribute_of(node, "direction", "forward")
        if direction != "forward":
            raise ConvertError(
                f"{title(node)}: direction={direction} reads the sequence from its end, and a live "
                "stream has none; train it forwards"
            )


def title(node: NodeProto) -> str:
    """Return what messages call a node."""
    return f"{node.op_type} {node.name or next(filter(None, node.output), '')!r}"


def detail(node: NodeProto, states: list[str]) -> str:
    """Return what `--explain` says of a recurrent node."""
    parts = [f"{attribute_of(node, 'hidden_size')} units"]
    if gates := rule_of(node).gates:
        parts.append(f"gates {gates}")
    if node.op_type == "GRU":
        parts.append(f"linear_before_reset={attribute_of(node, 'linear_before_reset', 0)}")
    return ", ".join([*parts, f"states {', '.join(states)}"])


def holds_recurrence(model: ModelProto) -> bool:
    """Say whether any operator is recurrent, with a rule or without, at any depth."""
    return any(
        has_rule(node) or node.op_type in _LOOPS or _looks_recurrent(node)
        for node, _ in _nodes(model.graph)
    )


def _looks_recurrent(node: NodeProto) -> bool:
    return not has_rule(node) and node.op_type.endswith(("LSTM", "GRU", "RNN"))


def _nodes(graph: GraphProto, nested: bool = False) -> Iterator[tuple[NodeProto, bool]]:
    for node in graph.node:
        yield node, nested
        for attribute in node.attribute:
            yield from _nodes(attribute.g, True)
