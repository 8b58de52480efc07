"""Association given detections: CPU time, memory and accuracy of every tracker; prints a table.

Run through `scripts/compare-peers association`.
"""

import argparse
import logging
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.mot_eval import Sequence, hota, load_set
from scripts.peers.adapters import PEERS, Associator, Peer
from scripts.peers.page import machine, table

Floats = NDArray[np.float64]
Scene = list[tuple[Floats, Floats]]  # a frame: boxes (n, 4) ltrb in pixels, scores (n,)

COUNTS = (1, 10, 30, 100)
SETS = {"tud": "TUD", "kitti": "KITTI even, cars", "pets": "PETS 1-250"}
LOWEST_SCORE = 1 / (1 + np.exp(2.0))
"""A raw KITTI score of 0. Below it stands noise that trackers without thresholds suffer from."""
FRAME_RATE = 30.0
FRAMES = 120
WARM_UP = 20
REPEATS = 7
PRINT_RSS = (
    "import re, {module}; "
    "print(re.search(r'VmRSS:\\s*(\\d+)', open('/proc/self/status').read())[1])"
)


def make_scene(n: int, seed: int = 0) -> Scene:
    """Return `n` objects that drift and bounce in 1920x1080: 4% jitter, 5% misses, false alarms."""
    random = np.random.default_rng(seed)
    frame = np.array([1920.0, 1080.0])
    centre = random.uniform(0.1, 0.9, (n, 2)) * frame
    velocity = random.normal(0, 3, (n, 2))
    size = random.uniform(40, 120, (n, 1)) * np.array([0.5, 1.0])
    scene = []
    for _ in range(FRAMES):
        velocity *= np.where((centre < 0) | (centre > frame), -1, 1)
        centre = centre + velocity
        seen = random.random(n) < 0.95
        false = random.random(n) < 0.05
        at = np.concatenate((centre[seen], random.uniform(0, 1, (false.sum(), 2)) * frame))
        sides = np.concatenate((size[seen], size[false]))
        at = at + random.normal(0, 0.04, at.shape) * sides
        boxes = np.concatenate((at - sides / 2, at + sides / 2), axis=1)
        scores = np.r_[
            random.uniform(0.65, 0.95, seen.sum()), random.uniform(0.2, 0.7, false.sum())
        ]
        scene.append((boxes, scores))
    return scene


def cpu_us(tracker: Associator, scene: Scene) -> float:
    """Return the process CPU time of one frame in microseconds, after the warm-up."""
    for k, (boxes, scores) in enumerate(scene[:WARM_UP]):
        tracker.update(boxes, scores, k / FRAME_RATE)
    start = time.process_time()
    for k, (boxes, scores) in enumerate(scene[WARM_UP:], WARM_UP):
        tracker.update(boxes, scores, k / FRAME_RATE)
    return (time.process_time() - start) / (len(scene) - WARM_UP) * 1e6


def fastest(n: int) -> list[float]:
    """Return every peer's CPU us a frame at `n` objects, minimum over rounds that take turns."""
    scene = make_scene(n)
    rounds = [[cpu_us(peer.make(FRAME_RATE), scene) for peer in PEERS] for _ in range(REPEATS)]
    return [float(us) for us in np.min(rounds, axis=0)]


def rss_mb(module: str) -> float:
    """Return the memory of a fresh Python that imported `module`."""
    code = PRINT_RSS.format(module=module)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / 1024


def load_sets(data: Path) -> list[list[Sequence]]:
    """Load the development sets; none where there is no data."""
    return [load_set(data / "mot", name) for name in SETS] if (data / "mot").is_dir() else []


def score(peer: Peer, sequences: list[Sequence]) -> dict[str, float]:
    """Run a peer over the sequences and return HOTA, IDF1, IDSW and more."""
    return hota([(sequence, _track(peer, sequence)) for sequence in sequences])


def standing(title: str, scores: list[dict[str, float]]) -> str:
    """Say how far ours, the first of the scores, is from the best peer on one set."""
    ours, *others = [score["HOTA"] for score in scores]
    best = int(np.argmax(others))
    return f"{title} {ours - others[best]:+.1f} ({PEERS[best + 1].title})"


def _track(peer: Peer, sequence: Sequence) -> list[list[tuple[int, float, float, float, float]]]:
    tracker = peer.make(sequence.fps)
    frames = []
    for k, rows in enumerate(sequence.detections):
        kept = rows[rows[:, 4] >= LOWEST_SCORE]
        output = tracker.update(kept[:, :4].copy(), kept[:, 4].copy(), k / sequence.fps)
        frames.append(tracker.rows(output))
    return frames


def _title(peer: Peer) -> str:
    return f"{peer.title} {version(peer.distribution)}" if peer.distribution else peer.title


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    sets = load_sets(parser.parse_args().data)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # norfair warns of the boxes without area in KITTI
    times = zip(*map(fastest, COUNTS), strict=True)
    scores = [[score(peer, sequences) for peer in PEERS] for sequences in sets]
    rows = [
        [_title(peer), *(f"{value:.0f}" for value in us), f"{rss_mb(peer.module):.0f}"]
        for peer, us in zip(PEERS, times, strict=True)
    ]
    for column in scores:
        for row, found in zip(rows, column, strict=True):
            row.append(f"{found['HOTA']:.1f} / {found['IDF1']:.1f} / {found['IDSW']:.0f}")
    titles = list(SETS.values())[: len(sets)]
    print(table(["tracker", *(f"us at {n}" for n in COUNTS), "RSS MB", *titles], rows))
    print()
    if sets:
        against = "; ".join(map(standing, titles, scores))
        print(f"HOTA of edgetrack less that of the best peer on the set: {against}.\n")
    print(machine())


if __name__ == "__main__":
    main()
