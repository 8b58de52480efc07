"""Writes one network of a plan as a graph of its own: one frame in, one frame out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from convert.torch.ops import GraphOps
from convert.torch.plan import Plan
from convert.torch.trace import arguments, sources, upstream
from edge.manifest import Role

_aten = torch.ops.aten


@dataclass(frozen=True)
class Network:
    """A module of named tensors, ready for any exporter: its forward gives a dict."""

    module: fx.GraphModule
    inputs: Mapping[str, tuple[int, ...]]
    """Of its forward, in order; a first dimension of -1 is free."""
    outputs: tuple[str, ...]
    """In order."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Of inputs that are not float32."""


def build(plan: Plan, role: Role) -> Network:
    """Write one network.

    Args:
        plan: What belongs to it.
        role: Which.
    """
    recurrent = [] if role == "encoder" else list(plan.layers)
    targets = plan.outputs_of(role)
    given = plan.inputs | (plan.features if role == "step" and plan.encoder else {})
    needed = upstream([*targets.values(), *recurrent], stop=given.values())
    writer = _Writer(plan)
    given = {name: node for name, node in given.items() if node in needed}
    writer.begin(given, recurrent)
    for node in plan.trace.nodes:
        if node in needed and node not in writer.new:
            writer.write(node)
    outputs = {n: writer.reshaped(writer.new[node], plan.shape(n)) for n, node in targets.items()}
    return writer.finish(outputs)


class _Writer:
    """Copies nodes of the source into a new graph and unrolls the recurrent ones."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._graph = fx.Graph()
        self._ops = GraphOps(self._graph)
        self._inputs: dict[str, tuple[int, ...]] = {}
        self._states: dict[str, fx.Node] = {}
        self._next: dict[str, fx.Node] = {}
        self._tensors: dict[str, Tensor] = {}
        self.new: dict[fx.Node, Any] = {}
        """A node of the source to what it is here; a tuple where it gives several tensors."""

    def begin(self, given: Mapping[str, fx.Node], recurrent: list[fx.Node]) -> None:
        """Write what the network is given: frames, features, states."""
        self._inputs = {name: self._plan.shape(name) for name in given}
        states = [state for node in recurrent for state in self._plan.states[node]]
        self._inputs |= {state.input: state.shape for state in states}
        nodes = {name: self._graph.placeholder(name) for name in self._inputs}
        self._states = {state.input: nodes[state.input] for state in states}
        for name, node in given.items():
            self.new[node] = self.reshaped(nodes[name], self._plan.trace.shapes[node])

    def reshaped(self, node: fx.Node, shape: tuple[int, ...]) -> fx.Node:
        """Write a reshape: time has no axis at the networks' borders, and has one within."""
        return self._graph.call_function(_aten.reshape.default, (node, list(shape)))

    def write(self, node: fx.Node) -> None:
        """Write a node whose inputs are written."""
        if node in self._plan.layers:
            self._unroll(node)
        elif node.target is _aten.dropout.default:
            self.new[node] = self.new[node.args[0]]  # eval: it passes its input on
        elif node.args and isinstance(several := self.new.get(node.args[0]), tuple):
            self.new[node] = several[node.args[1]]
        else:
            self.new[node] = self._graph.node_copy(node, lambda n: self.new[n])
        if node.op == "get_attr":
            self._tensors[node.target] = self._plan.trace.values[node]

    def finish(self, outputs: Mapping[str, fx.Node]) -> Network:
        """Write what the network gives, and make a module of the graph."""
        outputs = {**outputs, **self._next}
        self._graph.output(dict(outputs))
        self._graph.eliminate_dead_code()
        module = fx.GraphModule(self._tensors | self._ops.constants, self._graph).eval()
        return Network(module, self._inputs, tuple(outputs))

    def _unroll(self, node: fx.Node) -> None:
        states = self._plan.states[node]
        given = {
            name: self._ops.proxy(self.new[value])
            for name, value in arguments(node).items()
            if isinstance(value, fx.Node) and value in self.new and value in set(sources(node))
        }
        memory = tuple(self._ops.proxy(self._states[state.input]) for state in states)
        found, following = self._plan.layers[node].step(self._ops, given, memory)
        single = isinstance(found, fx.Proxy)
        self.new[node] = found.node if single else tuple(part.node for part in found)
        self._next |= {s.output: part.node for s, part in zip(states, following, strict=True)}
