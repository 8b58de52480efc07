"""Takes down a `.pt2` file of torch.export: a graph already, for the shapes it was made for."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from convert.errors import ConvertError
from convert.model import SourceOptions
from convert.torch.capture import MANY, Capture, Shapes, hush_export, named_trace
from convert.torch.load import first_line
from convert.torch.trace import Trace, is_state_only, placeholders, specialise


def capture_program(path: Path, options: SourceOptions) -> Capture:
    """Take down a `.pt2` file, made for one frame or for any number.

    Raises:
        ConvertError: It cannot be read, or is made for another number of frames.
    """
    program = _read(path)
    source = program.module(check_guards=False)
    structure = program.call_spec.out_spec
    shapes = _program_shapes(path, source, options)
    free = any(
        isinstance(size, torch.SymInt)
        for node in placeholders(source)
        for size in _size(node)[1:2]
        if node.target in shapes
    )
    counts = (1, MANY) if free else (1,)
    traces = [_recut(source, structure, shapes, count, options) for count in counts]
    timed = _timed_by_shape(traces)
    if not free:
        return Capture(traces[0], None, timed, shapes, None)
    fixed = {name: torch.as_tensor(value) for name, value in options.constants.items()}
    return Capture(traces[0], traces[1], timed, shapes, _runner(source, structure, fixed))


def _runner(source: fx.GraphModule, structure: Any, fixed: dict[str, Tensor]) -> Callable[..., Any]:
    def run(**frames: Tensor) -> Any:
        known = fixed | frames
        given = [
            known[node.target] if node.target in known else torch.zeros(_smallest(node))
            for node in placeholders(source)
        ]
        found = fx.Interpreter(source).run(*given, enable_io_processing=False)
        return pytree.tree_unflatten(list(pytree.tree_leaves(found)), structure)

    return run


def _read(path: Path) -> torch.export.ExportedProgram:
    try:
        with hush_export():
            return torch.export.load(path)
    except FileNotFoundError:
        raise ConvertError(f"{path}: there is no such file; correct the path") from None
    except Exception as error:  # torch.export.load lets its readers' own errors through
        raise ConvertError(
            f"{path}: cannot be read, {first_line(error)}; write it with torch.export.save"
        ) from error


def _size(node: fx.Node) -> tuple[Any, ...]:
    example = node.meta.get("val")
    return tuple(example.shape) if isinstance(example, Tensor) else ()


def _smallest(node: fx.Node) -> tuple[int, ...]:
    return tuple(1 if isinstance(length, torch.SymInt) else length for length in _size(node))


def _program_shapes(path: Path, source: fx.GraphModule, options: SourceOptions) -> Shapes:
    """Return the shape of one frame of every input of a file."""
    shapes = {}
    for node in placeholders(source):
        name, size = node.target, _size(node)
        if name in options.constants or is_state_only(node) or not node.users:
            continue
        for axis, (what, found) in enumerate(zip(("row", "frame"), size, strict=False)):
            if not isinstance(found, torch.SymInt) and found != 1:
                raise ConvertError(
                    f"{path}: input {name!r} is made for {found} {what}s (axis {axis}) and cannot "
                    f"be cut into steps; export it with one {what}"
                )
        frame = options.shapes.get(name, size[2:])
        if any(isinstance(length, torch.SymInt) for length in frame):
            raise ConvertError(
                f"{path}: input {name!r} takes frames of any size; give one, --shape {name}=..."
            )
        shapes[name] = tuple(int(length) for length in frame)
    return shapes


def _recut(
    source: fx.GraphModule, structure: Any, frames: Shapes, count: int, options: SourceOptions
) -> Trace:
    with hush_export():
        graph_module = copy.deepcopy(source)
    shapes = {name: (1, count, *frame) for name, frame in frames.items()}
    others = {node.target: _smallest(node) for node in placeholders(graph_module)}
    specialise(graph_module, others | shapes)
    return named_trace(graph_module, structure, shapes, options)


def _timed_by_shape(traces: list[Trace]) -> frozenset[str]:
    shapes = [{name: trace.shapes[node] for name, node in trace.outputs} for trace in traces]
    if len(shapes) > 1:
        return frozenset(n for n, s in shapes[0].items() if s[1:2] != shapes[1][n][1:2])
    return frozenset(n for n, s in shapes[0].items() if len(s) > 2 and math.prod(s[:2]) == 1)
