"""What edgetrack raises on purpose; every message is one line: thing, what is wrong, what to do."""


class EdgeError(Exception):
    """The root of all errors raised on purpose; the command line prints it as one line."""

    exit_code = 1


class UsageError(EdgeError, ValueError):
    """The command line or a call asks for something that cannot be done."""

    exit_code = 2


class ConfigError(EdgeError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 78


class BundleError(EdgeError, ValueError):
    """A model bundle is missing, damaged, or does not fit what it says of itself."""

    exit_code = 65


class BackendError(EdgeError, RuntimeError):
    """An interpreter is missing, or it refuses a model."""

    exit_code = 69


class DataError(EdgeError, ValueError):
    """Input that is no video, no image or no detection file, or that is damaged."""

    exit_code = 65


class SourceError(EdgeError, OSError):
    """A camera, stream or file is not there, is busy, or went away."""

    exit_code = 69


class SinkError(EdgeError, OSError):
    """Output cannot be written: no such folder, no space, no permission."""

    exit_code = 73


class DeliveryError(SinkError):
    """A sink was closed and has not delivered all that it took."""

    def __init__(self, text: str, records: int) -> None:
        super().__init__(text)
        self.records = records


class OutputClosed(EdgeError):  # noqa: N818  not a fault: `edgetrack ... | head` ends this way
    """The reader of a pipe went away: there is nobody left to write for, and nothing is wrong."""

    exit_code = 0


class ServiceError(EdgeError, RuntimeError):
    """A running edgetrack is asked for something and is not there, or does not answer."""

    exit_code = 69
