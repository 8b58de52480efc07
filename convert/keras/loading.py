"""Keras files: `.keras` and `.h5` of Keras 3 and 2, SavedModel folders that Keras 2 wrote."""

import json
import re
import shutil
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras

import convert.keras.layers  # noqa: F401  registers the layers of ours that a file may hold
from convert.errors import ConvertError, MissingExtra
from convert.keras.source import KerasSource
from convert.model import SourceOptions
from convert.quiet import quiet

_KERAS_2 = "keras_metadata.pb"


def open_keras(path: Path, options: SourceOptions) -> KerasSource:
    """Open a Keras model.

    Args:
        path: A `.keras` or `.h5` file, or a SavedModel folder that Keras 2 wrote.
        options: `trusted` lets Lambda layers run their code.

    Raises:
        ConvertError: It is damaged, holds code that is not trusted, or is not fit for a step model.
        MissingExtra: A SavedModel or a `.keras` file of Keras 2 needs `tf_keras`.
    """
    if path.is_dir():
        model = _saved_model(path, options)
    elif path.suffix == ".keras":
        model = _load(path, path, options) if not _is_keras_2(path) else _by_keras_2(path, options)
    else:
        model = _hdf5(path, path, options)
    return KerasSource(model, fuse=options.fuse)


def _hdf5(file: Path, named: Path, options: SourceOptions) -> Any:
    """Load HDF5; a file of Keras 2 is brought into the words of Keras 3."""
    import h5py

    try:
        with h5py.File(file) as content:
            config = json.loads(content.attrs["model_config"])
    except (OSError, KeyError, ValueError) as error:
        raise ConvertError(
            f"{named}: is no Keras model in HDF5, or only weights; save the whole model"
        ) from error
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "model.h5"
        shutil.copyfile(file, copy)
        with h5py.File(copy, "r+") as content:
            content.attrs["model_config"] = json.dumps(_for_keras_3(config, named))
        return _load(copy, named, options)


def _for_keras_3(config: Any, named: Path) -> Any:
    """Return a model's description without what Keras 2 wrote into it and Keras 3 refuses."""
    if isinstance(config, list):
        return [_for_keras_3(part, named) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("time_major"):
        raise ConvertError(
            f"{named}: layer {config.get('name')}: time_major=True puts time before the batch; "
            "build it with (batch, time, ...)"
        )
    kept = {key: _for_keras_3(value, named) for key, value in config.items()}
    if "class_name" not in kept and "depth_multiplier" in kept:
        kept.pop("groups", None)  # always 1 in a DepthwiseConv2D
    axis = kept.get("axis")
    if isinstance(axis, list) and len(axis) == 1 and "momentum" in kept:
        kept["axis"] = axis[0]  # of a BatchNormalization
    kept.pop("time_major", None)
    return kept


def _load(file: Path, named: Path, options: SourceOptions) -> Any:
    if file.suffix == ".keras" and not zipfile.is_zipfile(file):
        raise ConvertError(f"{named}: is no .keras file, or is cut short; save it again")
    try:
        with quiet():
            return keras.saving.load_model(file, compile=False, safe_mode=not options.trusted)
    except Exception as error:
        raise _explained(named, error, options) from error


def _explained(path: Path, error: Exception, options: SourceOptions) -> ConvertError:
    text = " ".join(str(error).split())
    if "OpLambda" in text:
        return ConvertError(
            f"{path}: holds operators written between layers (x * 2), which Keras 3 does not read "
            "from Keras 2; put layers in their place, such as Add, Multiply and Rescaling"
        )
    if not options.trusted and "lambda" in text.lower():
        return ConvertError(
            f"{path}: holds a Lambda layer, which runs code from the file; if you trust the file, "
            "convert it with --trust"
        )
    if unknown := re.search(r"(?:locate class|[Uu]nknown layer:?) '(\w+)'", text):
        return ConvertError(
            f"{path}: holds the custom layer {unknown[1]!r}, whose code is not here; name its "
            "module with --import, and register it there with register_keras_serializable"
        )
    reason = text.rpartition("Exception encountered:")[2].strip()[:300]
    return ConvertError(f"{path}: Keras cannot load it, {reason}; save it again")


def _saved_model(folder: Path, options: SourceOptions) -> Any:
    """Load a SavedModel that holds its layers, as Keras 2 wrote them."""
    if not (folder / "saved_model.pb").is_file():
        raise ConvertError(f"{folder}: is no SavedModel, it has no saved_model.pb; name another")
    if not (folder / _KERAS_2).is_file():
        raise ConvertError(
            f"{folder}: a SavedModel without {_KERAS_2} holds a graph and no layers any more; "
            "give the .keras or .h5 file that it was exported from"
        )
    return _by_keras_2(folder, options)


def _is_keras_2(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as parts:
            return str(json.loads(parts.read("metadata.json"))["keras_version"]).startswith("2.")
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return False


def _by_keras_2(path: Path, options: SourceOptions) -> Any:
    """Load a SavedModel or `.keras` file of Keras 2, and read it into Keras 3 by way of HDF5."""
    if not find_spec("tf_keras"):
        raise MissingExtra(
            f"{path}: is of Keras 2 and needs tf_keras; pip install 'edgetrack[convert-keras]'"
        )
    import tf_keras

    trust = {"safe_mode": not options.trusted} if path.is_file() else {}
    try:
        with quiet(), tempfile.TemporaryDirectory() as place:
            file = Path(place) / "model.h5"
            tf_keras.models.load_model(path, compile=False, **trust).save(file)
            return _hdf5(file, path, options)
    except ConvertError:
        raise
    except Exception as error:
        raise _explained(path, error, options) from error
