"""A walk through a Keras model, layer by layer, with the time axis taken away.

The same walk serves three purposes that differ in what each layer is asked to compute: to find out
what the model is made of, to trace one of its networks, and to run the whole sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from convert.errors import ConvertError
from convert.keras.naming import plain, reason, unique
from convert.keras.rules import is_recurrent, supported

_IDLE = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
)
"""Layers that only act while a model is trained."""
_PER_FRAME = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.LayerNormalization,
    keras.layers.BatchNormalization,
    keras.layers.UnitNormalization,
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Concatenate,
    keras.layers.Lambda,  # only there when the file is trusted
)
"""Layers that look at each frame on its own, standing on a sequence as they are."""
_ELEMENTWISE = {
    *("Absolute", "Add", "Clip", "Divide", "Exp", "Log", "Maximum", "Minimum", "Multiply"),
    *("Negative", "Power", "Sqrt", "Square", "Subtract", "TrueDivide"),
    *("Celu", "Elu", "Gelu", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid"),
    *("Relu", "Relu6", "Selu", "Sigmoid", "Silu", "Softplus", "Softsign", "Tanh"),
}
"""Operators written between layers, `x * 2`, by the class that Keras makes of them."""


@dataclass(frozen=True, slots=True)
class Value:
    """What flows between layers."""

    key: str
    """Of the call that made it; the same in every walk."""
    shape: tuple[int, ...]
    """In one step, (1, ...)."""
    stateful: bool
    """Hangs on what came before this frame."""
    time: bool
    """Has a time axis in the model as it was trained."""
    tensor: Any = None
    """What this walk computes; None where it does not."""


@dataclass(frozen=True, slots=True)
class Call:
    """One layer at work."""

    key: str
    """Unique in the model, a plain word."""
    layer: Any
    args: tuple[Any, ...]
    """What the layer was called with; values are `Value`."""
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]
    """The values among all arguments."""

    @property
    def recurrent(self) -> bool:
        """Whether the layer carries something to the next step."""
        return is_recurrent(self.layer)

    @property
    def idle(self) -> bool:
        """Whether the layer only acts in training."""
        return isinstance(self.layer, _IDLE)

    @property
    def takes_last(self) -> bool:
        """Whether it is `y[:, -1]`: a step gives its answer at every frame."""
        if type(self.layer).__name__ != "GetItem" or not self.inputs[0].time:
            return False
        key = [*self.args, *self.kwargs.values()][1]
        return list(key) == [slice(None), -1] if isinstance(key, list | tuple) else False

    @property
    def inner(self) -> Any:
        """The layer that sees one frame."""
        if isinstance(self.layer, keras.layers.TimeDistributed):
            return self.layer.layer
        return self.layer

    def arguments(self, form: Callable[[Value], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the call's arguments with every value brought into some form."""
        args = [_formed(value, form) for value in self.args]
        kwargs = {key: _formed(value, form) for key, value in self.kwargs.items()}
        return args, kwargs


Compute = Callable[[Call], Any]


class Walk:
    """One walk: every call is checked, its outputs are described, and `compute` gives tensors."""

    def __init__(self, compute: Compute) -> None:
        """Prepare a walk.

        Args:
            compute: Call to the tensor of its output; None where this walk has none.
        """
        self._compute = compute
        self._taken: set[str] = set()
        self.calls: list[tuple[Call, Value]] = []

    def through(self, model: Any, inputs: Sequence[Value]) -> list[Value]:
        """Walk through a model and return its outputs.

        Args:
            model: Functional or Sequential, nested ones too.
            inputs: In the model's own order.

        Raises:
            ConvertError: A layer has no place in a step model.
        """
        graph = getattr(model, "_functional", None) or model
        refuse_masks(graph)
        self._taken |= {value.key for value in inputs}
        found = graph._run_through_graph(list(inputs), lambda layer: self._visitor(layer))
        return list(keras.tree.flatten(found))

    def _visitor(self, layer: Any) -> Callable[..., Any]:
        if isinstance(layer, keras.Model) and not isinstance(layer, keras.layers.RNN):
            require_graph(layer)
            return lambda *args, **kwargs: self._nested(layer, args, kwargs)
        return lambda *args, **kwargs: self._visit(layer, args, kwargs)

    def _nested(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _refuse_training(model, kwargs)
        outputs = self.through(model, keras.tree.flatten(args))
        return outputs[0] if len(outputs) == 1 else outputs

    def _visit(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        values = tuple(
            leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Value)
        )
        call = Call(self._key(layer), layer, args, kwargs, values)
        check(call)
        value = _described(call, self._compute(call))
        self.calls.append((call, value))
        return value

    def _key(self, layer: Any) -> str:
        return unique(plain(layer.name), self._taken, "_call")


def require_graph(model: Any) -> None:
    """Refuse a model whose layers cannot be told from the file.

    Raises:
        ConvertError: It is a subclass of Model, or a Sequential that has seen no input yet.
    """
    if isinstance(model, keras.Sequential) and model._functional is None:
        raise ConvertError(
            f"model {model.name}: has no input shape, nor weights; begin it with keras.Input, "
            "train it and save it again"
        )
    if not isinstance(model, keras.Sequential) and not hasattr(model, "_run_through_graph"):
        raise ConvertError(
            f"model {model.name}: is a subclassed {type(model).__name__}, its layers are connected "
            "by code; build it as a Functional or Sequential model"
        )


def refuse_masks(graph: Any) -> None:
    """Refuse a model that tells frames from padding.

    Raises:
        ConvertError: A layer makes a mask.
    """
    for layer in graph.operations:
        if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
            raise ConvertError(
                f"layer {layer.name}: masks frames, so sequences have several lengths; train on "
                "sequences without padding"
            )


def check(call: Call) -> None:
    """Refuse a layer that has no place in a step model.

    Raises:
        ConvertError: The message names the layer.
    """
    layer = call.layer
    _refuse_training(layer, call.kwargs)
    if isinstance(layer, keras.layers.Bidirectional):
        raise ConvertError(
            f"layer {layer.name}: Bidirectional reads the sequence from its end too, and a live "
            "stream has none; train it forwards"
        )
    if call.recurrent:
        _check_recurrent(call)
    elif any(value.time for value in call.inputs):
        _check_per_frame(call)


def _check_recurrent(call: Call) -> None:
    name = call.layer.name
    if len(call.inputs) != 1:
        raise ConvertError(
            f"layer {name}: starts from a state that other layers compute (initial_state); "
            "a step model starts from zeros, leave it out"
        )
    if getattr(call.layer, "go_backwards", False):
        raise ConvertError(
            f"layer {name}: go_backwards=True reads the sequence from its end, and a live stream "
            "has none; train it forwards"
        )
    if getattr(call.layer, "return_state", False):
        raise ConvertError(
            f"layer {name}: return_state=True hands its state to other layers; set it to False, "
            "the step model gives the states anyway"
        )
    if not call.inputs[0].time:
        raise ConvertError(
            f"layer {name}: its input has no time axis any more, a layer before it ends with "
            "return_sequences=False in mid-stack; set that to True"
        )


def _check_per_frame(call: Call) -> None:
    layer, kind = call.layer, type(call.layer).__name__
    if isinstance(layer, keras.layers.TimeDistributed) or call.idle or call.takes_last:
        return
    operator = not isinstance(layer, keras.layers.Layer) and kind in _ELEMENTWISE
    if not (operator or isinstance(layer, _PER_FRAME)):
        raise ConvertError(
            f"layer {layer.name}: {kind} mixes frames over time or has no rule; recurrent are "
            f"{', '.join(supported())}; put a layer that sees one frame into TimeDistributed, or "
            "write a rule (convert/keras/rules.py says how)"
        )
    if axis := _axis_of_time(call):
        raise ConvertError(
            f"layer {layer.name}: {kind} works along axis {axis}, over time; "
            "let it work along axis -1"
        )


def _axis_of_time(call: Call) -> str:
    axis = getattr(call.layer, "axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    rank = max(len(value.shape) + value.time for value in call.inputs)
    return str(axis) if any(isinstance(a, int) and a % rank in (0, 1) for a in axes) else ""


def _refuse_training(layer: Any, kwargs: dict[str, Any]) -> None:
    if kwargs.get("training"):
        raise ConvertError(
            f"layer {layer.name}: is called with training=True, so the model gives another answer "
            "each time; save it without"
        )


def frame_shape(shape: Sequence[Any], layer: Any) -> tuple[int, ...]:
    """Return (1, ...) of a sequence's (batch, time, ...).

    Raises:
        ConvertError: A side is not fixed.
    """
    if any(side is None for side in shape[2:]):
        raise ConvertError(
            f"layer {layer.name}: has the shape {list(shape)}, with a free side beside batch and "
            "time; build the model with a fixed size"
        )
    return (1, *map(int, shape[2:]))


def _described(call: Call, tensor: Any) -> Value:
    """Say what a call gives; shapes come from Keras's own symbolic outputs."""
    stateful = call.recurrent or any(value.stateful for value in call.inputs)
    time = any(value.time for value in call.inputs)
    if call.takes_last or (call.recurrent and not getattr(call.layer, "return_sequences", True)):
        time = False
    if call.idle:
        return Value(call.key, call.inputs[0].shape, stateful, time, tensor)
    args, kwargs = call.arguments(_symbolic)
    try:
        spec = call.layer.compute_output_spec(*args, **kwargs)
    except Exception as error:  # whatever a layer raises
        raise ConvertError(
            f"layer {call.layer.name}: takes one number of frames and no other, {reason(error)}; "
            "let it see each frame on its own"
        ) from error
    shape = frame_shape(spec.shape, call.layer) if time else (1, *map(int, spec.shape[1:]))
    return Value(call.key, shape, stateful, time, tensor)


def _symbolic(value: Value) -> Any:
    shape = (1, 2, *value.shape[1:]) if value.time else value.shape
    return keras.KerasTensor(shape)


def _formed(value: Any, form: Callable[[Value], Any]) -> Any:
    return keras.tree.map_structure(lambda v: form(v) if isinstance(v, Value) else v, value)
