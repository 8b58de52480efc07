"""Models that are steps already: an ONNX or TFLite file that takes its state and gives it back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convert.errors import ConvertError
from convert.interpreters import open_content
from convert.model import LayerNote, Sequences, SourceOptions
from convert.state_pairs import pair_states
from convert.tflite_file import check_builtin
from edge.decode import real
from edge.manifest import Kind, NetworkFormat, Role, StateTensor
from edge.types import Array, TensorSpec


class StepFile:
    """A file that is one step; it is passed on as it is."""

    layers: Sequence[LayerNote]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    states: tuple[StateTensor, ...]
    kind: Kind = "sequence"
    batched: Sequence[NetworkFormat] = ()
    roles: Sequence[Role] = ("step",)
    formats: Sequence[NetworkFormat]

    def __init__(
        self, content: bytes, fmt: NetworkFormat, name: str, states: Mapping[str, str]
    ) -> None:
        """Open the file and find its states.

        Args:
            content: All shapes fixed, no input but those of a step.
            fmt: What it is.
            name: Of the model, for messages.
            states: Input to output, where the names do not tell.

        Raises:
            ConvertError: The interpreter refuses it, or its states cannot be told.
            BackendError: No interpreter for it is installed.
        """
        self._content, self._session = content, open_content(content, fmt, name)
        self.formats = (fmt,)
        self.framework = self._session.backend
        self.states = pair_states(name, self._session.inputs, self._session.outputs, states)
        fed = {state.input for state in self.states}
        left = {state.output for state in self.states}
        self.inputs = {n: spec for n, spec in self._session.inputs.items() if n not in fed}
        self.outputs = {n: spec for n, spec in self._session.outputs.items() if n not in left}
        if not self.outputs:
            raise ConvertError(f"{name}: gives nothing but its states; export an output with them")
        pairs = ", ".join(f"{state.input} -> {state.output}" for state in self.states)
        self.layers = (LayerNote(name, f"{fmt} step", "step", f"states {pairs}"),)

    def forward(self, sequence: Sequences) -> dict[str, Array]:
        """Return the file's own answers, fed with its own states; see `SourceModel.forward`.

        Args:
            sequence: Every input, (steps, *shape), in the units that the tensor holds.

        Returns:
            Real values.
        """
        carried = {state.input: self._initial(state) for state in self.states}
        answers: dict[str, list[Array]] = {name: [] for name in self.outputs}
        for step in range(len(next(iter(sequence.values())))):
            frame = {n: sequence[n][step].astype(spec.dtype) for n, spec in self.inputs.items()}
            results = self._session.run(frame | carried)
            carried = {state.input: results[state.output].copy() for state in self.states}
            for name, values in answers.items():
                values.append(real(results[name], self.outputs[name]))
        return {name: np.stack(values) for name, values in answers.items()}

    def network(self, role: Role, fmt: NetworkFormat, rows: int = 1) -> bytes:
        """Return the file; see `SourceModel.network`."""
        if role not in self.roles or fmt not in self.formats or rows != 1:
            raise ConvertError(
                f"{self.layers[0].name}: becomes no {role} as {fmt}, the file is a step as "
                f"{self.formats[0]}; ask for that"
            )
        return self._content

    def _initial(self, state: StateTensor) -> Array:
        spec: TensorSpec = self._session.inputs[state.input]
        zero = spec.zero_point if spec.scale else 0
        return np.full(state.shape, zero, state.dtype)


def open_step_file(path: Path, options: SourceOptions) -> StepFile:
    """Open a .tflite file that exposes its state; `convert.onnx` opens .onnx files.

    Args:
        path: The file.
        options: `states` count.

    Raises:
        ConvertError: It is damaged, does not show its state, or cannot run on a device.
        MissingExtra: LiteRT is not installed.
    """
    if options.constants:
        raise ConvertError(
            f"{path.name}: a TFLite file's input {next(iter(options.constants))!r} cannot become a "
            "constant; export the model without it"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConvertError(
            f"{path}: cannot be read, {error.strerror}; name a model file"
        ) from error
    check_builtin(content, path.name)
    return StepFile(content, "tflite", path.name, options.states)
