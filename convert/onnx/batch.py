"""An ONNX step for one row made one for any number: a Scan, which runs it row after row."""

import onnx
from onnx import compose, helper

_INNER = "row_"  # what the names of one row begin with: a graph may not hide the names around it


def over_rows(content: bytes) -> bytes:
    """Return a network that computes any number of rows, each on its own.

    Args:
        content: For one row: the first dimension of every input and output is 1.
    """
    model = onnx.load_from_string(content)
    ends = [*model.graph.input, *model.graph.output]
    names = [[value.name for value in side] for side in (model.graph.input, model.graph.output)]
    row = compose.add_prefix_graph(model.graph, _INNER)
    given, found = ([_slice(value) for value in side] for side in (row.input, row.output))
    axis = helper.make_tensor(f"{_INNER}axis", onnx.TensorProto.INT64, [1], [0])
    body = helper.make_graph(
        [
            *(_node("Unsqueeze", s.name, v.name) for s, v in zip(given, row.input, strict=True)),
            *row.node,
            *(_node("Squeeze", v.name, s.name) for s, v in zip(found, row.output, strict=True)),
        ],
        "row",
        given,
        found,
        [*row.initializer, axis],
    )
    inputs, outputs = names
    scan = helper.make_node("Scan", inputs, outputs, body=body, num_scan_inputs=len(given))
    whole = helper.make_graph([scan], "rows", *_sides([_free(value) for value in ends], names))
    del model.graph.node[:]
    model.graph.CopyFrom(whole)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _sides(
    ends: list[onnx.ValueInfoProto], names: list[list[str]]
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    return ends[: len(names[0])], ends[len(names[0]) :]


def _node(kind: str, given: str, made: str) -> onnx.NodeProto:
    return helper.make_node(kind, [given, f"{_INNER}axis"], [made])


def _slice(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Return what a tensor of one row is without its first dimension."""
    tensor = value.type.tensor_type
    shape = [size.dim_value for size in tensor.shape.dim][1:]
    return helper.make_tensor_value_info(f"{value.name}_slice", tensor.elem_type, shape)


def _free(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    tensor = value.type.tensor_type
    shape = ["rows", *(size.dim_value for size in tensor.shape.dim[1:])]
    return helper.make_tensor_value_info(value.name, tensor.elem_type, shape)
