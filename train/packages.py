"""Debian packages: fetched by apt into a folder of our own, unpacked there, never installed.

apt is given lists, state and cache below that folder, so the machine's own stay as they are, no
rights are needed, and the suites are ours whatever release the machine runs.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


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
