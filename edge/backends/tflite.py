"""TFLite networks in LiteRT (ai-edge-litert) or, on older systems, tflite-runtime."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge.backends import check_input
from edge.errors import BackendError, BundleError
from edge.stderr import hushed
from edge.types import Array, TensorSpec


class TfliteSession:
    """A TFLite network; what goes in and comes out is copied once."""

    def __init__(self, path: Path, threads: int, package: str) -> None:
        """Load a network.

        Args:
            path: The .tflite file.
            threads: Of the interpreter.
            package: `ai_edge_litert` or `tflite_runtime`; both have the same API.

        Raises:
            BundleError: The file is no TFLite model, or needs operators that are not built in.
        """
        interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
        version = importlib.import_module(package).__version__
        self.backend = f"{package.replace('_', '-')} {version}"
        try:
            # From memory: a mapped file would change under a running model when it is replaced.
            content = path.read_bytes()
            with hushed():
                self._net = interpreter(model_content=content, num_threads=threads)
                self._net.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BundleError(
                f"{path}: {self.backend} cannot load it, {reason}; convert or copy it again"
            ) from error
        inputs, outputs = self._named()
        self.inputs = {name: _spec(name, detail) for name, detail in inputs.items()}
        self.outputs = {name: _spec(name, detail) for name, detail in outputs.items()}
        self._in = [(name, detail["index"]) for name, detail in inputs.items()]
        self._out = [(name, detail["index"]) for name, detail in outputs.items()]

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute every output; see `Session.run`."""
        for name, index in self._in:
            try:
                self._net.set_tensor(index, inputs[name])  # checks shape and type
            except KeyError:
                raise BackendError(f"{self.backend}: input {name!r} is missing; give it") from None
            except ValueError:
                check_input(self.inputs[name], inputs[name], self.backend)
                raise
        self._net.invoke()
        return {name: self._net.get_tensor(index) for name, index in self._out}

    def invoke(self) -> None:
        """Compute again from the last inputs and leave the outputs where they are; for `bench`."""
        self._net.invoke()

    def _named(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the details of input and output tensors under the names their author gave them.

        A file exported with one signature carries those names there; its raw tensor names are
        the exporter's (`serving_default_x:0`). Some quantisers leave a stale signature behind.
        """
        inputs = {detail["index"]: detail for detail in self._net.get_input_details()}
        outputs = {detail["index"]: detail for detail in self._net.get_output_details()}
        signatures = list(self._net._get_full_signature_list().values())
        if len(signatures) == 1:
            names_in, names_out = signatures[0]["inputs"], signatures[0]["outputs"]
            if {*names_in.values()} == {*inputs} and {*names_out.values()} == {*outputs}:
                return (
                    {name: inputs[index] for name, index in names_in.items()},
                    {name: outputs[index] for name, index in names_out.items()},
                )
        return (
            {detail["name"]: detail for detail in inputs.values()},
            {detail["name"]: detail for detail in outputs.values()},
        )


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return TensorSpec(name, shape, np.dtype(detail["dtype"]).name, float(scale), int(zero_point))
