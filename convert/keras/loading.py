"""Keras files: `.keras`, `.h5` of any Keras, SavedModel folders that Keras 2 wrote."""

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
        MissingExtra: A SavedModel needs `tf_keras`.
    """
    if path.is_dir():
        model = _saved_model(path, options)
    elif path.suffix == ".keras":
        model = _load(path, path, options)
    else:
        model = _hdf5(path, path, options)
    return KerasSource(model, fuse=options.fuse)


def _hdf5(file: Path, named: Path, options: SourceOptions) -> Any:
    """Load HDF5; a file of Keras 2 says `time_major` of its layers, which Keras 3 does not know."""
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
            content.attrs["model_config"] = json.dumps(_without_time_major(config, named))
        return _load(copy, named, options)


def _without_time_major(config: Any, named: Path) -> Any:
    if isinstance(config, list):
        return [_without_time_major(part, named) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("time_major"):
        raise ConvertError(
            f"{named}: layer {config.get('name')}: time_major=True puts time before the batch; "
            "build it with (batch, time, ...)"
        )
    return {k: _without_time_major(v, named) for k, v in config.items() if k != "time_major"}


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
    return ConvertError(f"{path}: Keras cannot load it, {text[:300]}; save it again")


def _saved_model(folder: Path, options: SourceOptions) -> Any:
    """Load what Keras 2 wrote through tf_keras, and read it into Keras 3 by way of HDF5."""
    if not (folder / "saved_model.pb").is_file():
        raise ConvertError(f"{folder}: is no SavedModel, it has no saved_model.pb; name another")
    if not (folder / _KERAS_2).is_file():
        raise ConvertError(
            f"{folder}: a SavedModel without {_KERAS_2} holds a graph and no layers any more; "
            "give the .keras or .h5 file that it was exported from"
        )
    if not find_spec("tf_keras"):
        raise MissingExtra(
            f"{folder}: a SavedModel of Keras 2 needs tf_keras; "
            "pip install 'edgetrack[convert-keras]'"
        )
    import tf_keras

    try:
        with quiet(), tempfile.TemporaryDirectory() as place:
            file = Path(place) / "model.h5"
            tf_keras.models.load_model(folder, compile=False).save(file)
            return _hdf5(file, folder, options)
    except ConvertError:
        raise
    except Exception as error:
        raise _explained(folder, error, options) from error
