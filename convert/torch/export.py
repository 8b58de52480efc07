"""Writes a network as an ONNX or TFLite file, float32, its tensors named."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import torch

from convert.errors import ConvertError, MissingExtra
from convert.model import FREE
from convert.quiet import quiet
from convert.torch.build import Network
from convert.torch.load import first_line
from edge.manifest import NetworkFormat

_OPSET = 18
_TRIED_ROWS = 2  # of a free batch: one row would be taken for a dimension that is always one
_INSTALL = "pip install 'edgetrack[convert-torch]'"


def write(network: Network, fmt: NetworkFormat) -> bytes:
    """Return a network as a file.

    Raises:
        ConvertError: The exporter does not know an operator.
        MissingExtra: The exporter is not installed.
    """
    writer = {"onnx": _onnx, "tflite": _tflite}[fmt]
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):  # its progress goes to stdout
            return writer(network)
    except ImportError as error:
        package = {"onnx": "onnxscript", "tflite": "litert-torch"}[fmt]
        raise MissingExtra(
            f"{package}: is not installed, and writing {fmt} needs it; {_INSTALL}"
        ) from error
    except Exception as error:  # the exporters' errors share no narrower class
        raise ConvertError(
            f"{fmt}: the exporter fails, {first_line(error)}; "
            "leave the format out with --to, or replace the operator in the model"
        ) from error


def _samples(network: Network) -> dict[str, torch.Tensor]:
    types = {name: getattr(torch, network.types.get(name, "float32")) for name in network.inputs}
    return {
        name: torch.zeros(
            [_TRIED_ROWS if side == FREE else side for side in shape], dtype=types[name]
        )
        for name, shape in network.inputs.items()
    }


def _free(network: Network) -> tuple[dict[int, Any], ...] | None:
    """Return which dimensions of every input are free, and that they are as many; None: none is."""
    rows = torch.export.Dim("rows", min=1)
    free = tuple(
        {axis: rows for axis, side in enumerate(shape) if side == FREE}
        for shape in network.inputs.values()
    )
    return free if any(free) else None


def _onnx(network: Network) -> bytes:
    import onnxscript  # noqa: F401  torch's exporter needs it, and would say so at length

    program: Any = torch.onnx.export(
        network.module,
        tuple(_samples(network).values()),
        input_names=list(network.inputs),
        output_names=list(network.outputs),
        opset_version=_OPSET,
        dynamic_shapes=_free(network),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    content: bytes = program.model_proto.SerializeToString()
    return content


def _tflite(network: Network) -> bytes:
    import litert_torch

    converted = litert_torch.signature(
        "step", network.module, sample_kwargs=_samples(network)
    ).convert()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        converted.export(str(path))
        return path.read_bytes()
