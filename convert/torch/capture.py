"""Takes a model down as a graph: one frame to convert, and three to see what time does in it."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from convert.errors import ConvertError
from convert.model import SourceOptions
from convert.torch.load import first_line
from convert.torch.recurrent import refuse_projection
from convert.torch.trace import Trace, placeholders

MANY = 3
"""Frames that tell the time axis from the others, and its end from its beginning."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Capture:
    """A model as it was taken down."""

    one: Trace
    """For one frame."""
    many: Trace | None
    """For `MANY` frames; None where the file is made for one."""
    timed: frozenset[str]
    """Outputs, by place, with time on axis 1; the others are those of the last step."""
    frames: Shapes
    """Input to the shape of one frame."""
    run: Callable[..., Any] | None
    """The source itself for any number of frames, inputs by name; None where there is none."""


def capture_module(model: str, module: nn.Module, options: SourceOptions) -> Capture:
    """Take down a module whose forward takes (1, T, ...).

    Raises:
        ConvertError: It fails on the given shapes, on several frames, or cannot be exported.
    """
    frames = _frames(model, module, options)
    fixed = _fixed(model, module, options, frames)

    def given(steps: int) -> dict[str, Any]:
        return {name: torch.zeros(1, steps, *shape) for name, shape in frames.items()} | fixed

    timed = _timed(model, module, given, frames)
    traces = [_export(model, module, given(steps), options) for steps in (1, MANY)]
    return Capture(traces[0], traces[1], timed, frames, lambda **known: module(**(fixed | known)))


def by_place(answer: Any) -> dict[str, Any]:
    """Return the parts of an answer by where they stand in it: `y`, `0`, `1_0`; alone, ``."""
    leaves = pytree.tree_flatten_with_path(answer)[0]
    return {"_".join(_key(key) for key in path): leaf for path, leaf in leaves if leaf is not None}


@contextmanager
def hush_export() -> Iterator[None]:
    """Keep what torch.export says of torch's own layers and classes to itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*assigned during export")
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def _key(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _frames(model: str, module: nn.Module, options: SourceOptions) -> dict[str, tuple[int, ...]]:
    names = inspect.signature(module.forward).parameters
    known = [*options.shapes, *options.constants]
    if strange := [name for name in known if name not in names]:
        raise ConvertError(
            f"{model}: has no input {strange[0]!r}, its forward takes {', '.join(names)}; "
            "correct the name"
        )
    if not options.shapes:
        first = next(iter(names), "x")
        raise ConvertError(
            f"{model}: does not say how large a frame is; give the shape of one, "
            f"--shape {first}=3,64,64"
        )
    return {name: options.shapes[name] for name in names if name in options.shapes}


def _fixed(
    model: str, module: nn.Module, options: SourceOptions, frames: Shapes
) -> dict[str, Tensor | None]:
    """Return what forward needs beside the frames: constants, and states that start as zeros."""
    fixed: dict[str, Tensor | None] = {
        name: torch.as_tensor(value) for name, value in options.constants.items()
    }
    needed = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in fixed
        and name not in frames
    ]
    states = [shapes for layer in module.modules() if (shapes := _state_shapes(layer))]
    flat = [shape for shapes in states for shape in shapes]
    if len(needed) == len(flat):
        return fixed | {n: torch.zeros(s) for n, s in zip(needed, flat, strict=True)}
    if len(needed) == len(states):
        return fixed | dict.fromkeys(needed)  # a layer given None starts from zeros
    if needed:
        raise ConvertError(
            f"{model}: input {needed[0]!r} has no shape; give that of one frame, "
            f"--shape {needed[0]}=N,..."
        )
    return fixed


def _state_shapes(layer: nn.Module) -> list[tuple[int, ...]]:
    if isinstance(layer, nn.RNNBase):
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        return [(rows, 1, layer.hidden_size)] * (2 if isinstance(layer, nn.LSTM) else 1)
    if isinstance(layer, nn.RNNCellBase):
        return [(1, layer.hidden_size)] * (2 if isinstance(layer, nn.LSTMCell) else 1)
    return []


def _timed(
    model: str, module: nn.Module, given: Callable[[int], dict[str, Any]], frames: Shapes
) -> frozenset[str]:
    """Run the module on one frame and on several, and return which outputs grew."""
    one = by_place(_run(model, module, given(1), frames))
    try:
        many = by_place(_run(model, module, given(MANY), frames))
    except ConvertError as error:
        raise ConvertError(
            f"{model}: takes one frame but not {MANY}, {first_line(error.__cause__ or error)}; "
            "its forward must take a sequence (1, T, ...), which the conversion is compared with"
        ) from error
    timed = set()
    for name, value in one.items():
        grown = [axis for axis, (a, b) in enumerate(_pairs(value, many[name])) if a != b]
        if grown == [1] and many[name].shape[1] == MANY and value.shape[0] == 1:
            timed.add(name)
        elif grown:
            raise ConvertError(
                f"{model}: output {name or 'output'!r} is {list(many[name].shape)} for {MANY} "
                f"frames; outputs must be (1, T, ...) or those of the last step"
            )
    return frozenset(timed)


def _pairs(one: Tensor, many: Tensor) -> list[tuple[int, int]]:
    if one.dim() != many.dim():
        return [(0, 1)]
    return list(zip(one.shape, many.shape, strict=True))


def _run(model: str, module: nn.Module, given: Mapping[str, Any], frames: Shapes) -> Any:
    hooks = [
        layer.register_forward_pre_hook(_refuse_layer(name))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.RNNBase)
    ]
    try:
        with torch.no_grad():
            return module(**given)
    except ConvertError:
        raise
    except Exception as error:  # whatever the user's own code raises
        shapes = ", ".join(f"{name} {list(given[name].shape)}" for name in frames)
        first = next(iter(frames))
        raise ConvertError(
            f"{model}: its forward fails on {shapes} (batch, time, frame), {first_line(error)}; "
            f"give the shape of one frame, --shape {first}=..."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_layer(layer: str) -> Callable[[nn.Module, Any], None]:
    def check(module: nn.Module, given: Any) -> None:
        refuse_projection(layer, module.hidden_size, module.proj_size)
        if given and isinstance(given[0], nn.utils.rnn.PackedSequence):
            raise ConvertError(
                f"{layer}: reads packed sequences, whose lengths differ; a step has one frame, "
                "so give it the padded tensor itself"
            )

    return check


def _export(
    model: str, module: nn.Module, given: Mapping[str, Any], options: SourceOptions
) -> Trace:
    try:
        with hush_export(), torch.no_grad():
            program = torch.export.export(module, (), dict(given))
    except Exception as error:  # torch.export's errors share no narrower class
        raise ConvertError(
            f"{model}: torch.export cannot take it down, {first_line(error)}; "
            "leave out branches that depend on values"
        ) from error
    graph_module = program.module(check_guards=False)
    shapes = {n: tuple(v.shape) for n, v in given.items() if n in options.shapes and v is not None}
    return named_trace(graph_module, program.call_spec.out_spec, shapes, options)


def named_trace(
    graph_module: fx.GraphModule, structure: Any, shapes: Shapes, options: SourceOptions
) -> Trace:
    """Put constants into a graph and name its outputs.

    Args:
        graph_module: It is changed.
        structure: Of its answer, a pytree's.
        shapes: Input to its shape, (1, frames, ...).
        options: Of these count constants.
    """
    for node in placeholders(graph_module):
        if (value := options.constants.get(node.target)) is not None:
            name = f"constant_{node.name}"
            graph_module.register_buffer(name, torch.as_tensor(value))
            with graph_module.graph.inserting_after(node):
                node.replace_all_uses_with(graph_module.graph.get_attr(name))
    graph_module.graph.eliminate_dead_code()
    answer = next(iter(reversed(graph_module.graph.nodes))).args[0]
    places = by_place(pytree.tree_unflatten(list(pytree.tree_leaves(answer)), structure))
    outputs = tuple((place, node) for place, node in places.items() if isinstance(node, fx.Node))
    return Trace(graph_module, shapes, outputs)
