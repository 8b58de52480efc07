"""TFLite networks in LiteRT (ai-edge-litert) or, on older systems, tflite-runtime.

A network with a free batch is a file with a signature for each of some numbers of rows, `rows1`,
`rows2`, `rows4` and so on, which share their weights. Resizing one network instead is not reliable:
a reshape to a constant goes wrong in silence, and tflite-runtime 2.14 runs a file with free shapes
without its fast kernels (XNNPACK) and writes out of bounds with them where shapes are not free.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.backends import Session, check_input, rows_of
from edge.errors import BackendError, BundleError
from edge.stderr import hushed
from edge.types import Array, TensorSpec

ROWS = "rows"
"""What the signatures of a network with a free batch begin with; the number of rows follows."""
_WASTE = 1 / 16  # of a batch: what may be rows that nobody asked for, to save a call


def open_tflite(path: Path, threads: int, package: str) -> Session:
    """Load a network.

    Args:
        path: The .tflite file.
        threads: Of the interpreter.
        package: `ai_edge_litert` or `tflite_runtime`; both have the same API.

    Raises:
        BundleError: The file is no TFLite model, or needs operators that are not built in.
    """
    interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
    backend = f"{package.replace('_', '-')} {importlib.import_module(package).__version__}"
    try:
        # From memory: a mapped file would change under a running model when it is replaced.
        content = path.read_bytes()
        with hushed():
            net = interpreter(model_content=content, num_threads=threads)
            net.allocate_tensors()  # also of a batch: it is what switches the fast kernels on
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(
            f"{path}: {backend} cannot load it, {reason}; convert or copy it again"
        ) from error
    keys = [re.fullmatch(rf"{ROWS}([1-9]\d*)", key) for key in net.get_signature_list()]
    sizes = [int(key[1]) for key in keys if key]
    return BatchedTfliteSession(net, backend, sizes) if sizes else TfliteSession(net, backend)


class TfliteSession:
    """A TFLite network of fixed shapes; what goes in and comes out is copied once."""

    def __init__(self, net: Any, backend: str) -> None:
        """Find the network's tensors.

        Args:
            net: An interpreter whose tensors are allocated.
            backend: Its name and version.
        """
        self.backend, self._net = backend, net
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


class BatchedTfliteSession:
    """A TFLite network for any number of rows, computed in batches of the sizes it was made for.

    Memory of a size is taken when it is first used.
    """

    def __init__(self, net: Any, backend: str, sizes: Sequence[int]) -> None:
        """Find the network's tensors.

        Args:
            net: An interpreter whose tensors are allocated.
            backend: Its name and version.
            sizes: The numbers of rows for which it has a signature; 1 must be among them.

        Raises:
            BundleError: There is none for one row.
        """
        if 1 not in sizes:
            raise BundleError(f"{backend}: the network has no signature {ROWS}1; convert it again")
        self.backend, self._sizes = backend, sorted(sizes)
        self._runners = {size: net.get_signature_runner(f"{ROWS}{size}") for size in sizes}
        one = self._runners[1]
        self.inputs = {n: _spec(n, d, free=True) for n, d in one.get_input_details().items()}
        self.outputs = {n: _spec(n, d, free=True) for n, d in one.get_output_details().items()}
        self._fed: list[tuple[int, dict[str, Array]]] = []

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute every output; see `Session.run`."""
        rows, begin = rows_of(self.inputs, inputs, self.backend), 0
        self._fed = []
        for size in batches(rows, self._sizes):
            part = {name: _taken(inputs[name], begin, size) for name in self.inputs}
            self._fed.append((size, part))
            begin += size
        found = [self._runners[size](**part) for size, part in self._fed]
        if len(found) == 1 and begin == rows:
            return found[0]
        return {name: self._joined(spec, found, rows) for name, spec in self.outputs.items()}

    def invoke(self) -> None:
        """Compute again from the last inputs; for `bench`. A signature's copies belong to it."""
        for size, part in self._fed:
            self._runners[size](**part)

    def _joined(self, spec: TensorSpec, found: Sequence[Mapping[str, Array]], rows: int) -> Array:
        if not found:
            return np.empty((0, *spec.shape[1:]), spec.dtype)
        return np.concatenate([part[spec.name] for part in found])[:rows]


def batches(rows: int, sizes: Sequence[int]) -> list[int]:
    """Return the batches in which rows are computed; together as many or a few more.

    A row costs about the same in any batch, and a call costs something too: so the largest batches
    that fit, and one that is not filled only where hardly anything is computed for nothing.

    Args:
        rows: 0 or more.
        sizes: From the smallest, 1, to the largest.
    """
    found = []
    while rows > 0:
        size = max(size for size in sizes if size == 1 or size - rows <= size * _WASTE)
        found.append(size)
        rows -= size
    return found


def _taken(values: Array, begin: int, size: int) -> Array:
    """Return so many rows; after the last one it is repeated, which is as harmless as it was."""
    part = values[begin : begin + size]
    missing = size - len(part)
    return np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part


def _spec(name: str, detail: Mapping[str, Any], free: bool = False) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    shape = (-1, *shape[1:]) if free else shape
    return TensorSpec(name, shape, np.dtype(detail["dtype"]).name, float(scale), int(zero_point))
