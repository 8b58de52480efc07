"""Debian packages: fetched by apt into a folder of our own, unpacked there, never installed.

apt is given lists, state and cache below that folder, so the machine's own stay as they are, no
rights are needed, and the suites are ours whatever release the machine runs.
"""

import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FOLDER, _ZLIB, _ZSTD = 2, 1, 4  # flags of an entry of a Qt resource archive


@dataclass(frozen=True, slots=True)
class Package:
    """An unpacked package."""

    name: str
    version: str
    folder: Path

    @property
    def copyright(self) -> str:
        """Its licence text; empty where it has none."""
        path = self.folder / "usr/share/doc" / self.name / "copyright"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


class Apt:
    """apt over its own folder; `update` comes first."""

    def __init__(self, folder: Path, suites: Sequence[str]) -> None:
        """Make the folder.

        Raises:
            SourceError: apt is not there, or knows no Debian mirror.
        """
        for program in ("apt-get", "dpkg-deb"):
            if shutil.which(program) is None:
                raise SourceError(
                    f"{program}: is not installed; build the sets on a Debian machine"
                )
        self._folder = folder.absolute()
        for part in ("state/lists/partial", "cache/archives/partial", "unpacked"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        (self._folder / "state/status").touch()
        self._mirror = _mirror()
        signed = f"[signed-by={KEYRING}] " if Path(KEYRING).is_file() else ""
        lines = [f"deb {signed}{self._mirror} {suite} main\n" for suite in suites]
        (self._folder / "sources.list").write_text("".join(lines), encoding="utf-8")

    def update(self) -> None:
        """Fetch the suites' lists.

        Raises:
            SourceError: They cannot be had.
        """
        self._run("update", "--error-on=any")

    def fetch(self, name: str, suite: str) -> Package:
        """Return a package, from the cache where it was unpacked before.

        Raises:
            SourceError: The suite has no such package, or it cannot be had.
        """
        place = self._folder / "unpacked" / f"{name}_{suite}"
        if not (place / "version").is_file():
            shutil.rmtree(place, ignore_errors=True)
            (place / "deb").mkdir(parents=True)
            self._run("download", f"{name}/{suite}", cwd=place / "deb")
            (deb,) = (place / "deb").glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, place / "root"], check=True)
            for archive in sorted((place / "root").rglob("*.rcc")):
                unpack_resources(archive)
            (place / "version").write_text(deb.name.split("_")[1].replace("%3a", ":"))
            shutil.rmtree(place / "deb")
        return Package(name, (place / "version").read_text(), place / "root")

    def _run(self, *words: str, cwd: Path | None = None) -> None:
        settings = {
            "Dir::Etc::SourceList": self._folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State": self._folder / "state",
            "Dir::State::status": self._folder / "state/status",
            "Dir::Cache": self._folder / "cache",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "",
        }
        options = [f"-o{key}={value}" for key, value in settings.items()]
        done = subprocess.run(
            ["apt-get", "-q", *options, *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            why = lines[0][2:].strip() if lines else f"exit code {done.returncode}"
            raise SourceError(
                f"apt-get {' '.join(words)}: {why}; look at the network and {self._mirror}"
            )


def unpack_resources(archive: Path) -> None:
    """Put a folder of what is in a Qt resource archive (.rcc) in its place.

    Raises:
        SourceError: It is none, or compressed in a way that Python cannot undo.
    """
    data = archive.read_bytes()
    if data[:4] != b"qres":
        raise SourceError(f"{archive}: begins with {data[:4]!r}, not b'qres'; fetch it again")
    archive.unlink()
    for path, content in _resources(data, archive):
        place = archive / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _resources(data: bytes, archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file; the format is that of Qt's qresource.cpp."""
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    size = 14 if version == 1 else 22  # bytes an entry; later ones add the time of change
    entries = [(0, "")]
    while entries:
        number, folder = entries.pop()
        name, flags, count, start = struct.unpack_from(">IHII", data, tree + number * size)
        (length,) = struct.unpack_from(">H", data, names + name)
        begin = names + name + 6  # after the length and a hash
        own = data[begin : begin + 2 * length].decode("utf-16-be") if number else ""  # 0: the root
        path = f"{folder}{own}"
        if flags & _FOLDER:
            inside = f"{path}/" if path else ""
            entries += [(start + child, inside) for child in range(count)]
            continue
        if flags & _ZSTD:
            raise SourceError(f"{archive}: {path} is compressed by zstd; take an older release")
        (length,) = struct.unpack_from(">I", data, contents + start)
        begin = contents + start + 4
        content = data[begin : begin + length]
        yield path, zlib.decompress(content[4:]) if flags & _ZLIB else content


def _mirror() -> str:
    """Return the address of the Debian mirror that the machine's own apt is set up with."""
    words = ["--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(
        ["apt-get", "indextargets", *words], capture_output=True, text=True, check=False
    )
    for line in done.stdout.splitlines():
        label, _, address = line.rpartition(" ")
        if label == "Debian":
            return address
    raise SourceError(
        "apt-get indextargets: names no Debian mirror; `apt-get update` on a Debian machine first"
    )
