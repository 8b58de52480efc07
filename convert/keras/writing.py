"""From a function of TensorFlow tensors to the bytes of a TFLite or ONNX network."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import tensorflow as tf

from convert.errors import ConvertError, MissingExtra
from convert.model import FREE
from convert.quiet import quiet
from edge.types import TensorSpec

_OPSET = 17


@dataclass(frozen=True)
class Traced:
    """A network as a function of tensors by name."""

    run: Callable[[Mapping[str, Any]], dict[str, Any]]
    inputs: Mapping[str, TensorSpec]
    variables: list[Any]
    """Keras variables that the function may use."""


def over_rows(traced: Traced, rows: int) -> Traced:
    """Return a network for several rows; every operator works on all of them at once.

    Args:
        traced: For one row.
        rows: Their number, or FREE.
    """

    def row(given: Mapping[str, Any]) -> dict[str, Any]:
        found = traced.run({name: value[None] for name, value in given.items()})
        return {name: value[0] for name, value in found.items()}

    def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = tf.vectorized_map(row, dict(tensors), fallback_to_while_loop=False)
        return found

    inputs = {n: replace(spec, shape=(rows, *spec.shape[1:])) for n, spec in traced.inputs.items()}
    return Traced(run, inputs, traced.variables)


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
        ConvertError: ONNX has no such operator.
        MissingExtra: tf2onnx is not installed.
    """
    if not find_spec("tf2onnx"):
        raise MissingExtra(
            "--to onnx: needs tf2onnx, not installed; pip install 'edgetrack[convert-keras]'"
        )
    import tf2onnx

    with quiet():
        function = _function(traced)
        model, _ = tf2onnx.convert.from_function(
            function,
            function.input_signature,
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_erfc, []), "Expm1": (_expm1, [])},
        )
        _freeze(model.graph, function.get_concrete_function())
    _check_operators(model.graph)
    model.graph.name = "step"
    return bytes(model.SerializeToString(deterministic=True))


def _erfc(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Write erfc(x), which GELU is made of, as 1 - erf(x)."""
    _rewritten(graph, node, "Erf", "Sub", one_first=True)


def _expm1(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Write e^x - 1 as that."""
    _rewritten(graph, node, "Exp", "Sub", one_first=False)


def _rewritten(graph: Any, node: Any, inner: str, outer: str, *, one_first: bool) -> None:
    (output,), (dtype,), (shape,) = node.output, node.output_dtypes, node.output_shapes
    one = graph.make_const(f"{node.name}_one", np.float32(1.0)).output[0]
    found = graph.make_node(inner, list(node.input)).output[0]
    operands = [one, found] if one_first else [found, one]
    graph.remove_node(node.name)
    graph.make_node(outer, operands, outputs=[output], dtypes=[dtype], shapes=[shape])


def _freeze(graph: Any, function: Any) -> None:
    """Put tensors that layers hold beside their variables, such as Normalization's, into a graph.

    tf2onnx makes inputs of them.
    """
    from onnx import numpy_helper

    held = {inner.name: value for value, inner in function.graph.captures}
    for entry in [entry for entry in graph.input if entry.name in held]:
        graph.initializer.append(numpy_helper.from_array(held[entry.name].numpy(), entry.name))
        graph.input.remove(entry)


def _check_operators(graph: Any) -> None:
    import onnx

    for node in graph.node:
        if not node.domain and not onnx.defs.has(node.op_type):
            raise ConvertError(
                f"onnx: has no operator {node.op_type}; leave the format out, --to tflite, or "
                "replace the layer that needs it"
            )


def _function(traced: Traced) -> Any:
    names = list(traced.inputs)
    signature = [
        tf.TensorSpec([None if side == FREE else side for side in s.shape], s.dtype, name)
        for name, s in traced.inputs.items()
    ]

    def run(*tensors: Any) -> dict[str, Any]:
        found = traced.run(dict(zip(names, tensors, strict=True)))
        return {name: tf.identity(value, name) for name, value in found.items()}

    return tf.function(run, input_signature=signature, autograph=False)
