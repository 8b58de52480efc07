"""The one place that knows which operators are recurrent and what each becomes, `RULES`.

A new one is a function from `Call` to `Unrolled` under `@rule(torch.ops.mine.scan.default)`;
`recurrent.py` holds those of PyTorch's own layers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from convert.errors import ConvertError
from convert.torch.ops import GraphOps

States = tuple[Proxy, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a recurrent operator in the source, with what it was given for one frame."""

    layer: str
    """The module's path, `backbone.lstm`."""
    arguments: Mapping[str, Any]
    """By the operator's own names; tensors are the values they had."""
    again: Mapping[str, Any]
    """The same for another frame: what differs is no constant."""

    def initial(self, state: Tensor, other: Tensor) -> float:
        """Return the number that a state starts with everywhere.

        Raises:
            ConvertError: It starts with several, or with what the first frame says.
        """
        if not torch.equal(state, other):
            raise ConvertError(
                f"{self.layer}: its initial state is computed from the inputs, or by another "
                "recurrent layer; start from zeros"
            )
        if state.min() != state.max():
            raise ConvertError(
                f"{self.layer}: its initial state is learned, {state.min():.3g} to "
                f"{state.max():.3g}; start from zeros, or from one number, and train again"
            )
        return float(state.flatten()[0])


@dataclass(frozen=True, slots=True)
class Memory:
    """One state tensor of a layer."""

    suffix: str
    """Follows the layer's name: `h`, or `0_h` in a stack."""
    shape: tuple[int, ...]
    initial: float = 0.0


@dataclass(frozen=True, slots=True)
class Unrolled:
    """One step of a layer: what it keeps, and how it goes on."""

    states: tuple[Memory, ...]
    step: Callable[[GraphOps, Mapping[str, Proxy], States], tuple[Any, States]]
    """Of the tensor arguments by name and the states; gives what the operator gives for one
    frame, in the operator's shapes, and the next states."""
    detail: str
    """For a reader: units, gate order."""


Rule = Callable[[Call], Unrolled]
RULES: dict[Any, Rule] = {}
"""Operator to rule."""


def rule(operator: Any) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of an operator.

    Raises:
        ConvertError: It has one already.
    """

    def register(function: Rule) -> Rule:
        if operator in RULES:
            raise ConvertError(f"{operator}: has a rule already; remove one of the two")
        RULES[operator] = function
        return function

    return register


def rule_for(operator: Any, layer: str) -> Rule:
    """Return an operator's rule.

    Raises:
        ConvertError: It has none.
    """
    if found := RULES.get(operator):
        return found
    known = ", ".join(sorted(str(key) for key in RULES))
    raise ConvertError(
        f"{layer}: there is no rule for its operator {operator}, only for {known}; "
        "write one with @rule of convert/torch/rules.py"
    )
