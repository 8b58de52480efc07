"""Interpreters: one file per runtime, all behind `Session`; the rest never asks which one runs."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

from edge.errors import BackendError
from edge.manifest import NetworkFormat
from edge.types import Array, TensorSpec, shapes_fit

Installed = Literal["litert", "tflite-runtime", "onnx"]
Backend = Literal["auto"] | Installed

_PACKAGE: dict[Installed, str] = {
    "litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "onnx": "onnxruntime",
}
_INSTALL = {
    "litert": "pip install ai-edge-litert",
    "tflite-runtime": "pip install 'edgetrack[tflite]' (Python 3.11)",
    "onnx": "pip install 'edgetrack[onnx]'",
}
_FORMAT: dict[Installed, NetworkFormat] = {
    "litert": "tflite",
    "tflite-runtime": "tflite",
    "onnx": "onnx",
}


class Session(Protocol):
    """A loaded network: stateless, its tensors known by name."""

    backend: str
    """The interpreter and its version."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Every input tensor by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Every output tensor by name."""

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute every output from every input, each in its tensor's own type.

        Returns:
            By name; the arrays are the caller's to keep.

        Raises:
            BackendError: An input is missing or of another shape or type.
        """

    def invoke(self) -> None:
        """Compute again from the last inputs and leave the outputs where they are; for `bench`."""


def available() -> list[Installed]:
    """Return the backends that can be imported here, the preferred one first."""
    return [name for name, package in _PACKAGE.items() if find_spec(package)]


def open_session(
    files: Mapping[NetworkFormat, Path], backend: Backend = "auto", threads: int = 1
) -> Session:
    """Load one network into the first interpreter that fits, or into the one asked for.

    Args:
        files: The same network by format.
        backend: `auto` takes the first that is installed: LiteRT, tflite-runtime, ONNX Runtime.
        threads: Of the interpreter itself.

    Raises:
        BackendError: No interpreter for any of the files is installed.
        BundleError: A file is no model.
    """
    broken = ""
    for choice in _choices(files, backend):
        path = files[_FORMAT[choice]]
        try:
            return _open(choice, path, threads)
        except ImportError as error:  # a library it needs is missing, or is of another version
            broken = f"{path}: {choice} is installed but does not load, {error}; install it again"
    raise BackendError(broken)


def _open(choice: Installed, path: Path, threads: int) -> Session:
    if choice == "onnx":
        from edge.backends.onnx import OnnxSession

        return OnnxSession(path, threads)
    from edge.backends.tflite import open_tflite

    return open_tflite(path, threads, _PACKAGE[choice])


def _choices(files: Mapping[NetworkFormat, Path], backend: Backend) -> list[Installed]:
    """Return the installed backends that can run one of the files, best first; at least one."""
    wanted: list[Installed] = [backend] if backend != "auto" else list(_PACKAGE)
    fitting = [name for name in wanted if _FORMAT[name] in files]
    have = ", ".join(path.name for path in files.values())
    if not fitting:
        raise BackendError(
            f"{have}: {backend} cannot run it; choose another backend or convert again"
        )
    installed = [name for name in fitting if name in available()]
    if not installed:
        raise BackendError(f"{have}: {fitting[0]} is not installed; {_INSTALL[fitting[0]]}")
    return installed


def check_input(spec: TensorSpec, value: Array, backend: str) -> None:
    """Refuse a value that does not fit its tensor.

    Raises:
        BackendError: Shape or type differ.
    """
    fits = value.shape == spec.shape or shapes_fit(spec.shape, value.shape)
    if not fits or value.dtype != spec.dtype:
        raise BackendError(
            f"{backend}: input {spec.name!r} is {spec.dtype} {list(spec.shape)}, "
            f"given {value.dtype.name} {list(value.shape)}; give it as the manifest says"
        )


def rows_of(specs: Mapping[str, TensorSpec], inputs: Mapping[str, Array], backend: str) -> int:
    """Return how many rows the inputs of a network with a free batch have; 1 where none is free.

    Raises:
        BackendError: An input is missing, of another shape or type, or has other rows than another.
    """
    rows: dict[str, int] = {}
    for name, spec in specs.items():
        if name not in inputs:
            raise BackendError(f"{backend}: input {name!r} is missing; give it")
        check_input(spec, inputs[name], backend)
        if spec.shape[:1] == (-1,):
            rows[name] = len(inputs[name])
    if len(set(rows.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise BackendError(f"{backend}: the inputs have different rows, {found}; give all as many")
    return next(iter(rows.values()), 1)
