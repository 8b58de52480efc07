"""Where time runs in a sequence model: which axis of which tensor, and how to set it free."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from convert.errors import ConvertError
from convert.onnx.baked import set_time_free
from convert.onnx.graph import (
    ancestors,
    constant,
    copy_of,
    dims,
    forget_shapes,
    free_dims,
    refuse_scalars,
    set_dims,
    spelled,
)
from convert.onnx.layout import time_first
from convert.onnx.measure import TIME, Values, noise, open_probe, run
from convert.onnx.rules import LENGTHS, X, recurrent, title

SHORT, LONG = 5, 7
"""Two lengths that are tried: what differs between them is time."""
Frames = Mapping[str, tuple[int, ...]]


class _OffTimeError(ConvertError):
    """The axis that was tried is not time's."""


class _MixedTimeError(ConvertError):
    """The axis is time's, but the steps do not arrive as they are."""


@dataclass(frozen=True)
class Timeline:
    """A model over any number of steps; all its other dimensions are fixed."""

    source: ModelProto
    """As it came, but for what had to be set free."""
    model: ModelProto
    """The same with layout=0."""
    inputs: Mapping[str, int]
    """Input to its time axis."""
    short: Values
    """Every tensor over SHORT steps of noise."""
    long: Values
    """Every tensor over LONG steps."""

    def axis(self, tensor: str) -> int | None:
        """Return the axis of a tensor along which time runs, if there is one."""
        pair = self.short[tensor].shape, self.long[tensor].shape
        return next((i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b), None)


def find_timeline(model: ModelProto, inputs: Sequence[str], frames: Frames, name: str) -> Timeline:
    """Find the time axis of every input by trying.

    Args:
        model: Checked by the rules.
        inputs: Those that a sequence enters by; all others are states.
        frames: Input to the shape of one frame, where the file does not fix it.
        name: Of the model, for messages.

    Raises:
        ConvertError: No choice of axes makes time run through every recurrent operator.
    """
    if not inputs:
        raise ConvertError(f"{name}: has no input that a sequence enters by; export it with one")
    refuse_scalars((value for value in model.graph.input if value.name in inputs), name)
    ranks = {value.name: len(dims(value)) for value in model.graph.input}
    refusals = []
    for axes in itertools.product(*(range(min(2, ranks[key])) for key in inputs)):
        try:
            return _try(model, dict(zip(inputs, axes, strict=True)), frames, name)
        except _MixedTimeError:
            raise
        except ConvertError as error:
            refusals.append(error)
    # An axis that is not time's fails in any way; what the right one has against it comes first.
    raise min(refusals, key=lambda error: isinstance(error, _OffTimeError))


def _try(model: ModelProto, axes: Mapping[str, int], frames: Frames, name: str) -> Timeline:
    source = _free(model, axes, frames, name)
    flat = time_first(source)
    session = open_probe(flat, name)
    feeds = [noise(flat, steps, axes) for steps in (SHORT, LONG)]
    short, long = (feed | run(session, feed, name) for feed in feeds)
    for node in recurrent(flat.graph):
        _check_arrival(node, len(short[node.input[X]]), len(long[node.input[X]]), ", ".join(axes))
        _check_lengths(node, short, long)
    return Timeline(source, flat, axes, short, long)


def _check_arrival(node: NodeProto, short: int, long: int, inputs: str) -> None:
    """Refuse a recurrent node that does not get as many steps as enter the model."""
    if short == long:
        raise _OffTimeError(
            f"{title(node)}: time does not reach it from the inputs {inputs} (axis 0 or 1); "
            "export the model so that its inputs are sequences"
        )
    if (short, long) != (SHORT, LONG):
        raise _MixedTimeError(
            f"{title(node)}: gets {long} steps where {LONG} enter, so what stands before it mixes "
            "steps; leave out convolution, pooling and strides over time"
        )


def _free(model: ModelProto, axes: Mapping[str, int], frames: Frames, name: str) -> ModelProto:
    """Return a model whose only free dimension is time."""
    model = copy_of(model)
    lengths: set[int] = set()
    for value in model.graph.input:
        if value.name in axes:
            size = dims(value)[axes[value.name]]
            lengths |= {size} if isinstance(size, int) else set()
            set_dims(value, _dims_over_time(value, axes[value.name], frames.get(value.name), name))
        else:
            set_dims(value, [size if isinstance(size, int) else 1 for size in dims(value)])
    forget_shapes(model.graph)
    _drop_lengths(model.graph, lengths)
    if len(lengths) == 1:
        set_time_free(model, lengths.pop(), axes, name)
    return model


def _dims_over_time(
    value: ValueInfoProto, axis: int, frame: tuple[int, ...] | None, name: str
) -> list[int | str]:
    """Return an input's shape with time free, the batch 1 unless fixed, and the frame as given."""
    found = list(dims(value))
    batch = 1 - axis
    if frame is not None:
        places = [i for i in range(len(found)) if i != axis]
        if len(places) == len(frame) + 1:
            places.remove(batch)
        clash = len(places) != len(frame) or any(
            isinstance(found[i], int) and found[i] != size
            for i, size in zip(places, frame, strict=False)
        )
        if clash:
            raise ConvertError(
                f"{name}: input {value.name!r} is {spelled(dims(value))}, a frame of "
                f"{list(frame)} does not fit; give the shape of one frame without time and batch"
            )
        for i, size in zip(places, frame, strict=True):
            found[i] = size
    found[axis] = TIME
    if len(found) > 1 and isinstance(found[batch], str):
        found[batch] = 1
    frame_dims = [size for i, size in enumerate(found) if i not in (axis, batch)]
    if any(isinstance(size, str) for size in frame_dims):
        raise free_dims(name, value, frame_dims)
    return found


def _drop_lengths(graph: GraphProto, lengths: set[int]) -> None:
    """Take constant sequence lengths away where they say: all of it."""
    for node in recurrent(graph):
        if len(node.input) <= LENGTHS or not node.input[LENGTHS]:
            continue
        value = constant(graph, node.input[LENGTHS])
        if value is not None and lengths == set(value.ravel().tolist()):
            node.input[LENGTHS] = ""
        elif value is not None or ancestors(graph, node.input[LENGTHS]) & {
            entry.name for entry in graph.input
        }:
            raise _variable(node)


def _check_lengths(node: NodeProto, short: Values, long: Values) -> None:
    """Refuse computed sequence lengths that are not always the whole length."""
    name = node.input[LENGTHS] if len(node.input) > LENGTHS else ""
    if not name:
        return
    if (short[name] != SHORT).any() or (long[name] != LONG).any():
        raise _variable(node)
    node.input[LENGTHS] = ""


def _variable(node: NodeProto) -> ConvertError:
    return ConvertError(
        f"{title(node)}: sequence_lens makes the length vary, and a live stream has no end; "
        "export the model without it, or bake it in with --constant where it is the whole length"
    )
