"""A bug report: one file with the frames, the settings, and what computed with what.

`report.json` says who made it; `recording/` holds the segments. Passwords are not in it.
"""

import os
import platform
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from edge import bundle as bundles
from edge.bundle import MANIFEST
from edge.config import Settings
from edge.errors import BundleError, DataError, SinkError, UsageError
from edge.recording import segments
from edge.recording.reader import ABOUT
from edge.recording.segment import SIGNATURE
from edge.shown import harmless

FORMAT = 1
_PACKAGES = (
    *("edgetrack", "numpy", "opencv-python-headless", "opencv-python", "msgspec", "lap"),
    *("ai-edge-litert", "tflite-runtime", "onnxruntime", "picamera2"),
)
_MOTION = "motion"
"""The bundle behind `tracking.motion = "lstm"`."""


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which bundle a name meant."""

    name: str
    """As in the settings."""
    version: str = ""
    manifest_sha256: str = ""
    sha256: Mapping[str, str] = {}
    """Of every file, as the manifest has it."""
    error: str = ""
    """Why it cannot be told."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `report.json`."""

    format: int
    packages: Mapping[str, str]
    """Version by name, of those installed."""
    python: str
    system: str
    machine: str
    models: tuple[Model, ...]
    settings: Settings


def pack(
    folder: Path, out: Path, settings: Settings, max_bytes: float, max_age_s: float
) -> Sequence[Path]:
    """Make a report of a folder's newest segments; it appears whole or not at all.

    Args:
        folder: Recorded into; it may be written to meanwhile.
        out: A zip file; one that is there is replaced.
        settings: Of the run.
        max_bytes: Of all segments together.
        max_age_s: Since a segment was last written to.

    Returns:
        The segments in it.

    Raises:
        UsageError: No segment is so small or so new.
        SinkError: There is no space or no permission.
    """
    chosen = _newest(folder, max_bytes, time.time() - max_age_s)
    if not chosen:
        raise UsageError(f"{folder}: no segment is within these limits; raise them")
    text = msgspec.json.format(msgspec.json.encode(_about(settings)))
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _zip(file, chosen, text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(unfinished, 0o644)
            os.replace(unfinished, out)
        except BaseException:
            os.unlink(unfinished)
            raise
    except OSError as error:
        raise SinkError(f"{out}: cannot be written, {error.strerror}; write elsewhere") from error
    return chosen


def read_about(text: bytes, name: str) -> About:
    """Read what a report says of itself.

    Raises:
        DataError: It is damaged, or of another format.
    """
    try:
        raw = msgspec.json.decode(text)
        found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        if found != FORMAT:
            raise DataError(
                f"{name}: the report's format is {found}, this edgetrack reads {FORMAT}; "
                "read it with the edgetrack that made it, or a newer one"
            )
        return msgspec.convert(raw, About)
    except msgspec.DecodeError as error:
        raise DataError(
            f"{name}: {ABOUT} is not as this edgetrack writes it, {error}; "
            "read it with the edgetrack that made it"
        ) from error


def read_settings(recorded: Mapping[str, Any], name: str) -> Settings:
    """Read the settings that a recording was made with.

    Raises:
        DataError: They are none that this edgetrack has.
    """
    try:
        return msgspec.convert(recorded, Settings)
    except msgspec.ValidationError as error:
        raise DataError(
            f"{name}: its settings are none of this edgetrack's, {error}; give --config"
        ) from error


def differences(about: About) -> list[str]:
    """Return a line for every model that is another here than where the report was made."""
    lines = []
    for there, here in zip(about.models, map(_model, (m.name for m in about.models)), strict=True):
        if there.manifest_sha256 != here.manifest_sha256:
            found, was = (
                f"{model.version or 'unknown'} ({model.manifest_sha256[:8] or model.error})"
                for model in (here, there)
            )
            lines.append(f"model {there.name}: is {found} here, was {was} in the report")
    return lines


def _newest(folder: Path, max_bytes: float, since: float) -> list[Path]:
    """Return the last segments that are within the limits, oldest first."""
    chosen: list[Path] = []
    held = 0
    for path in reversed(segments(folder, SIGNATURE).files()):
        try:
            found = path.stat()
        except FileNotFoundError:  # who records there let it go meanwhile, and all before it
            break
        held += found.st_size
        if held > max_bytes or found.st_mtime < since:
            break
        chosen.insert(0, path)
    return chosen


def _zip(file: Any, paths: Iterable[Path], text: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # pictures are packed already
        archive.writestr(ABOUT, text)
        for path in paths:
            with suppress(FileNotFoundError):  # who records there let it go meanwhile
                archive.write(path, f"recording/{path.name}")


def _about(settings: Settings) -> About:
    closer = [manifest.close_up for name in settings.models if (manifest := _manifest(name))]
    motion = [_MOTION] if settings.tracking.motion == "lstm" else []
    names = dict.fromkeys((*settings.models, *filter(None, closer), *motion))
    return About(
        format=FORMAT,
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        python=platform.python_version(),
        system=platform.platform(),
        machine=platform.machine(),
        models=tuple(_model(name) for name in names),
        settings=msgspec.convert(harmless(msgspec.to_builtins(settings)), Settings),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _manifest(name: str) -> Any:
    try:
        return bundles.load(bundles.find(name)).manifest
    except BundleError:
        return None


def _model(name: str) -> Model:
    import hashlib  # brings OpenSSL, 3.6 MB

    try:
        bundle = bundles.load(bundles.find(name))
        digest = hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest()
    except (BundleError, OSError) as error:
        return Model(name=name, error=str(error))
    return Model(
        name=name,
        version=bundle.manifest.version,
        manifest_sha256=digest,
        sha256=bundle.manifest.sha256,
    )
