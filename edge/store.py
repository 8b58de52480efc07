"""The versions of a model on a device: a folder for each, and a link that is switched at once.

    PLACE/NAME/2-1f3a9c07/               a bundle: its version, and what its manifest hashes to
    PLACE/NAME/current  -> 2-1f3a9c07    what `edge.bundle.find` returns for NAME
    PLACE/NAME/previous -> 1-77ab02de    what `rollback` returns to

Whenever the power goes, `current` leads to a whole bundle: files are on the disk before the folder
gets its name, and the folder before the link does. What was half-made begins with a dot, is seen
by nobody, and is swept away by the next change.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge import bundle as bundles
from edge.bundle import CURRENT, MANIFEST, Bundle
from edge.errors import BundleError, EdgeError, SinkError
from edge.manifest import VERSION

PREVIOUS = "previous"
_HASH_DIGITS = 8


def install(bundle: Bundle, place: Path) -> tuple[Path, bool]:
    """Copy a bundle into a place and make it the current version of its name.

    Args:
        bundle: Found good on this device already; the copy is compared with its hashes.
        place: A folder of models; it is made where it is missing.

    Returns:
        The version's folder, and whether anything had to be changed.

    Raises:
        BundleError: Its version cannot name a folder, or the name belongs to a plain bundle.
        SinkError: There is no space or no permission.
    """
    version = _version(bundle)
    home = place / bundle.manifest.name
    with _changing(place):
        refuse_plain(home)
        there = _is_sound(home / version)
        if there and _target(home / CURRENT) == version:
            return home / version, False
        if not there:
            _copy(bundle, home / version)
        _switch(home, version)
        _prune(home)
    return home / version, True


def activate(folder: Path) -> None:
    """Make a version the current one; what was current becomes the previous one.

    Args:
        folder: One of `versions`, found good on this device.

    Raises:
        BundleError: Another change removed it meanwhile.
        SinkError: The links cannot be written.
    """
    with _changing(folder.parent.parent):
        bundles.load(folder)
        _switch(folder.parent, folder.name)


def rollback(home: Path) -> Path | None:
    """Exchange the current version and the previous one.

    Only hashes are checked: this is the way out when the current one fails, and the previous one
    was found good when it was installed.

    Returns:
        The version that is current now. None where there is no previous one and another place
        has a bundle of that name: that one is used now, as it was before the first version came.

    Raises:
        BundleError: There is nothing to return to, or it is damaged.
        SinkError: The links cannot be written.
    """
    with _changing(home.parent):
        now, before = _target(home / CURRENT), _target(home / PREVIOUS)
        before = "" if before == now else before  # a switch was interrupted between the links
        if before:
            bundles.load(home / before)
            _point(home / CURRENT, before)
        elif now and _is_elsewhere(home):
            (home / CURRENT).unlink()
        else:
            raise BundleError(
                f"{home}: has no previous version, only {now or 'none'}; install another one"
            )
        if now:
            _point(home / PREVIOUS, now)
    return home / before if before else None


def versions(home: Path) -> list[Path]:
    """Return the folders of a model's versions, by name; none where there is no such model."""
    found = sorted(home.glob(f"[!.]*/{MANIFEST}"))
    return [path.parent for path in found if not path.parent.is_symlink()]


def role(folder: Path) -> str:
    """Return what a version is to its model: `current`, `previous`, or neither."""
    links = (CURRENT, PREVIOUS)
    return next((link for link in links if _target(folder.parent / link) == folder.name), "")


def choose(home: Path, word: str) -> Path:
    """Return the one version that is meant: by its version, or by how its folder's name begins.

    Raises:
        BundleError: There is none, or several; the message lists them.
    """
    known = versions(home)
    named = [path for path in known if word in (path.name, path.name.rpartition("-")[0])]
    meant = named or [path for path in known if path.name.startswith(word)]
    if len(meant) != 1:
        found = "no such version" if not meant else "not one version alone"
        listed = ", ".join(path.name for path in meant or known) or "none"
        raise BundleError(f"{home.name} {word}: {found}, there are {listed}; name one of them")
    return meant[0]


def refuse_plain(home: Path) -> None:
    """Refuse a folder that is a bundle itself: there is nothing in it to switch.

    Raises:
        BundleError: It is one.
    """
    if (home / MANIFEST).is_file():
        raise BundleError(
            f"{home}: is a plain bundle, as `models import` makes it, without versions; "
            "move it elsewhere and `edgetrack models install` it from there"
        )


def _version(bundle: Bundle) -> str:
    version = bundle.manifest.version
    if not re.fullmatch(VERSION, version):
        raise BundleError(
            f"{bundle.folder}: version {version!r} cannot name a folder; use letters, digits, "
            "'.', '_', '+' and '-', up to 64 of them"
        )
    digest = hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest()
    return f"{version}-{digest[:_HASH_DIGITS]}"


@contextmanager
def _changing(place: Path) -> Iterator[None]:
    """Let one process at a time change a place, and say in one line what the disk refuses."""
    try:
        missing = [folder for folder in (place, *place.parents) if not folder.exists()]
        place.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync(folder.parent)
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, whatever ends that
            yield
        finally:
            os.close(lock)
    except OSError as error:
        if isinstance(error, EdgeError):
            raise
        raise SinkError(
            f"{place}: cannot be changed, {error.strerror}; "
            "free space, run as its owner or choose another --place"
        ) from error


def _copy(bundle: Bundle, folder: Path) -> None:
    """Write a version's folder: a whole one appears, or none."""
    unfinished = _hidden(folder)
    try:
        folder.parent.mkdir(exist_ok=True)
        _sync(folder.parent.parent)
        _sweep(folder.parent)
        unfinished.mkdir()
        for name in {MANIFEST, *bundle.manifest.files()}:
            shutil.copyfile(bundle.folder / name, unfinished / name)
            _sync(unfinished / name)
        _sync(unfinished)
        if _version(bundles.load(unfinished)) != folder.name:
            raise BundleError(f"{bundle.folder}: changed while it was copied; install it again")
        _discard(folder)  # it is damaged, or it would not be written again
        unfinished.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()  # only where it is empty: the first version failed


def _switch(home: Path, version: str) -> None:
    """Set both links, `current` last: until then nothing has happened."""
    now = _target(home / CURRENT)
    if now and now != version:
        _point(home / PREVIOUS, now)
    _point(home / CURRENT, version)


def _point(link: Path, target: str) -> None:
    """Lead a link elsewhere, in one step that either happened or did not."""
    fresh = _hidden(link)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
    _sync(link.parent)


def _prune(home: Path) -> None:
    """Remove what is neither current nor previous."""
    for folder in versions(home):
        if not role(folder):
            _discard(folder)


def _discard(folder: Path) -> None:
    """Remove a version; it is out of sight before the first of its files goes."""
    if folder.exists():
        gone = folder.with_name(f".gone.{folder.name}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _sweep(home: Path) -> None:
    """Remove what an interrupted change left."""
    for path in home.glob(".*"):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def _is_sound(folder: Path) -> bool:
    try:
        bundles.load(folder)
    except BundleError:
        return False
    return True


def _is_elsewhere(home: Path) -> bool:
    """Tell whether a place that comes after this one has a bundle of that name."""
    places = bundles.model_folders()
    later = places[places.index(home.parent) + 1 :] if home.parent in places else []
    return any(bundles.bundle_in(place / home.name) for place in later)


def _target(link: Path) -> str:
    """Return the name a link leads to, empty where there is no link."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}")


def _sync(path: Path) -> None:
    """Have a file or the entries of a folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
