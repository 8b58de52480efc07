"""Model bundles: a folder with a manifest and the files it names, checked before anything runs."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.errors import BundleError, SinkError
from edge.manifest import Manifest, NetworkFormat, Role, TargetBox
from edge.types import TensorSpec, shapes_fit

FORMAT = 1
MANIFEST = "manifest.json"
CURRENT = "current"
"""Where a model has several versions: the link to the one that is used; `edge.store` sets it."""
SYSTEM = Path("/var/lib/edgetrack/models")
"""Where services find bundles."""
_NEEDED: Mapping[str, tuple[Role, ...]] = {
    "detector": ("detector",),
    "tracker": ("encoder", "step"),
    "sequence": ("step",),
}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are all there and are the ones its manifest was written for."""

    manifest: Manifest
    folder: Path

    def network(self, role: Role) -> dict[NetworkFormat, Path]:
        """Return the files of one network by format.

        Raises:
            BundleError: The bundle has no such network.
        """
        if role not in self.manifest.networks:
            roles = ", ".join(self.manifest.networks)
            raise BundleError(
                f"{self.folder}: has no {role} network, only {roles}; "
                f"it is a {self.manifest.kind}, use it as one"
            )
        return {fmt: self.folder / name for fmt, name in self.manifest.networks[role].items()}


def load(folder: Path) -> Bundle:
    """Read a bundle and check everything that can be checked without an interpreter.

    Raises:
        BundleError: It is missing, damaged, of another format, or contradicts itself.
    """
    manifest = _read_manifest(folder / MANIFEST)
    _check_roles(manifest, folder)
    for name in manifest.files():
        _check_file(folder, name, manifest.sha256)
    return Bundle(manifest, folder)


def save(manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> Bundle:
    """Write a bundle all at once: either the whole folder appears or none of it.

    Args:
        manifest: Its `sha256` is filled in here.
        files: Content by file name, exactly the files that the manifest names.
        folder: Must not exist yet; its parent must.

    Raises:
        BundleError: The folder exists, or files and manifest do not agree.
        SinkError: There is no space, no permission, or no parent folder.
    """
    import hashlib  # see `_check_file`; a device that only loads bundles does without the others
    import shutil
    import tempfile

    if folder.exists():
        raise BundleError(f"{folder}: already exists; remove it or choose another folder")
    if set(manifest.files()) != set(files):
        named, given = sorted(set(manifest.files())), sorted(files)
        raise BundleError(
            f"{folder}: the manifest names {named}, the files are {given}; name them alike"
        )
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    text = msgspec.json.format(
        msgspec.json.encode(msgspec.structs.replace(manifest, sha256=hashes))
    )
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, data in {**files, MANIFEST: text + b"\n"}.items():
                (unfinished / name).write_bytes(data)
            unfinished.chmod(0o755)
            load(unfinished)
            os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise SinkError(
            f"{folder}: cannot be written, {error.strerror}; choose another folder"
        ) from error
    return load(folder)


def find(name: str) -> Path:
    """Return the folder of a bundle given by its path or by the name it is installed under.

    Links to a version are followed here, once: a bundle that is being loaded while another
    version is switched to is one or the other, never the manifest of this and the files of that.

    Raises:
        BundleError: No such bundle; the message lists those there are.
    """
    if folder := bundle_in(os.path.realpath(name) if os.path.islink(name) else name):
        return folder
    known = installed()
    if name in known:
        return known[name]
    if os.sep in name or os.path.isdir(name):
        raise BundleError(f"{name}: is no bundle, it has no {MANIFEST}; name a bundle's folder")
    raise BundleError(f"{name}: no such model; installed are {', '.join(sorted(known)) or 'none'}")


def installed() -> dict[str, Path]:
    """Return the folders of installed bundles by name; a user's own come before built-in ones."""
    found: dict[str, Path] = {}
    for place in model_folders():
        for home in sorted(place.glob("[!.]*")):
            if folder := bundle_in(home):
                found.setdefault(home.name, folder)
    return found


def bundle_in(folder: str | Path) -> Path | None:
    """Return the bundle that a folder is or, where it holds versions, the current one.

    That link may lead nowhere; loading then says so, which is better than another model's answer.
    """
    if os.path.isfile(os.path.join(folder, MANIFEST)):  # unlike Path's, false for impossible names
        return Path(folder)
    link = os.path.join(folder, CURRENT)
    return Path(folder, os.readlink(link)) if os.path.islink(link) else None


def model_folders() -> list[Path]:
    """Return where bundles are looked for, first match wins: user, system, built in."""
    return [user_folder(), SYSTEM, Path(__file__).parent / "models"]


def user_folder() -> Path:
    """Return where a user's bundles are installed: `$EDGETRACK_MODELS`, or the XDG data folder.

    A user without a home has the system's.
    """
    if own := os.environ.get("EDGETRACK_MODELS"):
        return Path(own)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "edgetrack" / "models"
    home = os.path.expanduser("~")  # stays as it is for a user without a home, as services have
    return SYSTEM if home == "~" else Path(home, ".local", "share", "edgetrack", "models")


def check_tensors(
    folder: Path, side: str, expected: Mapping[str, TensorSpec], found: Iterable[TensorSpec]
) -> None:
    """Compare what the manifest promises with what the interpreter says, by name.

    Args:
        folder: The bundle, for the message.
        side: `input` or `output`, for the message.
        expected: By tensor name; a dimension of -1 fits anything.
        found: All tensors of that side of the network.

    Raises:
        BundleError: A tensor is missing, left over, or of another shape or type.
    """
    there = {tensor.name: tensor for tensor in found}
    if missing := [name for name in expected if name not in there]:
        raise BundleError(
            f"{folder}: the network has no {side} {missing[0]!r}, it has "
            f"{', '.join(sorted(there))}; correct the manifest or convert again"
        )
    if side == "input" and (unfed := sorted(set(there) - set(expected))):
        raise BundleError(
            f"{folder}: the network wants an input {unfed[0]!r} that the manifest does not name; "
            "convert again"
        )
    for name, wanted in expected.items():
        tensor = there[name]
        if tensor.dtype != wanted.dtype or not shapes_fit(wanted.shape, tensor.shape):
            raise BundleError(
                f"{folder}: {side} {name!r} is {tensor.dtype} {list(tensor.shape)}, the manifest "
                f"says {wanted.dtype} {list(wanted.shape)}; convert again"
            )


def _read_manifest(path: Path) -> Manifest:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read, {error.strerror}; name a bundle's folder"
        ) from error
    try:
        raw = msgspec.json.decode(text)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
            raise BundleError(
                f"{path}: format is {found}, this edgetrack reads {FORMAT}; convert the model again"
            )
        return msgspec.convert(raw, Manifest, strict=True)
    except msgspec.DecodeError as error:
        raise BundleError(f"{path}: {error}; correct it or convert the model again") from error


def _check_roles(manifest: Manifest, folder: Path) -> None:
    roles = {role for role, files in manifest.networks.items() if files}
    wanted = (*_NEEDED[manifest.kind], *manifest.networks)
    if missing := [role for role in wanted if role not in roles]:
        raise BundleError(
            f"{folder}: a {manifest.kind} needs the network {missing[0]} with a file, "
            f"the manifest has {', '.join(sorted(roles)) or 'none'}; convert again"
        )
    if manifest.kind == "detector" and not (manifest.input and manifest.decode and manifest.labels):
        raise BundleError(f"{folder}: a detector needs input, decode and labels; import it again")
    if manifest.kind == "tracker" and not (
        manifest.input and manifest.input.fit == "crop" and isinstance(manifest.decode, TargetBox)
    ):
        raise BundleError(
            f"{folder}: a tracker needs an input that is a crop and decode of family target_box; "
            "convert again"
        )


def _check_file(folder: Path, name: str, hashes: Mapping[str, str]) -> None:
    import hashlib  # brings OpenSSL, 3.6 MB that association alone does without

    if Path(name).name != name:
        raise BundleError(f"{folder}: names the file {name!r} outside its folder; do not trust it")
    try:
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{folder / name}: {error.strerror}; copy the bundle again") from error
    if found != hashes.get(name):
        raise BundleError(
            f"{folder / name}: its sha256 is {found[:12]}..., the manifest says "
            f"{hashes.get(name, 'nothing')[:12]}...; copy the bundle again"
        )
