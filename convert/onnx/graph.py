"""An ONNX file as a graph: read and checked, inputs made constant, tensors renamed, dead parts cut.

Functions that are named after a deed change the model they are given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper
from onnx.checker import ValidationError

from convert.errors import ConvertError
from convert.interpreters import one_line
from edge.types import Array

Dims = tuple[int | str, ...]
"""A name or an empty string where a dimension is free."""


def load(path: Path) -> ModelProto:
    """Read a model, with its functions written out and no weight among its inputs.

    Raises:
        ConvertError: The file is missing, damaged, empty, or holds NaN.
    """
    try:
        model = onnx.load(path)
        if any(isinstance(v.name, bytes) for v in (*model.graph.input, *model.graph.output)):
            raise ValueError("a name in it is no text")
        broken = [name for name, value in weights(model.graph) if _is_broken(value)]
    except OSError as error:
        raise ConvertError(
            f"{path}: cannot be read, {error.strerror}; name a model file"
        ) from error
    except (DecodeError, ValueError, TypeError, KeyError, ValidationError) as error:
        raise ConvertError(
            f"{path}: is no ONNX file or a damaged one, {one_line(error)}; export it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ConvertError(f"{path}: is empty or no ONNX file; export it again")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    if broken:
        raise ConvertError(
            f"{path.name}: weight {broken[0]!r} holds NaN; train the model again or export another "
            "checkpoint"
        )
    stored = {tensor.name for tensor in model.graph.initializer}
    keep(model.graph.input, lambda value: value.name not in stored)
    return model


def _is_broken(value: Array) -> bool:
    return value.dtype.kind == "f" and bool(np.isnan(value).any())


def weights(graph: GraphProto) -> Iterator[tuple[str, Array]]:
    """Yield every constant by name, those of subgraphs too."""
    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node.output[0], numpy_helper.to_array(attribute.t)
            if attribute.HasField("g"):
                yield from weights(attribute.g)


def bake(model: ModelProto, constants: Mapping[str, Array], name: str) -> None:
    """Make inputs constants.

    Args:
        model: Changed.
        constants: Input name to value.
        name: Of the model, for messages.

    Raises:
        ConvertError: There is no such input, or the value does not fit it.
    """
    inputs = {value.name: value for value in model.graph.input}
    for key, value in constants.items():
        if key not in inputs:
            raise ConvertError(
                f"{name}: has no input {key!r} that could become a constant; "
                f"it has {', '.join(inputs)}"
            )
        wanted = dims(inputs[key])
        fits = len(wanted) == value.ndim and all(
            size in (found, 0) or isinstance(size, str)
            for size, found in zip(wanted, value.shape, strict=True)
        )
        if not fits:
            raise ConvertError(
                f"{name}: constant {key!r} has shape {list(value.shape)}, the input is "
                f"{spelled(wanted)}; give it in that shape"
            )
        dtype = dtype_of(inputs[key])
        model.graph.initializer.append(numpy_helper.from_array(value.astype(dtype), key))
    keep(model.graph.input, lambda value: value.name not in constants)


def constant(graph: GraphProto, name: str) -> Array | None:
    """Return the value of a tensor that is a constant of the graph itself, else None."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            value = helper.get_attribute_value(node.attribute[0])
            return (
                numpy_helper.to_array(value) if node.attribute[0].HasField("t") else np.array(value)
            )
    return None


def dims(value: ValueInfoProto) -> Dims:
    """Return the shape that a graph says its input or output has."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param
        for dim in value.type.tensor_type.shape.dim
    )


def dtype_of(value: ValueInfoProto) -> np.dtype[Any]:
    """Return the type of an input's or output's elements.

    Raises:
        ConvertError: It holds no numbers.
    """
    element = value.type.tensor_type.elem_type
    try:
        return helper.tensor_dtype_to_np_dtype(element)
    except KeyError as error:
        raise ConvertError(
            f"tensor {value.name!r}: has the element type {element}, which is no number; "
            "export the model with numeric tensors"
        ) from error


def spelled(shape: Dims) -> str:
    """Return a shape as messages show it: [?, 3, height]."""
    return f"[{', '.join(str(size) or '?' for size in shape)}]"


def free_dims(name: str, value: ValueInfoProto, frame: Sequence[int | str]) -> ConvertError:
    """Return the refusal of an input whose frame has no fixed shape."""
    example = ",".join(str(size) if isinstance(size, int) else "N" for size in frame)
    return ConvertError(
        f"{name}: input {value.name!r} has free dimensions, {spelled(dims(value))}; "
        f"give the shape of one frame, --shape {value.name}={example}"
    )


def refuse_scalars(values: Iterable[ValueInfoProto], name: str) -> None:
    """Refuse inputs without any axis, which cannot be a frame.

    Raises:
        ConvertError: There is one.
    """
    for value in values:
        if not dims(value):
            raise ConvertError(
                f"{name}: input {value.name!r} is a single {dtype_of(value).name}, no frame; "
                f"give it once and for all, --constant {value.name}=VALUE"
            )


def set_dims(value: ValueInfoProto, shape: Sequence[int | str]) -> None:
    """Give an input or output another shape; a string is the name of a free dimension."""
    element = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, element, list(shape)))


def forget_shapes(graph: GraphProto) -> None:
    """Drop every shape that the graph only repeats; the interpreter infers them anew."""
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")


def rename(graph: GraphProto, old: str, new: str) -> None:
    """Give a tensor another name everywhere but among the inputs and outputs of the graph."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename(attribute.g, old, new)


def prune(graph: GraphProto, wanted: set[str]) -> None:
    """Drop every node, constant and input that no output depends on.

    Args:
        graph: Changed.
        wanted: Inputs that stay in any case.
    """
    needed = {value.name for value in graph.output}
    alive = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(reads(node))
            alive.append(node)
    replace(graph.node, reversed(alive))
    keep(graph.initializer, lambda tensor: tensor.name in needed)
    keep(graph.input, lambda value: value.name in needed | wanted)


def reads(node: NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, those of its subgraphs too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from reads(inner)
        yield from (value.name for value in attribute.g.output)


def ancestors(graph: GraphProto, name: str) -> set[str]:
    """Return all tensors that a tensor's value depends on; a mere shape is no dependence."""
    found = {name}
    for node in reversed(graph.node):
        if node.op_type not in ("Shape", "Size") and found & set(node.output):
            found |= set(reads(node))
    return found


def keep(field: Any, wanted: Callable[[Any], bool]) -> None:
    """Drop what is not wanted from a list of messages."""
    replace(field, [message for message in field if wanted(message)])


def replace(field: Any, messages: Iterable[Any]) -> None:
    """Put other messages into a list of messages; they may be some of its own."""
    messages = list(messages)
    del field[:]
    field.extend(messages)


def copy_of(model: ModelProto) -> ModelProto:
    """Return a model that can be changed without the other."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def opset(model: ModelProto) -> int:
    """Return the version of the standard operators."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def attribute_of(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return a node's attribute, decoded where it is text."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default
