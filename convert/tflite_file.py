"""What is inside a TFLite file, without running it."""

import struct
from typing import Any

from convert.errors import ConvertError, MissingExtra

RUNS_EVERYWHERE = {"TFLite_Detection_PostProcess"}
"""Custom operators that every TFLite interpreter has built in."""
VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}


def check_builtin(content: bytes, name: str) -> None:
    """Refuse a TFLite file that a device's interpreter cannot run, or that lost its weights.

    Args:
        content: The file.
        name: Of the model, for messages.

    Raises:
        ConvertError: It is no TFLite file, reads variables, or needs Flex or custom operators.
        MissingExtra: LiteRT, which knows the format, is not installed.
    """
    builtin, custom = operators(content, name)
    if hidden := sorted(VARIABLES & builtin):
        raise ConvertError(
            f"{name}: has no weights in it ({hidden[0]}), they were variables of the program that "
            "wrote it; freeze them into constants and export it again"
        )
    if foreign := sorted(custom - RUNS_EVERYWHERE):
        raise ConvertError(
            f"{name}: needs the operator {foreign[0]}, which no device has built in; "
            "export it with builtin operators only"
        )


def operators(content: bytes, name: str) -> tuple[set[str], set[str]]:
    """Return the builtin and the custom operators that a TFLite file uses.

    Args:
        content: The file.
        name: Of the model, for messages.

    Raises:
        ConvertError: It is no TFLite file.
        MissingExtra: LiteRT is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema  # noqa: TID251  format, no runtime
    except ImportError as error:
        raise MissingExtra(
            f"{name}: ai-edge-litert is not installed; pip install ai-edge-litert"
        ) from error
    names = {code: op for op, code in vars(schema.BuiltinOperator).items() if op.isupper()}
    builtin, custom = set(), set()
    try:
        for entry in _codes(schema.Model, content):
            if entry.CustomCode():
                custom.add(entry.CustomCode().decode())
            else:  # old files have only the field of one byte
                code = max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())
                builtin.add(names.get(code, f"number {code}"))
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise ConvertError(
            f"{name}: is no TFLite file or a damaged one ({len(content)} bytes); export it again"
        ) from error
    return builtin, custom


def _codes(model_type: Any, content: bytes) -> list[Any]:
    if not model_type.ModelBufferHasIdentifier(content, 0):
        raise ValueError
    model = model_type.GetRootAs(content)
    return [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]


def signature(content: bytes) -> str:
    """Return the key of a TFLite file's first signature."""
    from ai_edge_litert import schema_py_generated as schema  # noqa: TID251  format, no runtime

    return str(schema.Model.GetRootAs(content).SignatureDefs(0).SignatureKey().decode())


def with_signed_outputs(content: bytes) -> bytes:
    """Return the file with the tensors that its signature names as its outputs.

    Where an output also feeds a quantised operator, AI Edge Quantizer 0.10 puts the integer copy
    into the list of outputs and leaves the float32 tensor in the signature.
    """
    from ai_edge_litert.tools import flatbuffer_utils  # noqa: TID251  format, no runtime

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for signed in model.signatureDefs:
        wanted = [tensor.tensorIndex for tensor in signed.outputs]
        graph = model.subgraphs[signed.subgraphIndex]
        if set(wanted) == set(graph.outputs):
            return content
        graph.outputs = wanted
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
