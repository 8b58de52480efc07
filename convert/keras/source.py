"""A Keras model as one step and as a whole sequence."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from convert.errors import ConvertError
from convert.keras.graph import Call, Value, Walk, frame_shape, require_graph
from convert.keras.naming import plain, reason, unique
from convert.keras.rules import Cell, cell_of
from convert.keras.running import frame, whole
from convert.keras.writing import Traced, over_rows, to_onnx, to_tflite
from convert.model import LayerNote, Sequences
from convert.quiet import quiet
from edge.errors import EdgeError
from edge.manifest import Kind, NetworkFormat, Role, StateTensor
from edge.types import Array, TensorSpec

_CHECKED = 50  # frames on which the walk is held against Keras, whose TimeDistributed is slow
_CLOSE = 1e-4  # of the largest answer: our walk against the model as Keras runs it
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]*")
"""Names of layers that TensorFlow can trace."""


class KerasSource:
    """A Functional or Sequential Keras model with recurrent layers; see `SourceModel`."""

    kind: Kind = "sequence"
    formats: tuple[NetworkFormat, ...] = ("tflite", "onnx")
    batched = formats

    def __init__(self, model: Any, *, fuse: bool = False) -> None:
        """Check a model and take it apart.

        Args:
            model: Built, with weights.
            fuse: Do not cut an encoder off.

        Raises:
            ConvertError: A layer, a shape or a weight is not fit for a step model.
        """
        require_graph(model)
        _check_weights(model)
        _check_precision(model)
        _rename(model)
        self.framework = f"keras {keras.__version__}"
        self._model = model
        taken: set[str] = set()
        self._starts = [_start(tensor, model, taken) for tensor in model.inputs]
        plan = Walk(lambda _: None)
        outputs = plan.through(model, self._starts)
        self._cells = {
            call.key: cell_of(call.layer, call.inputs[0].shape)
            for call, _ in plan.calls
            if call.recurrent
        }
        if not self._cells:
            raise ConvertError(
                f"model {model.name}: holds no recurrent layer, so it has no state to carry; "
                "`edgetrack models import` takes detectors"
            )
        _check_outputs(model, outputs, plan)
        self._features = {} if fuse else _features(plan)
        taken |= {call.key for call, _ in plan.calls}
        self._state_names = {
            key: {name: unique(f"{key}_{name}", taken) for name in cell.states}
            for key, cell in self._cells.items()
        }
        taken |= {f"{name}_next" for name in self._state_shapes()}
        self.roles: tuple[Role, ...] = ("encoder", "step") if self._features else ("step",)
        self.inputs = {
            start.key: TensorSpec(start.key, start.shape, _dtype(tensor))
            for start, tensor in zip(self._starts, model.inputs, strict=True)
        }
        self.outputs = {
            name: TensorSpec(name, value.shape, "float32")
            for name, value in zip(_names(model, outputs, taken), outputs, strict=True)
        }
        self.states = tuple(
            StateTensor(name=name, input=name, output=f"{name}_next", shape=shape)
            for name, shape in self._state_shapes().items()
        )
        self.layers = [self._note(call, value) for call, value in plan.calls if not call.idle]

    @quiet()  # TensorFlow warns of the fifth recurrent layer that it traces
    def forward(self, sequence: Sequences) -> dict[str, Array]:
        """Return what Keras's own layers give for the whole sequence; see `SourceModel`.

        Raises:
            ConvertError: The model as Keras runs it says something else, or does not run.
        """
        try:
            return self._forward(sequence)
        except ConvertError:
            raise
        except Exception as error:  # whatever a layer raises
            raise ConvertError(
                f"model {self._model.name}: Keras does not run it over the samples, "
                f"{reason(error)}; correct the model and save it again"
            ) from error

    def network(self, role: Role, fmt: NetworkFormat, rows: int = 1) -> bytes:
        """Return one network as a file; see `SourceModel`.

        Raises:
            ConvertError: The exporter does not know an operator.
            MissingExtra: The exporter is not installed.
        """
        traced = self._encoder() if role == "encoder" else self._step()
        traced = traced if rows == 1 else over_rows(traced, rows)
        try:
            return to_tflite(traced) if fmt == "tflite" else to_onnx(traced)
        except EdgeError:
            raise
        except Exception as error:  # the exporters' errors share no narrower class
            raise ConvertError(
                f"{fmt}: the exporter fails, {reason(error)}; "
                "leave the format out with --to, or replace the layer in the model"
            ) from error

    def _forward(self, sequence: Sequences) -> dict[str, Array]:
        """Run every layer over time, at least over the length that the model is made for."""
        steps = len(next(iter(sequence.values())))
        length = max([steps, *(tensor.shape[1] or 0 for tensor in self._model.inputs)])
        order = np.resize(np.arange(steps), length)
        given = [
            self._with(start, tf.constant(sequence[start.key][order, 0][None]))
            for start in self._starts
        ]
        found = Walk(whole).through(self._model, given)
        answers = [_over_time(value) for value in found]  # (length, ...)
        self._check_against_model(given, answers)
        return {n: a[:steps, None] for n, a in zip(self.outputs, answers, strict=True)}

    def _state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            self._state_names[key][name]: shape
            for key, cell in self._cells.items()
            for name, shape in cell.states.items()
        }

    def _note(self, call: Call, value: Value) -> LayerNote:
        role: Role = "step" if value.stateful or not self._features else "encoder"
        kind, name = type(call.inner).__name__, call.layer.name
        if call.recurrent:
            cell = self._cells[call.key]
            names = self._state_names[call.key]
            states = ", ".join(f"{names[n]} {list(s)}" for n, s in cell.states.items())
            return LayerNote(name, kind, role, f"{cell.detail}; states {states}")
        return LayerNote(name, kind, role, f"gives {list(value.shape)}")

    def _encoder(self) -> Traced:
        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            walk = Walk(lambda call: None if _is_step(call) else frame(call))
            starts = [self._with(start, tensors[start.key]) for start in self._starts]
            walk.through(self._model, starts)
            found = {v.key: v.tensor for v in [*starts, *(value for _, value in walk.calls)]}
            # What the step takes of the inputs as they are does not go through the encoder.
            return {name: found[name] for name in self._features if name not in self.inputs}

        return Traced(run, self.inputs, self._model.variables)

    def _step(self) -> Traced:
        states = self._state_shapes()
        shapes = self._features or {name: spec.shape for name, spec in self.inputs.items()}
        given = {
            name: self.inputs.get(name) or TensorSpec(name, shape, "float32")
            for name, shape in (shapes | states).items()
        }

        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            following: dict[str, Any] = {}

            def compute(call: Call) -> Any:
                if call.key in self._features:
                    return tensors[call.key]
                if call.recurrent:
                    return self._advance(self._cells[call.key], call, tensors, following)
                known = all(value.tensor is not None for value in call.inputs)
                return frame(call) if known else None

            starts = [self._with(start, tensors.get(start.key)) for start in self._starts]
            outputs = Walk(compute).through(self._model, starts)
            named = dict(zip(self.outputs, (v.tensor for v in outputs), strict=True))
            return named | {f"{name}_next": following[name] for name in states}

        return Traced(run, given, self._model.variables)

    def _advance(
        self, cell: Cell, call: Call, tensors: Mapping[str, Any], following: dict[str, Any]
    ) -> Any:
        names = self._state_names[call.key]
        own = {name: tensors[names[name]] for name in cell.states}
        output, own = cell.step(call.inputs[0].tensor, own)
        following |= {names[name]: value for name, value in own.items()}
        return output

    def _check_against_model(self, given: list[Value], answers: list[Array]) -> None:
        """Compare the walk with the model as Keras runs it, over its length where that is fixed."""
        steps = min(len(answers[0]), *(t.shape[1] or _CHECKED for t in self._model.inputs))
        short = [value.tensor[:, :steps] for value in given]
        outputs = zip(self._as_keras_runs_it(short), self._as_keras_runs_it(short), strict=True)
        for answer, (output, repeated), name in zip(answers, outputs, self.outputs, strict=True):
            output = output.numpy()
            if not np.array_equal(output, repeated.numpy(), equal_nan=True):
                raise ConvertError(
                    f"output {name}: the same input gives another answer each time; "
                    "save the model without dropout or noise that stays on"
                )
            ours = answer[:steps][None] if output.ndim > answer.ndim else answer[steps - 1][None]
            limit = _CLOSE * max(1.0, float(np.abs(output).max()))
            if not np.abs(ours - output).max() <= limit:
                raise ConvertError(
                    f"output {name}: the layers on their own give something else than the model, "
                    f"off by {np.abs(ours - output).max():.2g}; a layer hangs on the number of "
                    "frames or on later ones"
                )

    def _as_keras_runs_it(self, sequences: list[Any]) -> list[Any]:
        """Return the outputs, (1, ...), of inputs (1, steps, ...), from a fresh state."""
        for layer in self._model._flatten_layers():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()
        rows = self._model.inputs[0].shape[0] or 1  # a stateful model may be made for several
        graph = getattr(self._model, "_functional", None) or self._model
        given = [tf.repeat(tensor, rows, 0) for tensor in sequences]
        found = self._model(
            keras.tree.pack_sequence_as(graph._inputs_struct, given), training=False
        )
        return [tensor[:1] for tensor in keras.tree.flatten(found)]

    @staticmethod
    def _with(value: Value, tensor: Any) -> Value:
        return Value(value.key, value.shape, value.stateful, value.time, tensor)


def _rename(model: Any) -> None:
    """Give layers whose names TensorFlow cannot trace, with a space or an umlaut, plain ones."""
    for layer in model._flatten_layers():
        if not _SCOPE.fullmatch(layer.name):
            layer.name = plain(layer.name)
    for variable in model.variables:
        handle = variable.value
        handle._handle_name = f"{plain(handle._handle_name[:-2])}:0"


def _dtype(tensor: Any) -> str:
    """Return the type of an input.

    Raises:
        ConvertError: It is neither real numbers nor pixels.
    """
    if tensor.dtype not in ("float32", "uint8"):
        raise ConvertError(
            f"input {tensor.name}: is {tensor.dtype}; build the model with float32, or uint8 pixels"
        )
    return str(tensor.dtype)


def _start(tensor: Any, model: Any, taken: set[str]) -> Value:
    if len(tensor.shape) < 3:
        raise ConvertError(
            f"model {model.name}: input {tensor.name} is {list(tensor.shape)}, a sequence is "
            "[batch, time, ...]; build the model with a time axis (Conv2D in TimeDistributed)"
        )
    key = unique(plain(tensor.name), taken)
    return Value(key, frame_shape(tensor.shape, tensor), stateful=False, time=True)


def _check_outputs(model: Any, outputs: list[Value], plan: Walk) -> None:
    for output in outputs:
        if not output.stateful:
            raise ConvertError(
                f"model {model.name}: output {output.key} hangs on no recurrent layer; "
                "leave it out, or convert that part on its own"
            )
    for call, value in plan.calls:
        ends = "has return_sequences=False" if call.recurrent else "takes [:, -1]"
        last = call.recurrent or call.takes_last
        if last and not value.time and any(v.time for v in outputs):
            raise ConvertError(
                f"layer {call.layer.name}: {ends} while another output has a time axis; "
                "let it give every step"
            )


def _check_weights(model: Any) -> None:
    for variable in model.variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ConvertError(
                f"weight {variable.path}: {bad} of {values.size} values are NaN or infinite; "
                "take a checkpoint from before the training broke down"
            )


def _check_precision(model: Any) -> None:
    for layer in model._flatten_layers():
        if layer.compute_dtype != "float32":
            raise ConvertError(
                f"layer {layer.name}: computes in {layer.compute_dtype}, so its own answer is "
                "rounded; build the model under the policy float32 and load the same weights"
            )


def _features(plan: Walk) -> dict[str, tuple[int, ...]]:
    """Return what the encoder hands to the step; empty where nothing with weights comes before."""
    encoder = [call for call, value in plan.calls if not value.stateful]
    if not any(call.inner.weights for call in encoder if hasattr(call.inner, "weights")):
        return {}
    taken: dict[str, tuple[int, ...]] = {}
    for call, value in plan.calls:
        if value.stateful:
            taken |= {v.key: v.shape for v in call.inputs if not v.stateful}
    return taken


def _is_step(call: Call) -> bool:
    return call.recurrent or any(value.stateful for value in call.inputs)


def _over_time(value: Value) -> Array:
    tensor: Array = value.tensor.numpy()
    return tensor[0] if value.time else tensor


def _names(model: Any, outputs: Iterable[Value], taken: set[str]) -> list[str]:
    """Return the names of the layers that give the outputs, made unique."""
    layers = [tensor._keras_history.operation.name for tensor in model.outputs]
    named: list[str] = []
    for index, (layer, value) in enumerate(zip(layers, outputs, strict=True)):
        name = plain(layer) if layers.count(layer) == 1 else f"{plain(layer)}_{index}"
        own = name == value.key and name not in named
        named.append(name if own else unique(name, taken))
    return named
