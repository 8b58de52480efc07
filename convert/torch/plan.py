"""Decides what of a graph becomes the encoder and what the step, and what everything is called."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import fx

from convert.errors import ConvertError
from convert.model import LayerNote
from convert.torch.capture import Capture
from convert.torch.rules import Unrolled
from convert.torch.trace import (
    Trace,
    is_final_state,
    kind_of,
    layer_of,
    placeholders,
    sources,
    upstream,
)
from edge.manifest import Role, StateTensor


@dataclass(frozen=True)
class Plan:
    """What becomes of every node.

    Invariant: input, feature, state and output names are unique in the model.
    """

    trace: Trace
    inputs: dict[str, fx.Node]
    features: dict[str, fx.Node]
    """What the encoder hands to the step."""
    outputs: Mapping[str, fx.Node]
    places: Mapping[str, str]
    """Output name to its place in the source's answer."""
    layers: Mapping[fx.Node, Unrolled]
    """The recurrent nodes that the outputs need, in order."""
    states: Mapping[fx.Node, tuple[StateTensor, ...]]
    """Of each of them."""
    encoder: frozenset[fx.Node]
    """What runs before any state is read; empty where all is one network."""
    timed: frozenset[str]
    """Outputs with time on axis 1 in the source."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input, feature or output for one frame, (1, ...)."""
        if name in self.outputs:
            shape = self.trace.shapes[self.outputs[name]]
            timed = name in self.timed
        else:
            shape = self.trace.shapes[(self.inputs | self.features)[name]]
            timed = len(shape) > 2 or name in self.inputs
        if timed and shape[:2] == (1, 1):
            return (1, *shape[2:])
        return shape if shape[:1] == (1,) else (1, *shape)

    @property
    def roles(self) -> list[Role]:
        """The networks, in the order in which they run."""
        return ["encoder", "step"] if self.encoder else ["step"]

    def outputs_of(self, role: Role) -> dict[str, fx.Node]:
        """Return what one network gives, without states; an output may be a feature too."""
        early = {n: node for n, node in self.outputs.items() if node in self.encoder}
        if role == "encoder":
            return early | dict(self.features)
        return {name: node for name, node in self.outputs.items() if name not in early}


def make_plan(model: str, capture: Capture, fuse: bool) -> Plan:
    """Divide a model.

    Args:
        model: For messages.
        capture: What was taken down.
        fuse: Never make an encoder of its own.

    Raises:
        ConvertError: There is nothing to keep from frame to frame, or it cannot be stepped.
    """
    trace = capture.one
    if not trace.recurrent:
        raise ConvertError(
            f"{model}: holds no recurrent layer and no WindowAttention, so it remembers nothing "
            "from frame to frame; give a model with nn.LSTM, nn.GRU or nn.RNN"
        )
    kept = _kept_outputs(trace)
    needed = upstream(kept.values())
    layers = {node: unrolled for node, unrolled in trace.recurrent.items() if node in needed}
    if not layers:
        raise ConvertError(
            f"{model}: no output depends on its recurrent layers; return what they give"
        )
    inputs = {n.target: n for n in placeholders(trace.graph_module) if n in needed}
    taken = {*inputs}
    names = _output_names(list(kept))
    outputs = {_unique(name, taken): node for name, node in zip(names, kept.values(), strict=True)}
    states = {node: _states(node, unrolled, taken) for node, unrolled in layers.items()}
    early = _stateless(trace, needed, layers, inputs.values())
    if fuse or not any(_is_heavy(node) for node in early):
        early = frozenset()
    features = _features(_crossing(trace, needed, early), outputs, taken)
    places = dict(zip(outputs, kept, strict=True))
    timed = frozenset(name for name, place in places.items() if place in capture.timed)
    return Plan(trace, inputs, features, outputs, places, layers, states, early, timed)


def explain(plan: Plan) -> list[LayerNote]:
    """Return a note for every module that becomes part of a network, in order."""
    needed = upstream(plan.outputs.values())
    remembered = {layer_of(node) for node in plan.layers}
    notes: dict[str, LayerNote] = {}
    for node in plan.trace.calls:
        name, kind = layer_of(node), kind_of(node)
        if node in plan.layers:
            kept = ", ".join(state.name for state in plan.states[node])
            detail = f"{plan.layers[node].detail}, states {kept}"
            notes[f"{name} {node.name}"] = LayerNote(name, kind, "step", detail)
        elif node in needed and name != node.name and name not in remembered:
            role: Role = "encoder" if node in plan.encoder else "step"
            notes.setdefault(name, LayerNote(name, kind, role))
    return list(notes.values())


def _kept_outputs(trace: Trace) -> dict[str, fx.Node]:
    """Leave out the last states: they are the states; unless there is nothing else."""
    everything = dict(trace.outputs)
    return {p: n for p, n in everything.items() if not is_final_state(n)} or everything


def _output_names(places: list[str]) -> list[str]:
    """Return names for outputs: their keys in the source's dict, or numbers in its tuple."""
    keys = [re.sub(r"^(\d+(_|$))+", "", place) for place in places]
    if len(set(keys)) == len(keys):
        return [key or "output" for key in keys]
    return [f"output_{place}" if place[:1].isdigit() else place for place in places]


def _states(node: fx.Node, unrolled: Unrolled, taken: set[str]) -> tuple[StateTensor, ...]:
    """Name a layer's states after it, all alike, as no other layer's."""
    layer = layer_of(node)
    names = [memory.suffix for memory in unrolled.states]
    while any(_tidy(f"{layer}_{n}{end}") in taken for n in names for end in ("", "_next")):
        layer = _counted(layer)
    found = []
    for memory in unrolled.states:
        name = _tidy(f"{layer}_{memory.suffix}")
        taken |= {name, f"{name}_next"}
        found.append(
            StateTensor(
                name=name,
                input=name,
                output=f"{name}_next",
                shape=memory.shape,
                initial=memory.initial,
            )
        )
    return tuple(found)


def _stateless(
    trace: Trace, needed: set[fx.Node], layers: Iterable[fx.Node], inputs: Iterable[fx.Node]
) -> frozenset[fx.Node]:
    """Return the operators that work on a frame and on no state; a layer is not cut in two."""
    stateful, moving = set(layers), set(inputs)
    owners = tuple(f"{layer_of(node)}." for node in layers)
    for node in trace.nodes:
        given = set(sources(node))
        if given & stateful or (node.op == "call_function" and layer_of(node).startswith(owners)):
            stateful.add(node)
        if given & moving:
            moving.add(node)
    return frozenset((needed & moving) - stateful - set(inputs))


def _is_heavy(node: fx.Node) -> bool:
    name = str(node.target).removeprefix("aten.").split(".")[0]
    return name.startswith("conv") or name in ("linear", "matmul", "mm", "addmm", "einsum")


def _crossing(trace: Trace, needed: set[fx.Node], early: frozenset[fx.Node]) -> list[fx.Node]:
    used = {source for node in needed - early for source in sources(node)}
    return [node for node in trace.calls if node in early and node in used]


def _features(
    crossing: list[fx.Node], outputs: Mapping[str, fx.Node], taken: set[str]
) -> dict[str, fx.Node]:
    """Name what crosses from one network to the other; an output that crosses keeps its name."""
    named = {node: name for name, node in outputs.items()}
    many = len(crossing) > 1
    return {
        named.get(node) or _unique(f"features_{index}" if many else "features", taken): node
        for index, node in enumerate(crossing)
    }


def _unique(name: str, taken: set[str]) -> str:
    name = _tidy(name)
    while name in taken:
        name = _counted(name)
    taken.add(name)
    return name


def _counted(name: str) -> str:
    stem, _, number = name.rpartition("_")
    return f"{stem}_{int(number) + 1}" if stem and number.isdigit() else f"{name}_2"


def _tidy(name: str) -> str:
    """Make a name that every format takes."""
    name = re.sub(r"\W", "_", name)
    return f"layer_{name}" if name[0].isdigit() else name
