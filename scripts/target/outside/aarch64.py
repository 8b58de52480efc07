"""Tries an installed wheel on emulated 64-bit ARM, compares it with this machine; rows on stdout.

Run by scripts/target/aarch64 with the Python of this machine that has the same wheel:
aarch64.py FOLDER, where the systems are.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rows import expect, holds, sum_up

INSTALLED = "/opt/edgetrack/bin"
INTERPRETERS = {"litert": "ai-edge-litert", "onnx": "onnxruntime"}
SOURCE = "synthetic:portrait?frames=12"
DETECTING = ("--model", "face")
FOLLOWING = ("--model", "face", "--model", "track", "--detect-every", "5")
LARGEST_PX, LARGEST_SHARE = 0.05, 0.001
"""How far boxes, in pixels of 640x480, and scores and presences may be from this machine's."""


@dataclass(frozen=True)
class Board:
    """A system of another processor in a folder."""

    name: str
    cpu: str
    python: str
    root: Path

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program there; nothing of this machine's environment goes with it."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/root",
            "QEMU_CPU": self.cpu,
            "OMP_NUM_THREADS": "1",
        }
        words = ("chroot", str(self.root), *words)
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    def must(self, *words: str) -> str:
        """Run a program there that must succeed; return its output."""
        done = self.call(*words)
        expect(done.returncode == 0, f"{words}: exit code {done.returncode}, {done.stderr[-2000:]}")
        return done.stdout

    def edgetrack(self, *words: str) -> str:
        """Run the command there, which must succeed."""
        return self.must(f"{INSTALLED}/edgetrack", *words)


def installs(board: Board) -> str:
    """The wheel and what it needs are installed by pip; Python is the one of the board."""
    pip = next(board.root.glob("usr/share/python-wheels/pip-*.whl")).relative_to(board.root)
    board.must("/usr/bin/python3", "-m", "venv", "--without-pip", "/opt/edgetrack")
    wheel = next(board.root.glob("root/edgetrack-*.whl")).relative_to(board.root)
    offline = ("--quiet", "--no-compile", "--no-index", "--find-links", "/wheels")
    # The wheel of pip is a program; `ensurepip` would first unpack it, emulated.
    program = (f"{INSTALLED}/python", f"/{pip}/pip")
    board.must(*program, "install", *offline, f"/{wheel}[all]")
    ask = "import platform; print(platform.machine(), platform.python_version())"
    said = board.must(f"{INSTALLED}/python", "-c", ask).strip()
    expect(said.startswith(f"aarch64 {board.python}."), f"it is {said}")
    return said


def is_well(board: Board) -> str:
    """`edgetrack doctor` ends well: interpreters and models are found and work."""
    checks = json.loads(board.edgetrack("doctor", "--json"))
    verdicts = {check["topic"]: check["verdict"] for check in checks}
    expect({"processor", "interpreter", "model face"} <= set(verdicts), f"{checks}")
    return ", ".join(f"{topic} {verdict}" for topic, verdict in verdicts.items())


def repeats(board: Board) -> str:
    """Every model that ships repeats its recording in every interpreter."""
    names = [line.split()[0] for line in board.edgetrack("models", "list").splitlines()]
    expect(len(names) >= 5, f"there are only {names}")
    figures, found = [], dict[str, str]()
    for name in names:
        replays = board.edgetrack("models", "verify", name).splitlines()[1:]
        # such as: onnxruntime 1.32.0: differs from the recording by 1.2e-06 at most
        found = {line.split()[0]: line.split(" by ")[1].split()[0] for line in replays}
        expect(set(found) == set(INTERPRETERS.values()), f"{name}: {replays}")
        figures.append(f"{name} {' and '.join(found.values())}")
    return f"in {' and '.join(found)} off by: {', '.join(figures)}"


def tracks(models: tuple[str, ...], backend: str, board: Board) -> str:
    """`edgetrack track` gives the records that it gives on this machine."""
    words = ("track", SOURCE, *models, "--backend", backend)
    here = subprocess.run(
        [sys.executable, "-P", "-m", "edge", *words], capture_output=True, text=True, check=False
    )
    expect(here.returncode == 0, f"it does not run on this machine: {here.stderr[-2000:]}")
    wanted, found = _records(here.stdout), _records(board.edgetrack(*words))
    confirmed = sum(t["status"] == "confirmed" for record in wanted for t in record["tracks"])
    expect(confirmed >= len(wanted), "there are hardly any tracks to compare")
    px, share = _difference(wanted, found)
    expect(px <= LARGEST_PX and share <= LARGEST_SHARE, f"off by {px:.3f} px and {share:.4f}")
    return f"{len(found)} records, {confirmed} boxes at most {px:.3f} px off, scores {share:.3f}"


def runs(board: Board) -> str:
    """`edgetrack run` runs to the end of its source, and what it writes are records."""
    records = _records(board.edgetrack("run", "--source", "synthetic:portrait?frames=8"))
    expect(any(record["tracks"] for record in records), f"{records}")
    return f"{len(records)} records, emulated far too slowly for all of the 8 frames"


def _records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _difference(wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> tuple[float, float]:
    """Return by how much boxes and shares differ at most; all else must be equal."""
    px, share = [0.0], [0.0]
    expect(len(wanted) == len(found), f"{len(found)} records, not {len(wanted)}")
    for mine, its in zip(wanted, found, strict=True):
        for key in ("frame", "captured_at", "size", "events"):
            expect(mine[key] == its[key], f"frame {mine['frame']}: {key} is {its[key]}")
        for key in ("id", "label", "status"):
            lists = [[track[key] for track in record["tracks"]] for record in (mine, its)]
            expect(lists[0] == lists[1], f"frame {mine['frame']}: {key} of tracks: {lists}")
        for a, b in zip(mine["tracks"], its["tracks"], strict=True):
            px += [abs(p - q) for p, q in zip(a["box"], b["box"], strict=True)]
            share += [abs(a[key] - b[key]) for key in ("score", "presence")]
    return max(px), max(share)


def _claims(board: Board) -> list[Callable[[], str]]:
    """Return what is claimed of a board, in order."""
    detecting, following = partial(tracks, DETECTING), partial(tracks, FOLLOWING, "litert")
    return [
        _claim(board, installs),
        _claim(board, is_well),
        _claim(board, repeats),
        *(_claim(board, partial(detecting, name), f"detecting in {name}") for name in INTERPRETERS),
        _claim(board, following, "following in litert"),
        _claim(board, runs),
    ]


def _claim(board: Board, claim: Callable[[Board], str], what: str = "") -> Callable[[], str]:
    """Bind a claim to its board, and say so in its text."""
    text = (getattr(claim, "func", claim).__doc__ or "").rstrip(".")  # func: of a partial
    bound = partial(claim, board)
    bound.__doc__ = f"{board.name}: {text}{f', {what}' if what else ''}"
    return bound


def main(folder: str) -> int:
    """Try every claim, on the boards at the same time."""
    boards = (
        Board("Pi 4", "cortex-a72", "3.11", Path(folder, "pi4", "root")),
        Board("Pi 5", "cortex-a76", "3.13", Path(folder, "pi5", "root")),
    )
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        held = pool.map(lambda board: [holds(c, str) for c in _claims(board)], boards)
        return sum_up([one for of_board in held for one in of_board], began)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
