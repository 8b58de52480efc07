"""ONNX networks in ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from edge.backends import rows_of
from edge.errors import BundleError
from edge.types import Array, TensorSpec

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxSession:
    """An ONNX network; where all shapes are fixed, its buffers are bound once."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load a network.

        Args:
            path: The .onnx file.
            threads: Of the interpreter.

        Raises:
            BundleError: The file is no ONNX model.
        """
        self.backend = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors reach us as exceptions, once is enough
        # A worker that spins while it waits for the next frame heats the device for nothing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._net = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's errors share no narrower class
            reason = str(error).strip().splitlines()[0]
            raise BundleError(
                f"{path}: {self.backend} cannot load it, {reason}; convert or copy it again"
            ) from error
        self.inputs = {node.name: _spec(node) for node in self._net.get_inputs()}
        self.outputs = {node.name: _spec(node) for node in self._net.get_outputs()}
        specs = [*self.inputs.values(), *self.outputs.values()]
        fixed = all(size >= 0 for spec in specs for size in spec.shape)
        self._binding = self._bind() if fixed else None
        self._feed: dict[str, Array] = {}

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute every output; see `Session.run`."""
        rows_of(self.inputs, inputs, self.backend)
        if self._binding is None:
            self._feed = {name: inputs[name] for name in self.inputs}
            found = self._net.run(list(self.outputs), self._feed)
            return dict(zip(self.outputs, found, strict=True))
        for name, buffer in self._in.items():
            buffer[...] = inputs[name]
        self._net.run_with_iobinding(self._binding)
        return {name: buffer.copy() for name, buffer in self._out.items()}

    def invoke(self) -> None:
        """Compute again from the last inputs and leave the outputs where they are; for `bench`."""
        if self._binding is None:
            self._net.run(list(self.outputs), self._feed)
        else:
            self._net.run_with_iobinding(self._binding)

    def _bind(self) -> onnxruntime.IOBinding:
        self._in = {name: np.empty(s.shape, s.dtype) for name, s in self.inputs.items()}
        self._out = {name: np.empty(s.shape, s.dtype) for name, s in self.outputs.items()}
        binding = self._net.io_binding()
        for name, array in self._in.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self._out.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(node.type, node.type))
