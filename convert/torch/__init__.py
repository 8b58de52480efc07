"""PyTorch models: a class or factory with its weights, or a `.pt2` file of torch.export."""

from convert.errors import MissingExtra
from convert.model import SourceModel, SourceOptions


def open_torch(model: str, options: SourceOptions) -> SourceModel:
    """Open a PyTorch model and take it apart into one step.

    Args:
        model: `module:Class`, `module:factory`, `path/to/file.py:Class` or `path/to/file.pt2`; what
            is called is called without arguments, and its forward takes (1, T, ...).
        options: Of these count weights, shapes, constants, trusted and fuse.

    Raises:
        ConvertError: It is not there, or cannot become a step model.
        MissingExtra: torch is not installed.
    """
    try:
        import torch  # noqa: F401  only to say in one line that it is missing
    except ImportError as error:
        raise MissingExtra(
            "torch: is not installed, the model needs it; pip install 'edgetrack[convert-torch]'"
        ) from error
    from convert.torch.source import open_source

    return open_source(model, options)
