"""An ONNX model of whole sequences becomes one step: a frame of time, and its states exposed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from convert.errors import ConvertError
from convert.interpreters import open_content
from convert.model import LayerNote, Sequences, SourceOptions
from convert.onnx.branches import take_branches
from convert.onnx.graph import bake
from convert.onnx.interface import by_step, one_step, whole
from convert.onnx.layout import is_batch_first
from convert.onnx.measure import Values, noise, run
from convert.onnx.mixing import check_steps
from convert.onnx.rules import check_operators, detail, recurrent
from convert.onnx.states import drop_mirrors, expose, sequence_inputs, unique_names
from convert.onnx.timeline import find_timeline
from edge.manifest import Kind, NetworkFormat, Role, StateTensor
from edge.types import Array, TensorSpec


class OnnxSequence:
    """A sequence model taken apart into a step."""

    layers: Sequence[LayerNote]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    states: tuple[StateTensor, ...]
    kind: Kind = "sequence"
    batched: Sequence[NetworkFormat] = ()
    roles: Sequence[Role] = ("step",)
    formats: Sequence[NetworkFormat] = ("onnx",)

    def __init__(self, model: ModelProto, options: SourceOptions, name: str) -> None:
        """Find time and states in a model.

        Args:
            model: As it came; changed.
            options: `constants` and `shapes` count.
            name: Of the model, for messages.

        Raises:
            ConvertError: It cannot run one step at a time.
            BackendError: ONNX Runtime is not installed.
        """
        bake(model, options.constants, name)
        take_branches(model)
        check_operators(model)
        drop_mirrors(model)
        self._name = name
        self._timeline = find_timeline(model, sequence_inputs(model), options.shapes, name)
        step, self.states = expose(self._timeline)
        check_steps(self._timeline, step, self.states, name)
        self._content = one_step(self._timeline, step, name)
        self._whole = _runner(self._timeline.source, name)
        session = open_content(self._content, "onnx", name)
        fed, left = {s.input for s in self.states}, {s.output for s in self.states}
        self.framework = f"onnx {onnx.__version__}, {session.backend}"
        self.inputs = {n: spec for n, spec in session.inputs.items() if n not in fed}
        self.outputs = {n: spec for n, spec in session.outputs.items() if n not in left}
        self.layers = self._notes()

    def forward(self, sequence: Sequences) -> dict[str, Array]:
        """Return the model's own answer; see `SourceModel.forward`.

        An output that the model gives for its last step only is asked for after every step: the
        model is then run once a step, each time over all steps so far.
        """
        steps = len(next(iter(sequence.values())))
        timed = [key for key in self.outputs if self._timeline.axis(key) is not None]
        lengths = [steps] if len(timed) == len(self.outputs) else range(1, steps + 1)
        answers = [self._over({n: v[:length] for n, v in sequence.items()}) for length in lengths]
        return {
            key: by_step(self._timeline, key, answers[-1][key])
            if key in timed
            else np.stack([answer[key] for answer in answers])
            for key in self.outputs
        }

    def network(self, role: Role, fmt: NetworkFormat, rows: int = 1) -> bytes:
        """Return the step; see `SourceModel.network`."""
        if role not in self.roles or fmt not in self.formats or rows != 1:
            raise ConvertError(
                f"{self._name}: becomes no {role} as {fmt}, an ONNX model becomes a step as onnx; "
                "ask for that"
            )
        return self._content

    def _over(self, sequence: Sequences) -> Values:
        """Run the model as it came over a sequence (steps, ...)."""
        source, axes = self._timeline.source, self._timeline.inputs
        feed = noise(source, 1, axes)  # zeros for what begins the states
        for name in axes:
            feed[name] = whole(self._timeline, name, sequence[name]).astype(feed[name].dtype)
        return self._whole(feed)

    def _notes(self) -> list[LayerNote]:
        graph = self._timeline.model.graph
        notes = []
        for node, name in zip(recurrent(graph), unique_names(graph), strict=True):
            own = [s.name for s in self.states if s.name.rsplit("_", 1)[0] == name]
            notes.append(LayerNote(name, node.op_type, "step", detail(node, own)))
        return notes


def _runner(model: ModelProto, name: str) -> Callable[[Values], Values]:
    """Return what runs a sequence model: ONNX Runtime, or the reference for layout=1."""
    if not is_batch_first(model):
        session = open_content(model.SerializeToString(), "onnx", name)
        return lambda feed: run(session, feed, name)
    reference = ReferenceEvaluator(model)
    names = [value.name for value in model.graph.output]
    return lambda feed: dict(zip(names, reference.run(None, dict(feed)), strict=True))
