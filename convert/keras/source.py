"""A Keras model as one step and as a whole sequence."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from convert.errors import ConvertError
from convert.keras.graph import Call, Value, Walk, frame_shape, require_graph
from convert.keras.rules import Cell, cell_of
from convert.keras.writing import Traced, to_onnx, to_tflite
from convert.model import LayerNote, Sequences
from convert.quiet import quiet
from edge.manifest import NetworkFormat, Role, StateTensor
from edge.types import Array, TensorSpec

_CHUNK = 50  # frames that the encoder sees at once; a whole sequence may not fit into memory
_CHECKED = 50  # frames on which the walk is held against Keras, whose TimeDistributed is slow
_CLOSE = 1e-4  # of the largest answer: our walk against the model as Keras runs it
_ANY_RANK = (
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Rescaling,
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
)
"""Layers that take a frame without its time axis as well; the others are shown an axis of one."""


class KerasSource:
    """A Functional or Sequential Keras model with recurrent layers; see `SourceModel`."""

    formats: tuple[NetworkFormat, ...] = ("tflite", "onnx")

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
        self.framework = f"keras {keras.__version__}"
        self._model = model
        self._starts = [_start(tensor, model) for tensor in model.inputs]
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
        self._output_keys = {_plain(n): v.key for n, v in zip(_names(model), outputs, strict=True)}
        self.roles: tuple[Role, ...] = ("encoder", "step") if self._features else ("step",)
        self.inputs = {v.key: TensorSpec(v.key, v.shape, "float32") for v in self._starts}
        self.outputs = {
            name: TensorSpec(name, value.shape, "float32")
            for name, value in zip(self._output_keys, outputs, strict=True)
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
            ConvertError: The model as Keras runs it says something else.
        """
        given = [
            self._with(start, tf.constant(sequence[start.key][:, 0][None]))
            for start in self._starts
        ]
        found = Walk(_whole).through(self._model, given)
        answers = [_over_time(value) for value in found]  # (steps, ...)
        self._check_against_model(given, answers)
        return {n: a[:, None] for n, a in zip(self._output_keys, answers, strict=True)}

    def network(self, role: Role, fmt: NetworkFormat) -> bytes:
        """Return one network as a file; see `SourceModel`."""
        traced = self._encoder() if role == "encoder" else self._step()
        return to_tflite(traced) if fmt == "tflite" else to_onnx(traced)

    def _state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{key}_{name}": shape
            for key, cell in self._cells.items()
            for name, shape in cell.states.items()
        }

    def _note(self, call: Call, value: Value) -> LayerNote:
        role: Role = "step" if value.stateful or not self._features else "encoder"
        kind, name = type(call.inner).__name__, call.layer.name
        if call.recurrent:
            cell = self._cells[call.key]
            states = ", ".join(f"{call.key}_{n} {list(s)}" for n, s in cell.states.items())
            return LayerNote(name, kind, role, f"{cell.detail}; states {states}")
        return LayerNote(name, kind, role, f"gives {list(value.shape)}")

    def _encoder(self) -> Traced:
        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            walk = Walk(lambda call: None if _is_step(call) else _frame(call))
            starts = [self._with(start, tensors[start.key]) for start in self._starts]
            walk.through(self._model, starts)
            found = {v.key: v.tensor for v in [*starts, *(value for _, value in walk.calls)]}
            return {name: found[name] for name in self._features}

        return Traced(run, self._shapes(self.inputs), self._model.variables)

    def _step(self) -> Traced:
        states = self._state_shapes()
        shapes = self._features or self._shapes(self.inputs)

        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            following: dict[str, Any] = {}

            def compute(call: Call) -> Any:
                if call.key in self._features:
                    return tensors[call.key]
                if call.recurrent:
                    return self._advance(self._cells[call.key], call, tensors, following)
                known = all(value.tensor is not None for value in call.inputs)
                return _frame(call) if known else None

            starts = [self._with(start, tensors.get(start.key)) for start in self._starts]
            outputs = Walk(compute).through(self._model, starts)
            named = dict(zip(self._output_keys, (v.tensor for v in outputs), strict=True))
            return named | {f"{name}_next": following[name] for name in states}

        return Traced(run, shapes | states, self._model.variables)

    def _advance(
        self, cell: Cell, call: Call, tensors: Mapping[str, Any], following: dict[str, Any]
    ) -> Any:
        own = {name: tensors[f"{call.key}_{name}"] for name in cell.states}
        output, own = cell.step(call.inputs[0].tensor, own)
        following |= {f"{call.key}_{name}": value for name, value in own.items()}
        return output

    def _check_against_model(self, given: list[Value], answers: list[Array]) -> None:
        """Compare the walk with the model as Keras runs it, over its length where that is fixed."""
        steps = min(len(answers[0]), *(t.shape[1] or _CHECKED for t in self._model.inputs))
        whole = [value.tensor[:, :steps] for value in given]
        found = self._model(whole[0] if len(whole) == 1 else whole, training=False)
        again = self._model(whole[0] if len(whole) == 1 else whole, training=False)
        outputs = zip(keras.tree.flatten(found), keras.tree.flatten(again), strict=True)
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

    @staticmethod
    def _shapes(specs: Mapping[str, TensorSpec]) -> dict[str, tuple[int, ...]]:
        return {name: spec.shape for name, spec in specs.items()}

    @staticmethod
    def _with(value: Value, tensor: Any) -> Value:
        return Value(value.key, value.shape, value.stateful, value.time, tensor)


def _start(tensor: Any, model: Any) -> Value:
    if len(tensor.shape) < 3:
        raise ConvertError(
            f"model {model.name}: input {tensor.name} is {list(tensor.shape)}, a sequence is "
            "[batch, time, ...]; build the model with a time axis (Conv2D in TimeDistributed)"
        )
    key = _plain(tensor.name)
    return Value(key, frame_shape(tensor.shape, tensor), stateful=False, time=True)


def _check_outputs(model: Any, outputs: list[Value], plan: Walk) -> None:
    for output in outputs:
        if not output.stateful:
            raise ConvertError(
                f"model {model.name}: output {output.key} hangs on no recurrent layer; "
                "leave it out, or convert that part on its own"
            )
    for call, value in plan.calls:
        if call.recurrent and not value.time and any(v.time for v in outputs):
            raise ConvertError(
                f"layer {call.layer.name}: has return_sequences=False while another output has a "
                "time axis; set it to True"
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


def _frame(call: Call) -> Any:
    """Apply a layer to one frame."""
    if call.idle:
        return call.inputs[0].tensor
    if call.inner is not call.layer:
        return call.inner(call.inputs[0].tensor)
    axis = getattr(call.layer, "axis", -1)
    plain = not isinstance(call.layer, keras.layers.Layer) or isinstance(call.layer, _ANY_RANK)
    if (plain and axis == -1) or not any(value.time for value in call.inputs):
        args, kwargs = call.arguments(lambda value: value.tensor)
        return call.layer(*args, **kwargs)
    args, kwargs = call.arguments(lambda value: value.tensor[:, None])
    return call.layer(*args, **kwargs)[:, 0]


def _whole(call: Call) -> Any:
    """Apply a layer to a whole sequence: (1, steps, ...), or (steps, ...) where time has ended."""
    if call.idle:
        return call.inputs[0].tensor
    if call.recurrent:
        return _every_step(call.layer, call.inputs[0].tensor)
    if call.inner is not call.layer:
        return _in_chunks(call)
    args, kwargs = call.arguments(lambda value: value.tensor)
    return call.layer(*args, **kwargs)


def _every_step(layer: Any, x: Any) -> Any:
    """Run a recurrent layer over (1, steps, ...) and keep what it gives at every step."""
    kept = {k: getattr(layer, k) for k in ("return_sequences", "stateful") if hasattr(layer, k)}
    try:
        if kept:
            layer.return_sequences, layer.stateful = True, False
        y = tf.function(lambda value: layer(value, training=False), autograph=False)(x)
    finally:
        for key, value in kept.items():
            setattr(layer, key, value)
    return y if getattr(layer, "return_sequences", True) else y[0]


def _in_chunks(call: Call) -> Any:
    inner = tf.function(call.inner, reduce_retracing=True, autograph=False)
    (value,) = call.inputs
    frames = value.tensor[0]
    parts = [inner(frames[k : k + _CHUNK], training=False) for k in range(0, len(frames), _CHUNK)]
    return tf.concat(parts, 0)[None]


def _over_time(value: Value) -> Array:
    tensor: Array = value.tensor.numpy()
    return tensor[0] if value.time else tensor


def _names(model: Any) -> list[str]:
    """Return the names of the layers that give the outputs, made unique."""
    names = [tensor._keras_history.operation.name for tensor in model.outputs]
    return [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
