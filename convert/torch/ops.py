"""The operations of `convert.cells`, written into a torch graph."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx
from torch.fx import Proxy
from torch.nn import functional


class GraphOps:
    """Appends every operation to a graph; weights are tensors now and constants of the graph."""

    def __init__(self, graph: fx.Graph) -> None:
        """Write into a graph.

        Args:
            graph: Its placeholders are already there.
        """
        self._graph = graph
        self._tracer = fx.proxy.GraphAppendingTracer(graph)
        self.constants: dict[str, Tensor] = {}
        """What the graph's `get_attr` nodes name."""

    def proxy(self, node: fx.Node) -> Proxy:
        """Return a node as a value to compute with."""
        return Proxy(node, self._tracer)

    def constant(self, value: Tensor) -> Proxy:
        """Add a tensor that is the same at every step."""
        name = f"weight_{len(self.constants)}"
        self.constants[name] = value.detach().contiguous()
        return self.proxy(self._graph.get_attr(name))

    def linear(self, value: Proxy, kernel: Tensor, bias: Tensor | None) -> Proxy:
        """Return value @ kernel + bias: (1, inputs), (inputs, outputs), (outputs,)."""
        added = None if bias is None else self.constant(bias)
        return functional.linear(value, self.constant(kernel.t()), added)

    def split(self, value: Proxy, parts: int) -> Sequence[Proxy]:
        """Cut the last axis into equal parts."""
        pieces = torch.chunk(value, parts, dim=-1)
        return [pieces[index] for index in range(parts)]

    def concat(self, values: Sequence[Proxy], axis: int) -> Proxy:
        """Join along one axis."""
        return torch.cat(values, dim=axis)

    def matmul(self, left: Proxy, right: Proxy, transpose_right: bool = False) -> Proxy:
        """Multiply the matrices in the last two axes."""
        return torch.matmul(left, right.transpose(-1, -2) if transpose_right else right)

    def softmax(self, value: Proxy) -> Proxy:
        """Normalise over the last axis."""
        return torch.softmax(value, dim=-1)

    def sigmoid(self, value: Proxy) -> Proxy:
        """Return the logistic function."""
        return torch.sigmoid(value)

    def tanh(self, value: Proxy) -> Proxy:
        """Return the hyperbolic tangent."""
        return torch.tanh(value)

    def reshape(self, value: Proxy, shape: Sequence[int]) -> Proxy:
        """Return the same elements in another shape."""
        return torch.reshape(value, tuple(shape))
