"""Proof that one step at a time is the sequence: every tensor of the two is compared.

What mixes time in any other way than by a state (convolution, pooling or attention over time, the
number of the step) differs, and the first node where it does is the one to name.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto

from convert.errors import ConvertError
from convert.onnx.measure import open_probe, run
from convert.onnx.rules import title
from convert.onnx.timeline import LONG, Timeline
from edge.manifest import StateTensor
from edge.types import Array

_SLACK = 1e-3
"""Of the largest value: one step may round differently, mixing differs by far more."""


def check_steps(
    timeline: Timeline, model: ModelProto, states: Sequence[StateTensor], name: str
) -> None:
    """Refuse a model that computes something else step by step than over the sequence.

    Args:
        timeline: The sequence.
        model: The same graph with its states exposed.
        states: Of `model`.
        name: Of the model, for messages.

    Raises:
        ConvertError: A node mixes time, or does not run with one step.
    """
    session = open_probe(model, name)
    state = {s.input: np.full(s.shape, s.initial, s.dtype) for s in states}
    for step in range(LONG):
        frame = {
            key: np.take(timeline.long[key], [step], axis) for key, axis in timeline.inputs.items()
        }
        found = run(session, frame | state, name)
        state = {s.input: found[s.output] for s in states}
        _compare(timeline, model, found, step)


def _compare(timeline: Timeline, model: ModelProto, found: Mapping[str, Array], step: int) -> None:
    for node in model.graph.node:
        for output in node.output:
            if output not in found or output not in timeline.long:
                continue
            wanted = _at(timeline, output, step)
            if wanted is not None and not _alike(found[output], wanted):
                raise ConvertError(
                    f"{title(node)}: mixes or counts the steps of a sequence other than by a "
                    f"state, step {step} alone gives another result; "
                    "train a recurrent layer in its place"
                )


def _at(timeline: Timeline, tensor: str, step: int) -> Array | None:
    """Return what a tensor of the sequence says of one step; None where it does not tell."""
    value = timeline.long[tensor]
    if value.dtype.kind != "f":  # shapes are integers, and they may differ
        return None
    axis = timeline.axis(tensor)
    if axis is None:
        return value if step == LONG - 1 else None  # the last step's, or the same at every step
    return np.take(value, [step], axis) if value.shape[axis] == LONG else None


def _alike(found: Array, wanted: Array) -> bool:
    slack = _SLACK * max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return found.shape == wanted.shape and np.allclose(
        found, wanted, rtol=0.0, atol=slack, equal_nan=True
    )
