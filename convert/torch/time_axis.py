"""Refuses what mixes time other than recurrently, by following the axes that grow with frames."""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from convert.errors import ConvertError
from convert.torch.rules import RULES
from convert.torch.trace import Trace, arguments, kind_of, layer_of

_aten = torch.ops.aten
_COPIES = {_aten.contiguous.default, _aten.clone.default}
"""Operators that PyTorch calls for some lengths and not for others."""
_LOCAL = ("conv", "pool", "unfold", "upsample", "group_norm", "instance_norm")
"""Operators that work along the axes behind batch and channels."""
_ALONG = ("softmax", "cum", "flip", "roll", "sort", "diff")
"""Operators that work along the axes that they name."""
_ATTENTION = ("scaled_dot_product", "native_multi_head")
_PLACED = ("slice", "arange", "linspace", "index", "embedding")
"""Operators that make something of its own for every place, out of no frame."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One operator in the graphs for one frame and for several."""

    node: fx.Node
    """In the graph for several."""
    before: tuple[int, ...]
    """Its output's shape for one frame."""
    after: tuple[int, ...]
    """And for several."""
    inputs: tuple[int, ...]
    """The axes that grow in the one of its inputs that has most of them."""
    tensor: bool
    """It gives one tensor, not several."""

    @property
    def grown(self) -> tuple[int, ...]:
        """The axes of its output that grow."""
        return _grown(self.before, self.after)

    def is_a(self, *words: str) -> bool:
        """Say whether the operator's name holds one of these words."""
        return any(word in str(self.node.target) for word in words)


def check_time(one: Trace, many: Trace, frames: int) -> None:
    """Refuse a layer that looks at several frames at once and is not recurrent.

    A source that loops over time itself has another graph for every length: there, only the
    comparison of results can tell.

    Args:
        one: For one frame.
        many: The same for several.
        frames: How many.

    Raises:
        ConvertError: Naming the layer.
    """
    calls = list(zip(_working(one), _working(many), strict=False))
    if len(_working(one)) != len(_working(many)) or any(a.target != b.target for a, b in calls):
        return
    grown: dict[fx.Node, tuple[int, ...]] = {
        node: (1,) for node in many.nodes if node.op == "placeholder" and node.target in many.inputs
    }
    for a, b in calls:
        given = [grown.get(_original(node), ()) for node in b.all_input_nodes]
        inputs = max(given, key=len, default=())
        shapes = one.shapes.get(a, ()), many.shapes.get(b, ())
        pair = _Pair(b, *shapes, inputs, b in many.shapes)
        recurrent = b.target in RULES
        # Where an operator gives several tensors, its inputs stand for it.
        grown[b] = pair.grown if pair.tensor or recurrent else inputs
        problem = _misread(pair, grown) if recurrent else _mixing(pair, frames)
        if problem:
            source = b.args[0] if b.target is operator.getitem else b
            raise ConvertError(
                f"{layer_of(source)}: {problem} ({kind_of(source)}); only recurrent layers and "
                "WindowAttention may see more than one frame"
            )


def _working(trace: Trace) -> list[fx.Node]:
    return [node for node in trace.calls if node.target not in _COPIES]


def _original(node: fx.Node) -> fx.Node:
    while node.target in _COPIES:
        node = node.args[0]
    return node


def _grown(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    if len(before) != len(after):
        return ()
    return tuple(i for i, (m, n) in enumerate(zip(before, after, strict=True)) if m != n)


def _misread(pair: _Pair, grown: dict[fx.Node, tuple[int, ...]]) -> str:
    """Return what is wrong with the way in which a recurrent operator is given the frames."""
    given = arguments(pair.node)
    if "query" in given:
        axis, source = 2, given["query"]
    elif "num_layers" in given:
        axis, source = (1 if given["batch_first"] else 0), given["input"]
    else:
        return "is called once for all frames, not once a frame"
    found = grown.get(_original(source), ())
    if found == (axis,):
        return ""
    where = f"they stand on axis {found[0]}" if found else "it is given none of them"
    return f"reads the frames along axis {axis}, but {where}"


def _mixing(pair: _Pair, frames: int) -> str:
    """Return how an operator that is not recurrent mixes frames, or nothing."""
    if not pair.inputs:
        placed = bool(pair.grown) and pair.is_a(*_PLACED)
        return "gives every step something of its own place" if placed else ""
    return _mixing_kind(pair) or _mixing_shape(pair, frames)


def _mixing_kind(pair: _Pair) -> str:
    if pair.is_a(*_ATTENTION) or (pair.is_a(*_LOCAL) and max(pair.inputs) > 1):
        return "works over time"
    if pair.is_a(*_ALONG) and set(pair.inputs) & _named_axes(pair):
        return "runs along time"
    return ""


def _mixing_shape(pair: _Pair, frames: int) -> str:
    if len(pair.grown) > len(pair.inputs):
        return "compares the frames with each other"
    if any(pair.after[axis] != frames * pair.before[axis] for axis in pair.grown):
        return f"makes {list(pair.before)} of one frame and {list(pair.after)} of {frames}"
    if pair.tensor and not pair.grown and not _takes_last(pair, frames):
        return "makes one value of all frames"
    return ""


def _takes_last(pair: _Pair, frames: int) -> bool:
    given = arguments(pair.node)
    if pair.node.target is _aten.select.int:
        return given["index"] in (-1, frames - 1)
    if pair.node.target is _aten.slice.Tensor:
        return given["start"] in (-1, frames - 1)
    return False


def _named_axes(pair: _Pair) -> set[int]:
    given: Any = arguments(pair.node)
    named = given.get("dim", given.get("dims", ()))
    rank = len(pair.after)
    return {axis % rank for axis in (named if isinstance(named, list | tuple) else [named])}
