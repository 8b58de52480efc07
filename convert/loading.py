"""From what the user names to an opened source: the only place that knows every framework."""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from convert.errors import ConvertError, MissingExtra
from convert.model import SourceModel, SourceOptions
from convert.quiet import quiet
from edge.errors import UsageError

_KERAS = (".keras", ".h5", ".hdf5")
_COUNT = {
    "keras": (),
    "torch": ("weights", "shapes", "constants"),
    "tracker": ("weights", "shapes"),
    "onnx": ("shapes", "states", "constants"),
    "tflite": ("states", "constants"),
}
"""What each kind of source makes of what its file cannot say."""
_WORDS = {"weights": "weights", "shapes": "shape", "states": "state", "constants": "constant"}
_NEEDS = {
    "keras": ("tensorflow", "keras"),
    "torch": ("torch",),
    "tracker": ("torch",),
    "onnx": ("onnx",),
}


def open_source(model: str, options: SourceOptions) -> SourceModel:
    """Open a trained model.

    Args:
        model: A file or folder, or `module:Class` for PyTorch.
        options: What the file cannot say.

    Raises:
        ConvertError: There is none, or it is not fit for a step model.
        MissingExtra: Its framework is not installed.
    """
    path = Path(model)
    if ":" in model and not path.exists():
        return _torch(model, options)
    if not path.exists():
        raise ConvertError(
            f"{model}: there is no such file; name a model file, a SavedModel folder, or "
            "module:Class for PyTorch"
        )
    match path.suffix.lower():
        case ".pt2":
            return _torch(model, options)
        case ".onnx":
            _require("onnx", model, options)
            from convert.onnx import open_onnx_file

            return open_onnx_file(path, options)
        case ".tflite":
            _refuse_idle("tflite", model, options)
            from convert.step_file import open_step_file

            return open_step_file(path, options)
        case suffix if suffix in _KERAS or path.is_dir():
            return _keras(path, options)
        case ".pt" | ".pth" | ".ckpt" | ".bin":
            raise ConvertError(
                f"{model}: holds weights and no layers; name the class, module:Class, and give "
                "this file as --weights"
            )
        case suffix:
            raise ConvertError(
                f"{model}: ends in {suffix!r}; .keras, .h5, .pt2, .onnx, .tflite, a SavedModel "
                "folder and module:Class are known"
            )


def open_tracker(model: str, options: SourceOptions) -> SourceModel:
    """Open a tracker, a PyTorch module with the parts `encoder` and `step`.

    Args:
        model: `module:Class`, `module:factory` or `path/to/file.py:Class`.
        options: Of these count weights, shapes and trusted.

    Raises:
        ConvertError: It is not there, or is no tracker.
        MissingExtra: PyTorch is not installed.
    """
    if ":" not in model:
        raise ConvertError(
            f"{model}: a tracker is a PyTorch class or factory; name it, module:Class"
        )
    _require("tracker", model, options)
    with quiet():
        from convert.torch.tracker import open_tracker as opened
    return opened(model, options)


def import_modules(names: Sequence[str]) -> None:
    """Import the user's own modules: custom layers register themselves, rules too.

    Raises:
        ConvertError: One cannot be imported.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user trains with
    sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ConvertError(
                f"--import {name}: cannot be imported, {type(error).__name__}: {error}; "
                "name a module that is on the path or in this folder"
            ) from error


def _keras(path: Path, options: SourceOptions) -> SourceModel:
    _require("keras", str(path), options)
    with quiet():
        from convert.keras.loading import open_keras
    return open_keras(path, options)


def _torch(model: str, options: SourceOptions) -> SourceModel:
    _require("torch", model, options)
    with quiet():
        from convert.torch import open_torch
    return open_torch(model, options)


def _require(framework: str, model: str, options: SourceOptions) -> None:
    _refuse_idle(framework, model, options)
    if missing := [name for name in _NEEDS[framework] if not find_spec(name)]:
        extra = "keras" if framework == "keras" else "torch"
        raise MissingExtra(
            f"{model}: needs {', '.join(missing)}, not installed; "
            f"pip install 'edgetrack[convert-{extra}]'"
        )


def _refuse_idle(kind: str, model: str, options: SourceOptions) -> None:
    """Refuse what was said of a source of this kind and would not be heard."""
    for field, word in _WORDS.items():
        if getattr(options, field) and field not in _COUNT[kind]:
            raise UsageError(f"--{word}: says nothing of {model}, a {kind} model; leave it out")
