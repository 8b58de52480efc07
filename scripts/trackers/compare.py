"""Peers and our bundles over annotated sequences: overlap, presence, forecast, CPU time a step.

Run through `scripts/compare-trackers FOLDER`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from edge.errors import EdgeError, UsageError
from edge.evaluation import evaluate
from edge.evaluation.protocols import DEFAULT, named
from edge.evaluation.report import render
from edge.evaluation.results import Estimate, Results
from edge.evaluation.sequences import AnnotatedSequence, find_sequences
from edge.follower import Follower, Stays
from edge.types import Image
from scripts.peers.page import machine, table
from scripts.trackers.nanotrack import NanoTrack
from scripts.trackers.opencv import OpenCvTracker

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("stays", "nanotrack", "csrt", "kcf")
ROUNDS, TIMED_FRAMES = 5, 40


def main() -> int:
    """Measure and print."""
    cv2.setNumThreads(1)
    arguments = parse_arguments()
    try:
        print(measured(arguments))
    except (EdgeError, OSError) as error:
        print(f"compare-trackers: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="compare-trackers")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument(
        "--nanotrack", type=Path, default=ROOT.parent / "shared/data/models/nanotrack_v2"
    )
    parser.add_argument("--protocols", default=",".join(DEFAULT))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--only", default="")
    parser.add_argument("--details", type=Path)
    return parser.parse_args()


def measured(arguments: argparse.Namespace) -> str:
    """Return the table of all trackers as Markdown; write the details where that was asked."""
    only = [name for name in arguments.only.split(",") if name]
    sequences = find_sequences(arguments.folder, only, arguments.frames)
    protocols = named(arguments.protocols.split(","))
    followers = [*ours(arguments.model), *peers(arguments.peers.split(","), arguments.nanotrack)]
    results = evaluate(followers, sequences, protocols, arguments.seeds)
    if arguments.details:
        arguments.details.write_text(render(results, {}, "csv"), encoding="utf-8")
    names = [protocol.name for protocol in protocols]
    heads = ["tracker", *names, "presence AUC", "+100 ms", "CPU ms a step"]
    times = step_ms(followers, sequences)
    rows = [
        [follower.name, *accuracy(results, follower.name, names), f"{ms:.2f}"]
        for follower, ms in zip(followers, times, strict=True)
    ]
    versions = f"OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}."
    return f"{table(heads, rows)}\n\n{versions}\n{machine()}"


def ours(models: Sequence[str]) -> list[Follower]:
    """Load bundles; the table calls them what the command line did."""
    from edge.recurrent import open_follower

    followers = []
    for model in models:
        follower = open_follower(model)
        follower.name = f"**{model}**"
        followers.append(follower)
    return followers


def peers(names: Sequence[str], nanotrack: Path) -> list[Follower]:
    """Make the trackers to compare with.

    Raises:
        UsageError: One is unknown.
    """
    makers = {
        "stays": Stays,
        "nanotrack": lambda: NanoTrack(nanotrack),
        "csrt": lambda: OpenCvTracker("OpenCV CSRT", cv2.TrackerCSRT_create),
        "kcf": lambda: OpenCvTracker("OpenCV KCF", cv2.TrackerKCF_create),
    }
    if unknown := [name for name in names if name not in makers]:
        raise UsageError(f"--peers {unknown[0]!r}: is unknown; choose from {', '.join(makers)}")
    return [makers[name]() for name in names]


def accuracy(results: Results, follower: str, protocols: Sequence[str]) -> list[str]:
    """Return the cells of one follower: overlap by protocol, presence, forecast of the first R."""
    summaries = {name: results.summary(follower, name) for name in protocols}
    forecasts = summaries.get("r10", summaries[protocols[0]])
    overlaps = [_cell(summaries[name]["iou"]) for name in protocols]
    return [*overlaps, _cell(results.presence(follower)), _cell(forecasts["f100"])]


def step_ms(followers: Sequence[Follower], sequences: Sequence[AnnotatedSequence]) -> list[float]:
    """Return the process CPU time of a step by follower, crops and all, in the mean over sequences.

    Each sequence is followed from its first true box for some frames; of several rounds, in which
    the followers take turns, the least counts.
    """
    least = np.full((len(followers), len(sequences)), np.inf)
    for column, sequence in enumerate(sequences):
        images = sequence.decode()[:TIMED_FRAMES]
        for _ in range(ROUNDS):
            for row, follower in enumerate(followers):
                took = _one_round(follower, images, sequence)
                least[row, column] = min(least[row, column], took)
    return [float(ms) for ms in least.mean(axis=1)]


def _one_round(follower: Follower, images: Sequence[Image], sequence: AnnotatedSequence) -> float:
    first = int(np.flatnonzero(np.isfinite(sequence.truth).all(axis=1))[0])
    left, top, right, bottom = map(float, sequence.truth[first])
    follower.start(images[first], (left, top, right, bottom), first / sequence.fps)
    began = time.process_time()
    for frame in range(first + 1, len(images)):
        follower.step(images[frame], frame / sequence.fps)
    return (time.process_time() - began) / (len(images) - first - 1) * 1e3


def _cell(estimate: Estimate) -> str:
    if np.isnan(estimate.mean):
        return "-"
    return f"{estimate.mean:.3f}" + ("" if np.isnan(estimate.error) else f" ±{estimate.error:.3f}")


if __name__ == "__main__":
    sys.exit(main())
