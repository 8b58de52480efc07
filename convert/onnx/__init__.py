"""ONNX models as sources: whole sequences taken apart, and steps passed on."""

from pathlib import Path

from convert.errors import MissingExtra
from convert.model import SourceModel, SourceOptions
from convert.step_file import StepFile


def open_onnx_file(path: Path, options: SourceOptions) -> SourceModel:
    """Open an ONNX model, of sequences or of one step.

    Args:
        path: The file.
        options: `constants`, `shapes` and `states` count.

    Raises:
        ConvertError: It is damaged, or cannot run one step at a time.
        MissingExtra: onnx is not installed.
        BackendError: ONNX Runtime is not installed.
    """
    check_installed(path)
    from convert.onnx.step import is_step

    return (open_onnx_step if is_step(path, options) else open_onnx)(path, options)


def open_onnx(path: Path, options: SourceOptions) -> SourceModel:
    """Open an ONNX model of sequences, with recurrent operators.

    Args:
        path: The file.
        options: `constants` and `shapes` count.

    Raises:
        ConvertError: It is damaged, or cannot run one step at a time.
        MissingExtra: onnx is not installed.
        BackendError: ONNX Runtime is not installed.
    """
    check_installed(path)
    from convert.onnx.graph import load
    from convert.onnx.sequence import OnnxSequence

    return OnnxSequence(load(path), options, path.name)


def open_onnx_step(path: Path, options: SourceOptions) -> SourceModel:
    """Open an ONNX model that is a step already and exposes its state.

    Args:
        path: The file.
        options: `constants`, `shapes` and `states` count.

    Raises:
        ConvertError: It is damaged, does not run, or does not show its state.
        MissingExtra: onnx is not installed.
        BackendError: ONNX Runtime is not installed.
    """
    check_installed(path)
    from convert.onnx.step import fixed_step

    return StepFile(fixed_step(path, options), "onnx", path.name, options.states)


def check_installed(path: Path) -> None:
    """Refuse to open an ONNX file where the package that reads it is missing.

    Raises:
        MissingExtra: onnx is not installed.
    """
    try:
        import onnx  # noqa: F401  only whether it is there
    except ImportError as error:
        raise MissingExtra(
            f"{path.name}: onnx is not installed; "
            "pip install 'edgetrack[convert-torch]' or '[convert-keras]'"
        ) from error
