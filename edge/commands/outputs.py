"""Outputs of a command: opened all or none, and never over an input or each other."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edge.config import FileSettings
from edge.errors import UsageError
from edge.shown import without_secrets
from edge.sinks import TrackSink, open_sink, output_path, same_stream
from edge.sources import IMAGE_SUFFIXES
from edge.vitals import Vitals


def refuse_overlap(outputs: Sequence[str], inputs: Sequence[str | Path]) -> None:
    """Refuse to write where something is read, or two outputs to one place.

    Args:
        outputs: Sink URIs.
        inputs: Addresses and files that the command reads.

    Raises:
        UsageError: It names both.
    """
    seen: list[tuple[str, Path | None]] = []
    for uri in outputs:
        path = output_path(uri)
        for other in inputs:
            if path is not None and _is_read(path, Path(other)):
                raise UsageError(
                    f"{without_secrets(uri)}: would overwrite {without_secrets(str(other))}, "
                    "which is read; name another file"
                )
        if path is not None and path.is_char_device():
            continue  # /dev/null takes any number
        for earlier, place in seen:
            if _same(path, place) or (path is place is None and same_stream(uri, earlier)):
                raise UsageError(
                    f"{without_secrets(uri)}: {without_secrets(earlier)} goes to the same place; "
                    "name another file"
                )
        seen.append((uri, path))


def open_all(
    uris: Sequence[str],
    *,
    keep: bool,
    files: FileSettings | None = None,
    vitals: Vitals | None = None,
) -> list[TrackSink]:
    """Open every sink, or none: what was opened is closed when a later one fails.

    The arguments are those of `open_sink`.
    """
    sinks: list[TrackSink] = []
    try:
        for uri in uris:
            sinks.append(open_sink(uri, keep=keep, files=files, vitals=vitals))
    except Exception:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _is_read(path: Path, source: Path) -> bool:
    picture = path.suffix.lower() in IMAGE_SUFFIXES and _same(path.parent, source)
    return picture or _same(path, source)


def _same(path: Path | None, other: Path | None) -> bool:
    """Say whether two names are of one file, be it there already or not."""
    if path is None or other is None:
        return False
    with suppress(OSError):
        return path.samefile(other)
    with suppress(OSError):
        return path.name == other.name and path.parent.samefile(other.parent)
    return False
