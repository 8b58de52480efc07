"""ONNX files that are steps: which ones are, and their shapes fixed."""

from collections.abc import Iterable
from pathlib import Path

from onnx import ModelProto, ValueInfoProto, shape_inference

from convert.errors import ConvertError
from convert.interpreters import open_content
from convert.model import SourceOptions
from convert.onnx.branches import take_branches
from convert.onnx.graph import (
    attribute_of,
    bake,
    copy_of,
    dims,
    forget_shapes,
    free_dims,
    load,
    refuse_scalars,
    set_dims,
    spelled,
)
from convert.onnx.measure import noise, run
from convert.onnx.rules import X, holds_recurrence, recurrent
from convert.state_pairs import find_pairs
from edge.types import TensorSpec


def fixed_step(path: Path, options: SourceOptions) -> bytes:
    """Return a step model with its constants baked in and every shape fixed.

    Args:
        path: The file.
        options: `constants` and `shapes` count.

    Raises:
        ConvertError: It is damaged, does not run, or leaves dimensions free.
        BackendError: ONNX Runtime is not installed.
    """
    model = load(path)
    bake(model, options.constants, path.name)
    take_branches(model)
    refuse_scalars(model.graph.input, path.name)
    for value in model.graph.input:
        set_dims(value, _fixed(value, options.shapes.get(value.name), path.name))
    forget_shapes(model.graph)
    session = open_content(model.SerializeToString(), "onnx", path.name)
    found = run(session, noise(model, 1, {}), path.name)
    for value in model.graph.output:
        set_dims(value, found[value.name].shape)
    return bytes(model.SerializeToString())


def is_step(path: Path, options: SourceOptions) -> bool:
    """Say whether a model is a step already; if not, it is one of sequences.

    A step's recurrent operators, where it has any, see one frame of time and no more.

    Raises:
        ConvertError: It is damaged, or neither.
    """
    if options.states:
        return True
    model = load(path)
    bake(model, options.constants, path.name)
    take_branches(model)
    exposes = bool(find_pairs(_specs(model.graph.input), _specs(model.graph.output)))
    if not exposes and not holds_recurrence(model):
        raise ConvertError(
            f"{path.name}: holds no recurrent layer and exposes no state; give --state IN=OUT"
        )
    return exposes and all(size in (0, 1) for size in _times(model))


def _fixed(value: ValueInfoProto, frame: tuple[int, ...] | None, name: str) -> list[int]:
    """Return the shape of an input: the batch is 1, the rest fixed by the file or by `frame`."""
    found = dims(value)
    free = [i for i, size in enumerate(found) if isinstance(size, str)]
    given = list(found)
    if frame is not None:
        offset = len(found) - len(frame)
        given[max(offset, 0) :] = frame
        if offset not in (0, 1) or any(
            given[i] != size for i, size in enumerate(found) if i not in free
        ):
            raise ConvertError(
                f"{name}: input {value.name!r} is {spelled(found)}, a frame of {list(frame)} "
                "does not fit; give the shape of one frame without batch"
            )
    elif len(free) == 1:
        given[free[0]] = 1
    if isinstance(given[0], str):
        given[0] = 1
    if any(isinstance(size, str) for size in given):
        raise free_dims(name, value, found[1:])
    return [int(size) for size in given]


def _times(model: ModelProto) -> list[int]:
    """Return over how many steps each recurrent operator runs: 0 if unknown, -1 if free."""
    model = copy_of(model)
    for value in model.graph.input:
        set_dims(value, [size or f"{value.name}_{i}" for i, size in enumerate(dims(value))])
    try:
        known = shape_inference.infer_shapes(model, data_prop=True).graph
    except shape_inference.InferenceError:  # a shape in the file is wrong; running it will tell
        known = model.graph
    shapes = {value.name: dims(value) for value in (*known.value_info, *known.input)}
    times = []
    for node in recurrent(known):
        shape = shapes.get(node.input[X], ())
        place = attribute_of(node, "layout", 0)
        size = shape[place] if place < len(shape) else 0
        times.append(size if isinstance(size, int) else -1 if size else 0)
    return times


def _specs(values: Iterable[ValueInfoProto]) -> dict[str, TensorSpec]:
    specs = {}
    for value in values:
        shape = tuple(size if isinstance(size, int) else -1 for size in dims(value))
        element = value.type.tensor_type.elem_type
        specs[value.name] = TensorSpec(value.name, shape, f"{element}")
    return specs
