"""A PyTorch model as the converter sees it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from convert.model import LayerNote, Sequences, SourceOptions
from convert.torch.batch import batched
from convert.torch.build import build
from convert.torch.capture import MANY, Capture, capture_module
from convert.torch.export import write
from convert.torch.load import load_module
from convert.torch.plan import Plan, explain, make_plan
from convert.torch.program import capture_program
from convert.torch.reference import check_repeatable, forward
from convert.torch.time_axis import check_time
from convert.torch.trace import refuse_strangers
from edge.manifest import Kind, NetworkFormat, Role
from edge.types import Array, TensorSpec


class TorchModel:
    """A PyTorch model, opened, checked and taken apart; see `SourceModel`."""

    framework = f"torch {torch.__version__.partition('+')[0]}"
    kind: Kind = "sequence"
    formats: Sequence[NetworkFormat] = ("tflite", "onnx")
    batched = formats

    def __init__(self, capture: Capture, plan: Plan) -> None:
        """Describe a model.

        Args:
            capture: What was taken down of the source.
            plan: What becomes of it.
        """
        self._capture, self._plan = capture, plan
        self.layers: Sequence[LayerNote] = explain(plan)
        self.roles: Sequence[Role] = plan.roles
        self.inputs: Mapping[str, TensorSpec] = {name: self._spec(name) for name in plan.inputs}
        self.outputs: Mapping[str, TensorSpec] = {name: self._spec(name) for name in plan.outputs}
        self.states = tuple(state for states in plan.states.values() for state in states)

    def forward(self, sequence: Sequences) -> dict[str, Array]:
        """Return the source's own answer to a whole sequence; see `SourceModel.forward`.

        Of a source that gives its last step alone, some rows are NaN; see `reference.forward`.
        """
        return forward(self._capture, self._plan, sequence)

    def network(self, role: Role, fmt: NetworkFormat, rows: int = 1) -> bytes:
        """Return one network as a file; see `SourceModel.network`."""
        network = build(self._plan, role)
        return write(network if rows == 1 else batched(network, rows), fmt)

    def _spec(self, name: str) -> TensorSpec:
        return TensorSpec(name, self._plan.shape(name), "float32")


def open_source(model: str, options: SourceOptions) -> TorchModel:
    """Open a model; see `convert.torch.open_torch`."""
    if model.endswith(".pt2"):
        capture = capture_program(Path(model), options)
    else:
        capture = capture_module(model, load_module(model, options), options)
    refuse_strangers(capture.one)
    if capture.many:
        check_time(capture.one, capture.many, MANY)
    plan = make_plan(model, capture, options.fuse)
    if capture.run is None:
        check_repeatable(plan)
    return TorchModel(capture, plan)
