"""Finds a PyTorch module by name, builds it and gives it its weights."""

import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from convert.errors import ConvertError
from convert.model import SourceOptions


def load_module(model: str, options: SourceOptions) -> nn.Module:
    """Return the named module with its weights, in eval, float32, on the CPU.

    Args:
        model: `module:Class`, `module:factory` or `path/to/file.py:Class`.
        options: Of these count weights and trusted.

    Raises:
        ConvertError: It is not there, is no nn.Module, or the weights do not fit it.
    """
    module = _build(model)
    if options.weights:
        _fill(module, options.weights, options.trusted)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point() and value.isnan().any():
            raise ConvertError(f"{name}: holds NaN; train it again or give other --weights")
    return module.cpu().float().eval().requires_grad_(False)


def _build(model: str) -> nn.Module:
    place, _, attribute = model.rpartition(":")
    if not place or not attribute:
        raise ConvertError(
            f"{model}: names no PyTorch class; give module:Class or file.py:Class, "
            "with --weights for a state_dict, or a .pt2 file"
        )
    path = Path(place)
    with _on_path(path.resolve().parent if path.suffix == ".py" else Path.cwd()):
        made: Any = getattr(_import(model, place), attribute, None)
        if made is None:
            raise ConvertError(
                f"{model}: {place} has no {attribute!r}; name a class or a factory function in it"
            )
        if not isinstance(made, nn.Module):
            made = _call(model, made)
    if not isinstance(made, nn.Module):
        raise ConvertError(
            f"{model}: gives {type(made).__name__}, no torch.nn.Module; "
            "name a class or a factory function that gives one"
        )
    return made


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import(model: str, place: str) -> ModuleType:
    path = Path(place)
    try:
        return _run_file(path) if path.suffix == ".py" else importlib.import_module(place)
    except FileNotFoundError:
        raise ConvertError(f"{model}: there is no file {path}; correct the path") from None
    except ModuleNotFoundError as error:
        if error.name and f"{place}.".startswith(f"{error.name}."):
            raise ConvertError(
                f"{model}: there is no module {error.name!r} here; start in the folder that holds "
                "it, or give path/to/file.py:Class"
            ) from error
        raise ConvertError(
            f"{model}: imports {error.name!r}, which is not installed; install it"
        ) from error
    except Exception as error:  # whatever the user's own code raises
        raise ConvertError(
            f"{model}: importing it fails, {first_line(error)}; correct it and try again"
        ) from error


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(path)
    name = f"edgetrack_source_{path.stem}"  # hides no installed module
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    source = module_from_spec(spec)
    sys.modules[name] = source  # dataclasses and pickles in it look themselves up
    spec.loader.exec_module(source)
    return source


def _call(model: str, factory: Callable[..., Any]) -> Any:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ConvertError(
            f"{model}: cannot be built without arguments, {first_line(error)}; write a function "
            "that returns the module and name that"
        ) from error
    try:
        return factory()
    except Exception as error:  # whatever the user's own code raises
        raise ConvertError(
            f"{model}: building it fails, {first_line(error)}; correct it and try again"
        ) from error


def _fill(module: nn.Module, path: Path, trusted: bool) -> None:
    weights = _read(path, trusted)
    own = module.state_dict()
    if missing := [name for name in own if name not in weights]:
        raise ConvertError(
            f"{path}: has no {missing[0]!r}, which the model needs ({len(missing)} are missing); "
            "give the weights of this model"
        )
    if unknown := [name for name in weights if name not in own]:
        raise ConvertError(
            f"{path}: has {unknown[0]!r}, which the model lacks ({len(unknown)} are unknown); "
            "give the weights of this model"
        )
    for name, value in own.items():
        if (found := list(weights[name].shape)) != list(value.shape):
            raise ConvertError(
                f"{path}: {name!r} is {found}, the model has {list(value.shape)}; "
                "give the weights of this model"
            )
    module.load_state_dict(weights)


def _read(path: Path, trusted: bool) -> Mapping[str, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=not trusted)
    except FileNotFoundError:
        raise ConvertError(f"{path}: there is no such file; give --weights FILE") from None
    except pickle.UnpicklingError as error:
        if trusted:
            raise ConvertError(f"{path}: is no weights file of PyTorch; give another") from error
        raise ConvertError(
            f"{path}: holds more than tensors, and opening it would run code; save "
            "module.state_dict(), or add --trust if you trust where it comes from"
        ) from error
    except Exception as error:  # torch.load lets its readers' own errors through
        raise ConvertError(
            f"{path}: cannot be read, {first_line(error)}; give what torch.save wrote"
        ) from error
    found = _inner(found)
    if not isinstance(found, Mapping) or not all(torch.is_tensor(v) for v in found.values()):
        raise ConvertError(f"{path}: holds no state_dict; save module.state_dict()")
    for wrapper in ("module.", "_orig_mod."):  # of DataParallel and torch.compile
        if all(str(name).startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): value for name, value in found.items()}
    return found


def _inner(found: Any) -> Any:
    """Return the state_dict of a module, or of what training loops write beside the optimiser."""
    if isinstance(found, nn.Module):
        return found.state_dict()
    for word in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(word), Mapping):
            return found[word]
    return found


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".;: ") if lines else type(error).__name__
