"""What a call computes: of one frame, or of the whole sequence by the framework's own layers."""

from typing import Any

import keras
import tensorflow as tf

from convert.keras.graph import Call

_CHUNK = 50  # frames that the encoder sees at once; a whole sequence may not fit into memory
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


def frame(call: Call) -> Any:
    """Apply a layer to one frame."""
    if call.idle or call.takes_last:
        return call.inputs[0].tensor
    if call.inner is not call.layer:
        return call.inner(call.inputs[0].tensor)
    axis = getattr(call.layer, "axis", -1)
    free = not isinstance(call.layer, keras.layers.Layer) or isinstance(call.layer, _ANY_RANK)
    if (free and axis == -1) or not any(value.time for value in call.inputs):
        args, kwargs = call.arguments(lambda value: value.tensor)
        return call.layer(*args, **kwargs)
    args, kwargs = call.arguments(lambda value: value.tensor[:, None])
    return call.layer(*args, **kwargs)[:, 0]


def whole(call: Call) -> Any:
    """Apply a layer to a whole sequence: (1, steps, ...), or (steps, ...) where time has ended."""
    if call.idle:
        return call.inputs[0].tensor
    if call.takes_last:
        return call.inputs[0].tensor[0]
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
