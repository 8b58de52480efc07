"""A network for one row made one for several: the same operators, each over all rows at once.

torch.func.vmap does that, but it writes the number of rows into the graph. For any number, the
graphs for two rows and for three are laid side by side: where a number differs, rows are counted.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from convert.errors import ConvertError
from convert.model import FREE
from convert.torch.build import Network

_TRIED = (2, 3)  # rows


def batched(network: Network, rows: int) -> Network:
    """Return a network for so many rows.

    Args:
        network: For one row: the first dimension of every tensor is 1.
        rows: Their number, or FREE.

    Raises:
        ConvertError: It cannot be.
    """
    if rows == FREE:
        two, three = (_traced(network, count) for count in _TRIED)
        module = _counted(two, three)
    else:
        module = _traced(network, rows)
    inputs = {name: (rows, *shape[1:]) for name, shape in network.inputs.items()}
    return Network(module, inputs, network.outputs, network.types)


def _traced(network: Network, rows: int) -> fx.GraphModule:
    """Return the graph over so many rows; its inputs keep their names, its answer is a dict."""

    def row(*given: Tensor) -> dict[str, Tensor]:
        found = network.module(*(value[None] for value in given))
        return {name: value[0] for name, value in found.items()}

    given = [torch.zeros(rows, *shape[1:]) for shape in network.inputs.values()]
    with torch.no_grad():
        module: fx.GraphModule = make_fx(torch.func.vmap(row))(*given)
    places = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node, name in zip(places, network.inputs, strict=True):
        with module.graph.inserting_before(node):
            node.replace_all_uses_with(module.graph.placeholder(name))
        module.graph.erase_node(node)
    return fx.GraphModule(module, module.graph).eval()


def _counted(two: fx.GraphModule, three: fx.GraphModule) -> fx.GraphModule:
    """Return the first of two graphs for any number of rows, counted on its first input."""
    calls = [[n for n in g.graph.nodes if n.op == "call_function"] for g in (two, three)]
    if [node.target for node in calls[0]] != [node.target for node in calls[1]]:
        raise ConvertError(
            "onnx: the model computes otherwise for three rows than for two, so the batch cannot "
            "be free; leave onnx out with --to"
        )
    inputs = [node for node in two.graph.nodes if node.op == "placeholder"]
    with two.graph.inserting_after(inputs[-1]):
        rows = two.graph.call_function(torch.ops.aten.sym_size.int, (inputs[0], 0))
    for node, wider in zip(*calls, strict=True):
        with two.graph.inserting_before(node):
            node.args = _merged(node.args, wider.args, rows)
    return fx.GraphModule(two, two.graph).eval()


def _merged(mine: Any, wider: Any, rows: fx.Node) -> Any:
    """Return an argument in which numbers that differ are counted: linear in the rows."""
    if isinstance(mine, list | tuple):
        return type(mine)(_merged(a, b, rows) for a, b in zip(mine, wider, strict=True))
    if not isinstance(mine, int) or mine == wider:
        return mine
    each = wider - mine
    whole = rows if each == 1 else rows.graph.call_function(operator.mul, (rows, each))
    rest = mine - _TRIED[0] * each
    return rows.graph.call_function(operator.add, (whole, rest)) if rest else whole
