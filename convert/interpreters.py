"""Networks that are no files yet, opened in the device's own interpreter."""

import tempfile
from pathlib import Path

from convert.errors import ConvertError
from edge.backends import Session, open_session
from edge.errors import BundleError
from edge.manifest import NetworkFormat


def open_content(content: bytes, fmt: NetworkFormat, name: str) -> Session:
    """Open a network that is no file yet.

    Args:
        content: The file.
        fmt: What it is.
        name: Of the model, for messages.

    Raises:
        ConvertError: The interpreter refuses it.
        BackendError: No interpreter for it is installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"step.{fmt}")
        path.write_bytes(content)
        try:
            return open_session({fmt: path})
        except BundleError as error:
            reason = one_line(error.__cause__ or error)
            raise ConvertError(
                f"{name}: the interpreter cannot load it, {reason}; export it again"
            ) from error


def one_line(error: BaseException) -> str:
    """Return the first line of what an interpreter or a parser says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
