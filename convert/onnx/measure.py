"""What the tensors of a graph really are: the graph is run, and every tensor is an output."""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, ValueInfoProto

from convert.errors import ConvertError
from convert.interpreters import one_line, open_content
from convert.onnx.graph import copy_of, dims, dtype_of
from edge.backends import Session
from edge.errors import BackendError
from edge.types import Array

TIME = "time"
"""The name of the free dimension."""
Values = Mapping[str, Array]


def open_probe(model: ModelProto, name: str) -> Session:
    """Open a model with every tensor of its main graph as an output.

    Args:
        model: Left as it is.
        name: For messages.

    Raises:
        ConvertError: The interpreter refuses it.
    """
    probe = copy_of(model)
    known = {value.name for value in probe.graph.output}
    for node in probe.graph.node:
        new = [output for output in node.output if output and output not in known]
        probe.graph.output.extend(ValueInfoProto(name=output) for output in new)
    return open_content(probe.SerializeToString(), "onnx", name)


def run(session: Session, feed: Values, name: str) -> dict[str, Array]:
    """Run a model; whatever the runtime has against it becomes one line.

    Args:
        session: Of the model.
        feed: Every input.
        name: Of the model, for messages.

    Returns:
        Copies.

    Raises:
        ConvertError: It does not run.
    """
    try:
        results = session.run(feed)
    except BackendError:
        raise
    except Exception as error:  # the runtime's errors share no narrower class
        raise ConvertError(
            f"{name}: does not run, {one_line(error)}; export it again with a free time dimension"
        ) from error
    return {key: np.array(value) for key, value in results.items() if isinstance(value, np.ndarray)}


def noise(model: ModelProto, steps: int, timed: Mapping[str, int]) -> dict[str, Array]:
    """Return values for every input: noise where time runs, zeros in states.

    Args:
        model: All dimensions fixed but `TIME`.
        steps: The length of the sequence.
        timed: Input to its time axis.
    """
    random = np.random.default_rng(0)
    feed: dict[str, Array] = {}
    for value in model.graph.input:
        shape = [steps if size == TIME else int(size) for size in dims(value)]
        dtype = dtype_of(value)
        feed[value.name] = np.zeros(shape, dtype)
        if value.name in timed and dtype.kind == "f":
            feed[value.name] = random.normal(size=shape).astype(dtype)
        elif value.name in timed and dtype == np.uint8:
            feed[value.name] = random.integers(0, 256, shape, dtype)
    return feed
