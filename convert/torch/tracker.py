"""A tracker in PyTorch: a module with the parts `encoder` and `step`, each a network as it is."""

import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from convert.errors import ConvertError
from convert.model import LayerNote, Sequences, SourceOptions
from convert.torch.build import Network
from convert.torch.export import write
from convert.torch.load import first_line, load_module
from convert.tracker import ENCODED, IMAGE, MOTION, SEEN, SHAPES, STEPPED, TARGET, TEMPLATE
from edge.manifest import Kind, NetworkFormat, Role, StateTensor
from edge.types import Array, TensorSpec

_CHUNK = 64  # crops that are looked at in one go


class TrackerModel:
    """A tracker, opened and tried once; see `SourceModel`.

    Its sequences hold `image` and `target`, (steps, 1, h, w, 3) uint8, and `motion`: the template
    of a step is what the encoder makes of the target.
    """

    kind: Kind = "tracker"
    framework = f"torch {torch.__version__.partition('+')[0]}"
    formats: Sequence[NetworkFormat] = ("tflite", "onnx")
    batched = formats
    roles: Sequence[Role] = ("encoder", "step")

    def __init__(self, name: str, module: nn.Module, options: SourceOptions) -> None:
        """Take a tracker apart and run it once.

        Args:
            name: Of the model, for messages.
            module: With the parts `encoder` and `step`, in eval.
            options: `shapes` count: of one target, where they are not those of `tracker.SHAPES`.

        Raises:
            ConvertError: A part is missing, or does not take or give what a tracker's does.
        """
        self._name = name
        self._parts = {role: _part(name, module, role) for role in self.roles}
        self._takes = {role: _names(part) for role, part in self._parts.items()}
        memory = self._takes["step"][len(STEPPED) :]
        self._gives = {"encoder": ENCODED, "step": (*SEEN, *(f"next_{n}" for n in memory))}
        self._check_names()
        specs = self._tried({**SHAPES, **options.shapes})
        self.inputs: Mapping[str, TensorSpec] = {n: specs[n] for n in (IMAGE, TEMPLATE, MOTION)}
        self.outputs: Mapping[str, TensorSpec] = {n: specs[n] for n in SEEN}
        self.states = tuple(
            StateTensor(name=n, input=n, output=f"next_{n}", shape=specs[n].shape) for n in memory
        )
        self._specs = specs
        self.layers: Sequence[LayerNote] = [
            LayerNote(f"{role}.{path}", type(layer).__name__, role)
            for role, part in self._parts.items()
            for path, layer in part.named_modules()
            if path and not list(layer.children())
        ]

    def forward(self, sequence: Sequences) -> dict[str, Array]:
        """Return the tracker's own answers, fed with its own states; see `SourceModel.forward`."""
        features = self._encoded(sequence[IMAGE])[0]  # (steps, c, c, channels)
        templates = self._encoded(sequence[TARGET])[1]  # (steps, cells, code)
        motion = torch.from_numpy(sequence[MOTION])  # (steps, 1, n)
        values = {state.input: torch.zeros(state.shape) for state in self.states}
        answers: dict[str, list[Array]] = {name: [] for name in self.outputs}
        for step in range(len(motion)):
            seen = (features[step : step + 1], templates[step : step + 1], motion[step])
            found = self._run("step", values | dict(zip(STEPPED, seen, strict=True)))
            values = {state.input: found[state.output] for state in self.states}
            for name, rows in answers.items():
                rows.append(found[name].numpy())
        return {name: np.stack(rows) for name, rows in answers.items()}

    def network(self, role: Role, fmt: NetworkFormat, rows: int = 1) -> bytes:
        """Return one network as a file; see `SourceModel.network`."""
        takes, gives = self._takes[role], self._gives[role]
        graph = fx.Graph()
        found = graph.call_module("part", tuple(graph.placeholder(name) for name in takes))
        graph.output(
            {n: graph.call_function(operator.getitem, (found, i)) for i, n in enumerate(gives)}
        )
        module = fx.GraphModule({"part": self._parts[role]}, graph).eval()
        specs = {name: self._specs[name] for name in takes}
        shapes = {name: (rows, *spec.shape[1:]) for name, spec in specs.items()}
        types = {name: spec.dtype for name, spec in specs.items()}
        return write(Network(module, shapes, gives, types), fmt)

    def _check_names(self) -> None:
        begins: Mapping[Role, tuple[str, ...]] = {"encoder": (IMAGE,), "step": STEPPED}
        for role, wanted in begins.items():
            if self._takes[role][: len(wanted)] != wanted:
                raise ConvertError(
                    f"{self._name}: its {role} takes {', '.join(self._takes[role])}; let its "
                    f"forward begin with {', '.join(wanted)}"
                )

    def _tried(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorSpec]:
        """Run both parts on zeros and return what every tensor of them is."""
        given = [name for names in self._takes.values() for name in names if name not in ENCODED]
        if unknown := [name for name in given if name not in shapes]:
            raise ConvertError(
                f"{self._name}: input {unknown[0]!r} has no shape; give that of one target, "
                f"--shape {unknown[0]}=N"
            )
        values = {name: torch.zeros(1, *shapes[name]) for name in given}
        values[IMAGE] = values[IMAGE].to(torch.uint8)
        for role in self.roles:
            values |= self._run(role, values)
        return {
            name: TensorSpec(name, tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for name, value in values.items()
        }

    def _run(self, role: Role, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = [values[name] for name in self._takes[role]]
        try:
            with torch.no_grad():
                found: Any = self._parts[role](*given)
        except Exception as error:  # whatever the user's own code raises
            shapes = ", ".join(f"{n} {list(values[n].shape)}" for n in self._takes[role])
            raise ConvertError(
                f"{self._name}: its {role} fails on {shapes}, {first_line(error)}; give the shapes "
                "of one target, --shape NAME=N,N"
            ) from error
        names = self._gives[role]
        if not isinstance(found, tuple) or len(found) != len(names):
            count = len(found) if isinstance(found, tuple) else 1
            raise ConvertError(
                f"{self._name}: its {role} gives {count} tensors; let it return {', '.join(names)}"
            )
        return dict(zip(names, found, strict=True))

    def _encoded(self, pictures: Array) -> tuple[Tensor, Tensor]:
        """Return features and templates of pictures (steps, 1, h, w, 3), a row a step."""
        images = torch.from_numpy(pictures[:, 0])  # (steps, h, w, 3)
        found = [self._run("encoder", {IMAGE: part}) for part in images.split(_CHUNK)]
        features, template = (torch.cat([part[name] for part in found]) for name in ENCODED)
        return features, template


def open_tracker(model: str, options: SourceOptions) -> TrackerModel:
    """Open a tracker.

    Args:
        model: `module:Class`, `module:factory` or `path/to/file.py:Class`.
        options: Of these count weights, shapes and trusted.

    Raises:
        ConvertError: It is not there, or is no tracker.
    """
    return TrackerModel(model, load_module(model, options), options)


def _part(model: str, module: nn.Module, role: str) -> nn.Module:
    part = getattr(module, role, None)
    if not isinstance(part, nn.Module):
        raise ConvertError(
            f"{model}: has no part {role!r} that is a torch.nn.Module, and a tracker is made of "
            "encoder and step; name a class that has both"
        )
    return part


def _names(part: nn.Module) -> tuple[str, ...]:
    return tuple(inspect.signature(part.forward).parameters)
