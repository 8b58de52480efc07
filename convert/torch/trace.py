"""The source as a graph of torch operators, and what one run of it says of every node."""

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from convert.errors import ConvertError
from convert.torch.rules import RULES, Call, Unrolled, rule_for

STATE = "hx"
"""What torch's recurrent operators call the argument that is their state."""


class Recorder(fx.Interpreter):
    """Runs a graph and keeps what every node gave."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        """Prepare to run a graph once."""
        super().__init__(graph_module, garbage_collect_values=False)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; fx calls this."""
        self.values[n] = super().run_node(n)
        return self.values[n]


@dataclass(frozen=True)
class Trace:
    """A model's graph for a fixed number of frames, in which a recurrent layer is one node.

    Invariant: `inputs` are its only placeholders that change from frame to frame.
    """

    graph_module: fx.GraphModule
    inputs: Mapping[str, tuple[int, ...]]
    """Placeholder to its shape, (1, frames, ...)."""
    outputs: tuple[tuple[str, fx.Node], ...]
    """In the source's order, each with the name that its place in the answer gives it."""

    @property
    def nodes(self) -> list[fx.Node]:
        """Every node, in the order in which they run."""
        return list(self.graph_module.graph.nodes)

    @cached_property
    def calls(self) -> list[fx.Node]:
        """Every operator that is called, in the order in which they run."""
        return [node for node in self.nodes if node.op == "call_function"]

    @cached_property
    def recurrent(self) -> dict[fx.Node, Unrolled]:
        """Every recurrent layer by its node.

        Raises:
            ConvertError: One of them cannot be stepped.
        """
        found = {}
        for node in self.calls:
            if node.target in RULES:
                call = Call(layer_of(node), self._given(node, 0), self._given(node, 1))
                found[node] = rule_for(node.target, call.layer)(call)
        return found

    @cached_property
    def _runs(self) -> tuple[dict[fx.Node, Any], dict[fx.Node, Any]]:
        return self._run(1), self._run(2)

    @property
    def values(self) -> dict[fx.Node, Any]:
        """What every node gave for one input; weights and constants give it for any."""
        return self._runs[0]

    @cached_property
    def shapes(self) -> dict[fx.Node, tuple[int, ...]]:
        """The shape of what every node gives, of those that give one tensor."""
        return {n: tuple(v.shape) for n, v in self.values.items() if isinstance(v, Tensor)}

    def _run(self, seed: int) -> dict[fx.Node, Any]:
        """Return what every node gives for random frames; states are zeros."""
        recorder = Recorder(self.graph_module)
        with torch.no_grad():
            given = [self.sample(node, seed) for node in placeholders(self.graph_module)]
            recorder.run(*given, enable_io_processing=False)
        return recorder.values

    def sample(self, node: fx.Node, seed: int = 0) -> Tensor | None:
        """Return something to give to a placeholder: noise for an input, zeros for a state."""
        if shape := self.inputs.get(node.target):
            return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        example = node.meta.get("val")
        return torch.zeros([int(n) for n in example.shape]) if isinstance(example, Tensor) else None

    def _given(self, node: fx.Node, run: int) -> dict[str, Any]:
        values = self._runs[run]
        return {
            name: fx.node.map_arg(value, lambda n: values[n])
            for name, value in arguments(node).items()
        }


def placeholders(graph_module: fx.GraphModule) -> list[fx.Node]:
    """Return what a graph is given, in order."""
    return [node for node in graph_module.graph.nodes if node.op == "placeholder"]


def arguments(node: fx.Node) -> dict[str, Any]:
    """Return a torch operator's arguments by the names in its schema, defaults included."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return dict(node.kwargs)
    schema = node.target._schema.arguments
    defaults = {a.name: a.default_value for a in schema if a.has_default_value()}
    names = [argument.name for argument in schema]
    return defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def layer_of(node: fx.Node) -> str:
    """Return the path of the module that a node comes from, or the node's own name."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path.split("@")[0].removeprefix("L__self___").replace("L['self'].", "") or node.name


def kind_of(node: fx.Node) -> str:
    """Return the class of the module that a node comes from, or the operator."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack or not stack[-1][0]:
        return str(node.target)
    kind = stack[-1][1]
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__


def upstream(targets: Iterable[fx.Node], stop: Iterable[fx.Node] = ()) -> set[fx.Node]:
    """Return the targets and all that they are computed from.

    A recurrent node's state is not what it is computed from: it comes from the step before.

    Args:
        targets: Where to start.
        stop: Nodes that are given, and what only they need is not followed.
    """
    found: set[fx.Node] = set()
    waiting, stopped = list(targets), set(stop)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend([] if node in stopped else sources(node))
    return found


def sources(node: fx.Node) -> Iterator[fx.Node]:
    """Yield what a node computes with; of a recurrent one without its state and weights."""
    if node.target not in RULES:
        yield from node.all_input_nodes
        return
    for name, value in arguments(node).items():
        if name != STATE and isinstance(value, fx.Node) and value.op != "get_attr":
            yield value


def is_state_only(node: fx.Node) -> bool:
    """Say whether all that is done with a node is to begin a recurrent layer's state with it."""
    return bool(node.users) and all(
        node not in sources(user) if user.target in RULES else is_state_only(user)
        for user in node.users
    )


def is_final_state(node: fx.Node) -> bool:
    """Say whether a node is a recurrent layer's last state, moved about at most."""
    while node.target in _MOVES:
        node = node.args[0]
    layer = node.args[0] if node.target is operator.getitem else None
    return isinstance(layer, fx.Node) and layer.target in RULES and node.args[1] > 0


_aten = torch.ops.aten
_MOVES = {
    _aten.view.default,
    _aten.reshape.default,
    _aten.transpose.int,
    _aten.permute.default,
    _aten.squeeze.default,
    _aten.squeeze.dim,
    _aten.unsqueeze.default,
    _aten.select.int,
    _aten.clone.default,
    _aten.contiguous.default,
    _aten.detach.default,
}


def specialise(graph_module: fx.GraphModule, example: Mapping[str, tuple[int, ...]]) -> None:
    """Make a graph with free dimensions one for fixed shapes: sizes become numbers.

    Args:
        graph_module: It is changed.
        example: Placeholder to shape; placeholders left out keep their own.
    """
    recorder = Recorder(graph_module)
    given = [torch.zeros(example[node.target]) for node in placeholders(graph_module)]
    with torch.no_grad():
        recorder.run(*given, enable_io_processing=False)
    for node, value in recorder.values.items():
        if node.op == "call_function" and isinstance(value, int | float | bool):
            _replace(node, value)
    for node in list(recorder.values):
        if "assert" in str(node.target) or "sym_constrain" in str(node.target):
            graph_module.graph.erase_node(node)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _replace(node: fx.Node, value: float) -> None:
    for user in list(node.users):
        user.args = fx.node.map_arg(user.args, lambda n: value if n is node else n)
        user.kwargs = fx.node.map_arg(user.kwargs, lambda n: value if n is node else n)


def refuse_strangers(trace: Trace) -> None:
    """Refuse operators that no framework could run, or that no two runs agree on.

    Raises:
        ConvertError: An operator is somebody's own, or draws random numbers.
    """
    for node in trace.calls:
        if node.target is operator.getitem or node.target in RULES:
            continue
        if getattr(node.target, "namespace", "") not in ("aten", "prims"):
            rule_for(node.target, layer_of(node))
        _refuse_training(node)


def _refuse_training(node: fx.Node) -> None:
    given = arguments(node)
    if node.target is _aten.batch_norm.default and given["training"]:
        raise ConvertError(f"{layer_of(node)}: was exported in training; export it in eval()")
    if torch.Tag.nondeterministic_seeded in node.target.tags and _draws(given):
        raise ConvertError(
            f"{layer_of(node)}: draws random numbers ({node.target}), so no two runs agree; "
            "use nn.Dropout and eval(), or training=self.training"
        )


def _draws(given: Mapping[str, Any]) -> bool:
    for switch in ("train", "training"):
        if switch in given:
            return bool(given[switch]) and given.get("p") != 0.0
    return given.get("dropout_p") != 0.0
