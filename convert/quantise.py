"""Smaller numbers: float16, dynamic, int8 and int16x8, for both formats.

Weights and the large products become integers. The element-wise arithmetic of a recurrent cell
stays in float32 and so do its states: an error made there comes back at every step.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import MissingExtra
from convert.quiet import quiet
from convert.tflite_file import signature, with_signed_outputs
from edge.manifest import NetworkFormat, Role
from edge.types import Array

INTEGER = ("int8", "int16x8")
_MOST = 400  # calibration steps; ranges hardly move after that
_SMALL = 64  # elements; halving a tensor of fewer saves nothing
_HALF_RANGE = (-65504.0, 65504.0)  # of float16
_PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE")
Feeds = Sequence[dict[str, Array]]
"""What a network was given, step by step, by input name."""


@dataclass(frozen=True)
class Plan:
    """What is to become of one network's numbers."""

    mode: str
    """`float16`, `dynamic`, `int8` or `int16x8`."""
    role: Role
    """An encoder has no state, so all of it may become integers."""
    integer_states: bool = False
    """All of the step network becomes integers, and so do the tensors at both networks' edge."""


def formats(mode: str, integer_states: bool = False) -> tuple[NetworkFormat, ...]:
    """Return the formats that can hold numbers of that kind; ONNX tensors carry no scale."""
    if integer_states or mode == "int16x8":
        return ("tflite",)
    return ("tflite", "onnx")


def quantise(content: bytes, fmt: NetworkFormat, plan: Plan, feeds: Feeds) -> bytes:
    """Return a float32 network with smaller numbers.

    Args:
        content: The network.
        fmt: Its format.
        plan: What is to become of it.
        feeds: Its real inputs, states rolled out; for the integer modes.

    Raises:
        MissingExtra: The quantiser is not installed.
    """
    if fmt == "onnx":
        return _onnx(content, plan.mode, feeds)
    if not find_spec("ai_edge_quantizer"):
        raise MissingExtra(
            f"--quantise {plan.mode}: needs ai-edge-quantizer, not installed; "
            "pip install 'edgetrack[convert-keras]' or '[convert-torch]'"
        )
    with quiet():
        return _tflite(content, plan, feeds)


def _tflite(content: bytes, plan: Plan, feeds: Feeds) -> bytes:
    from ai_edge_quantizer import quantizer

    work = quantizer.Quantizer(content, _recipe(plan))
    ranges = None
    if work.need_calibration:
        known = work.calibrate({signature(content): feeds[:1]}, num_threads=1)
        ranges = _ranges(content, known, _thinned(feeds))
    return with_signed_outputs(
        bytes(work.quantize(ranges, enable_progress_report=False).quantized_model)
    )


def _ranges(content: bytes, known: Any, feeds: Feeds) -> Any:
    """Return the smallest and largest value of every tensor, in the form that `known` has.

    AI Edge Quantizer's own calibration forgets exponentially, so it would cut off what a slow state
    reaches only now and then.
    """
    from ai_edge_litert import interpreter

    net = interpreter.Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    net.allocate_tensors()
    (names,) = net._get_full_signature_list().values()
    inner = {d["name"]: d["index"] for d in net.get_tensor_details() if d["name"] in known}
    found = {name: (np.inf, -np.inf) for name in inner}
    for feed in feeds:
        for name, index in names["inputs"].items():
            net.set_tensor(index, feed[name])
        net.invoke()
        for name, index in inner.items():
            value, (low, high) = net.get_tensor(index), found[name]
            found[name] = min(low, value.min()), max(high, value.max())
    return {
        name: {
            "min": np.full_like(entry["min"], found[name][0]),
            "max": np.full_like(entry["max"], found[name][1]),
        }
        for name, entry in known.items()
    }


def _recipe(plan: Plan) -> Any:
    """Return what AI Edge Quantizer is to do."""
    from ai_edge_quantizer import qtyping, recipe_manager

    names = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    if plan.mode == "float16":
        recipe.add_weight_only_config(".*", names.ALL_SUPPORTED, 16, algorithm_key="float_casting")
    elif plan.mode == "dynamic":
        recipe.add_dynamic_config(".*", names.ALL_SUPPORTED, 8)
    else:
        whole = plan.role == "encoder" or plan.integer_states
        for name in ("ALL_SUPPORTED",) if whole else _PRODUCTS:
            recipe.add_static_config(".*", names[name], 8 if plan.mode == "int8" else 16, 8)
        if whole and not plan.integer_states:
            for edge in (names.INPUT, names.OUTPUT):
                recipe.add_quantization_config(".*", edge, algorithm_key="no_quantize")
    return recipe.get_quantization_recipe()


def _onnx(content: bytes, mode: str, feeds: Feeds) -> bytes:
    if mode == "float16":
        return _halved(content)
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as place, quiet():
        source, target = Path(place) / "float.onnx", Path(place) / "small.onnx"
        source.write_bytes(content)
        if mode == "dynamic":
            # Not Conv: its integer kernel is ten times slower than the float one.
            quantization.quantize_dynamic(
                source, target, op_types_to_quantize=["MatMul", "Gemm", "LSTM"], per_channel=True
            )
        else:
            quantization.quantize_static(
                source,
                target,
                _Reader(_thinned(feeds)),
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                per_channel=True,
            )
        return target.read_bytes()


class _Reader:
    """Hands calibration inputs to ONNX Runtime one by one."""

    def __init__(self, feeds: Iterable[dict[str, Array]]) -> None:
        self._rest = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._rest, None)


def _halved(content: bytes) -> bytes:
    """Store weights as float16 and cast them when the model is loaded; the arithmetic stays."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        name = weight.name
        halves = values.clip(*_HALF_RANGE).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(halves, f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=1))  # FLOAT
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    return bytes(model.SerializeToString(deterministic=True))


def _thinned(feeds: Feeds) -> list[dict[str, Array]]:
    return list(feeds[:: max(1, len(feeds) // _MOST)])
