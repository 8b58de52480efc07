"""The source's own answer to a whole sequence: what the step networks are compared with."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from convert.errors import ConvertError
from convert.model import Sequences
from convert.torch.capture import Capture, by_place
from convert.torch.plan import Plan
from convert.torch.trace import STATE, arguments, layer_of, placeholders
from edge.types import Array

PREFIXES = 64
"""Steps at which a model that gives only its last step's output is asked for it."""


def forward(capture: Capture, plan: Plan, sequence: Sequences) -> dict[str, Array]:
    """Return every output of the source over a sequence, from a fresh state.

    Args:
        capture: The source.
        plan: What its outputs are called.
        sequence: Every input, (steps, 1, ...), float32.

    Returns:
        Every output, (steps, 1, ...). Of a source that gives its last step alone, at most
        `PREFIXES` steps, evenly spread to the end: each costs a run over all before it. The
        other rows are NaN.
    """
    frames = {
        name: torch.as_tensor(np.ascontiguousarray(np.swapaxes(sequence[name], 0, 1)))
        for name in capture.frames
    }  # (1, steps, ...)
    with torch.no_grad():
        if capture.run is None:
            return _frame_by_frame(plan, frames)
        return _whole(capture.run, plan, frames)


def _whole(run: Callable[..., Any], plan: Plan, frames: Mapping[str, Tensor]) -> dict[str, Array]:
    steps = next(iter(frames.values())).shape[1]
    answer = by_place(run(**frames))
    results = {}
    for name, place in plan.places.items():
        shape = (steps, *plan.shape(name))
        if name in plan.timed:
            results[name] = answer[place].reshape(shape).numpy()
        else:
            results[name] = np.full(shape, np.nan, np.float32)
    if last := results.keys() - plan.timed:
        for end in np.unique(np.linspace(0, steps - 1, min(steps, PREFIXES)).round().astype(int)):
            answer = by_place(run(**{name: v[:, : end + 1] for name, v in frames.items()}))
            for name in last:
                results[name][end] = answer[plan.places[name]].reshape(plan.shape(name)).numpy()
    return results


def check_repeatable(plan: Plan) -> None:
    """Refuse a file made for one frame whose layers cannot be asked for the next one.

    Raises:
        ConvertError: A layer takes no state.
    """
    for node in plan.layers:
        if STATE not in arguments(node):
            raise ConvertError(
                f"{layer_of(node)}: takes no state, and the file is made for one frame, so nothing "
                "can be compared; export it with a free time axis, torch.export.Dim"
            )


class _Carrying(fx.Interpreter):
    """Runs a one-frame graph; torch's own recurrent operators get the state they last gave."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.trace.graph_module, garbage_collect_values=False)
        self._plan = plan
        self._kept: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; fx calls this."""
        if n not in self._plan.layers:
            return super().run_node(n)
        given = {
            name: fx.node.map_arg(value, lambda node: self.env[node])
            for name, value in arguments(n).items()
        }
        given[STATE] = self._kept.get(n, given[STATE])
        found = n.target(**given)
        several = isinstance(given[STATE], list | tuple)
        states = found[-2:] if several else (found[-1:] if isinstance(found, tuple) else (found,))
        self._kept[n] = list(states) if several else states[0]
        return found


def _frame_by_frame(plan: Plan, frames: Mapping[str, Tensor]) -> dict[str, Array]:
    source = _Carrying(plan)
    steps = next(iter(frames.values())).shape[1]
    results: dict[str, list[Array]] = {name: [] for name in plan.outputs}
    for step in range(steps):
        given = [
            frames[node.target][:, step : step + 1]
            if node.target in frames
            else plan.trace.sample(node)
            for node in placeholders(plan.trace.graph_module)
        ]
        source.run(*given, enable_io_processing=False)
        for name, node in plan.outputs.items():
            results[name].append(source.env[node].reshape(plan.shape(name)).numpy())
    return {name: np.stack(rows) for name, rows in results.items()}
