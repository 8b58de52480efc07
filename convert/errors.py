"""What the converter refuses, one line each: the layer or tensor, what is wrong, what to do."""

from edge.errors import EdgeError


class ConvertError(EdgeError, ValueError):
    """A model that cannot become a step model, or not one that can be trusted."""

    exit_code = 65


class MissingExtra(EdgeError, ImportError):  # noqa: N818  named after what the user has to add
    """A framework that the source model needs is not installed."""

    exit_code = 69
