"""From a function of TensorFlow tensors to the bytes of a TFLite or ONNX network."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import tensorflow as tf

from convert.errors import MissingExtra
from convert.quiet import quiet

_OPSET = 17


@dataclass(frozen=True)
class Traced:
    """A network as a function of tensors by name."""

    run: Callable[[Mapping[str, Any]], dict[str, Any]]
    shapes: Mapping[str, tuple[int, ...]]
    """Of every input."""
    variables: list[Any]
    """Keras variables that the function may use."""


def to_tflite(traced: Traced) -> bytes:
    """Return a network as TFLite with a signature `step`; builtin operators only.

    Keras 3 variables must be handed to the module by hand: it does not track them, and the file
    would hold no weights.
    """
    module = tf.Module()
    module.kept = [variable.value for variable in traced.variables]
    module.step = _function(traced)
    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(module, folder, {"step": module.step})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"])
        return bytes(converter.convert())


def to_onnx(traced: Traced) -> bytes:
    """Return a network as ONNX.

    Raises:
        MissingExtra: tf2onnx is not installed.
    """
    if not find_spec("tf2onnx"):
        raise MissingExtra(
            "--to onnx: needs tf2onnx, not installed; pip install 'edgetrack[convert-keras]'"
        )
    import tf2onnx

    with quiet():
        function = _function(traced)
        model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    model.graph.name = "step"
    return bytes(model.SerializeToString(deterministic=True))


def _function(traced: Traced) -> Any:
    names = list(traced.shapes)
    signature = [tf.TensorSpec(traced.shapes[name], tf.float32, name) for name in names]

    def run(*tensors: Any) -> dict[str, Any]:
        found = traced.run(dict(zip(names, tensors, strict=True)))
        return {name: tf.identity(value, name) for name, value in found.items()}

    return tf.function(run, input_signature=signature, autograph=False)
