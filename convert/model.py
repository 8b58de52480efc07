"""What every kind of source gives the rest of the converter: one protocol and what it speaks of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge.manifest import Kind, NetworkFormat, Role, StateTensor
from edge.types import Array, TensorSpec

FREE = -1
"""Any number of rows."""
Sequences = Mapping[str, Array]
"""Tensor name to values over time, (steps, 1, ...): a batch of one at every step."""


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a file cannot say of itself, or is not believed."""

    weights: Path | None = None
    """A state_dict for a PyTorch class or factory."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Input name to the shape of one frame, (3, 64, 64); where the source does not fix it."""
    states: Mapping[str, str] = field(default_factory=dict)
    """State input to state output, for step models whose names do not tell."""
    constants: Mapping[str, Array] = field(default_factory=dict)
    """Inputs that have one value for good and leave the model."""
    trusted: bool = False
    """Pickles and Lambda layers may run the code that is in them."""
    fuse: bool = False
    """Encoder and step become one network."""


@dataclass(frozen=True, slots=True)
class LayerNote:
    """What one layer of the source becomes; a line of `--explain`."""

    name: str
    kind: str
    """Its class or operator."""
    role: Role
    """The network that it becomes a part of."""
    detail: str = ""
    """For a recurrent layer: units, gate order, what its states are."""


class SourceModel(Protocol):
    """A trained model, opened, checked and taken apart into one step.

    Invariant: nothing about it is refused any more but what only running it can show.
    """

    @property
    def kind(self) -> Kind:
        """What it becomes."""

    @property
    def framework(self) -> str:
        """Its name and version, `keras 3.15.1`."""

    @property
    def layers(self) -> Sequence[LayerNote]:
        """What it is made of."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Of one step, without states: shape (1, ...)."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Of one step, without states: shape (1, ...)."""

    @property
    def states(self) -> tuple[StateTensor, ...]:
        """Shape (1, ...); names, input names and output names are unique in the model."""

    @property
    def roles(self) -> Sequence[Role]:
        """The networks it becomes, in the order in which they run; the last holds the states."""

    @property
    def formats(self) -> Sequence[NetworkFormat]:
        """What it can be written as."""

    @property
    def batched(self) -> Sequence[NetworkFormat]:
        """The formats that it can write for several rows; ONNX else runs them one by one."""

    def forward(self, sequence: Sequences) -> dict[str, Array]:
        """Return the source's own answer to a whole sequence, from a fresh state.

        This is the framework running its own layers over time, not a loop over our step: it is
        what the converted model is compared with.

        Args:
            sequence: Every input, (steps, 1, ...); float32, or for an integer tensor of the
                source what that tensor stores.

        Returns:
            Every output, (steps, 1, ...), real values. Rows of NaN were not computed.
        """

    def network(self, role: Role, fmt: NetworkFormat, rows: int = 1) -> bytes:
        """Return one network as a file, float32, builtin operators only.

        Inputs and outputs carry the names above; features that the encoder hands to the step have
        the same name on both sides.

        Args:
            role: One of `roles`.
            fmt: One of `formats`.
            rows: The first dimension of every tensor: 1, or for a state per track another number,
                or FREE for ONNX.

        Raises:
            ConvertError: It cannot be written so.
        """
