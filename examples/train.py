"""Train one of the networks on clips made here, and show that its memory is what answers."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edge.types import Array
from examples import networks
from examples.clips import LABELS, Clips, render

STEPS = 12
"""Frames of a clip to train on."""
_HELD_OUT = 400  # clips
_HELD_OUT_SEED = 1_000_000
_BATCH = 32


@dataclass(frozen=True)
class Task:
    """What a network is trained to say."""

    build: Callable[[], keras.Model]
    loss: str
    truth: Callable[[Clips], Array]
    """Of clips: (clips, numbers) of their last frames, or (clips, steps, numbers) of all."""
    labels: tuple[str, ...]
    ways: tuple[int, ...] = (-1, 0, 1)
    """What the ball may do."""


def velocity(clips: Clips) -> Array:
    """Return the last frame's velocity, (clips, 1) pixels a frame."""
    return clips.velocity[:, -1:]


def right(clips: Clips) -> Array:
    """Return 1 where the ball goes right and 0 elsewhere, (clips, steps, 1)."""
    return (clips.velocity > 0)[..., None].astype(np.float64)


def doing(clips: Clips) -> Array:
    """Return 1 at the place of what the ball does in `LABELS`, (clips, steps, 3)."""
    return np.eye(len(LABELS))[clips.doing]


TASKS = {
    "regressor": Task(networks.regressor, "mse", velocity, ("velocity",)),
    "video": Task(networks.video, "mse", velocity, ("velocity",)),
    "rnn": Task(networks.rnn, "binary_crossentropy", right, ("right",), (-1, 1)),
    "gru": Task(networks.gru, "binary_crossentropy", right, ("right",), (-1, 1)),
    "behaviour": Task(networks.behaviour, "categorical_crossentropy", doing, LABELS),
}


@dataclass(frozen=True)
class Losses:
    """What a network loses on clips that it was not trained on."""

    trained: float
    memory_cut: float
    """Of the same network, shown every frame alone."""
    constant: float
    """Of the best answer that never changes: the mean, or the share of each class."""


def train(
    name: str, clips: int = 1000, epochs: int = 15, seed: int = 0
) -> tuple[keras.Model, Losses]:
    """Train a network.

    Args:
        name: Of `TASKS`.
        clips: How many it sees in an epoch.
        epochs: How often it sees them.
        seed: Of the clips, the first weights and the order.
    """
    keras.utils.set_random_seed(seed)
    task = TASKS[name]
    seen = render(clips, STEPS, seed, task.ways)
    model = task.build()
    model.compile(keras.optimizers.Adam(2e-3), task.loss)
    model.fit(seen.pixels, task.truth(seen), batch_size=_BATCH, epochs=epochs, verbose=0)
    return model, held_out(model, task, constant=_mean(task.truth(seen)))


def held_out(model: keras.Model, task: Task, constant: Array) -> Losses:
    """Return the losses on clips that training never makes.

    Args:
        model: Trained.
        task: What it was trained for.
        constant: (numbers,), the answer to compare it with.
    """
    clips = render(_HELD_OUT, STEPS, _HELD_OUT_SEED, task.ways)
    truth, frames = task.truth(clips), clips.pixels
    alone = frames[:, -1:] if truth.ndim == 2 else frames.reshape(-1, 1, *frames.shape[2:])

    def loss(answer: Array) -> float:
        return float(np.mean(keras.losses.get(task.loss)(truth, answer.reshape(truth.shape))))

    return Losses(
        trained=loss(model(frames).numpy()),
        memory_cut=loss(model(alone).numpy()),
        constant=loss(np.broadcast_to(constant, truth.shape)),
    )


def options(name: str) -> list[str]:
    """Return what `edgetrack-convert` must be told of a network."""
    task = TASKS[name]
    decode = ["--decode", "values"] if task.loss == "mse" else []
    return ["--labels", ",".join(task.labels), *decode, "--licence", "CC0-1.0"]


def main(argv: Sequence[str] | None = None) -> None:
    """Train one network, say how good it is and save it."""
    parser = argparse.ArgumentParser(prog="python -m examples.train", description=__doc__)
    parser.add_argument("name", choices=TASKS)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .keras")
    parser.add_argument("--clips", type=int, default=1000, help="to train on, default 1000")
    parser.add_argument("--epochs", type=int, default=15, help="default 15")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    args = parser.parse_args(argv)
    model, losses = train(args.name, args.clips, args.epochs, args.seed)
    model.save(args.out)
    print(f"{args.out}: {args.clips} clips, {args.epochs} epochs; held-out {model.loss}")
    print(f"  {losses.trained:.3f} the network")
    print(f"  {losses.memory_cut:.3f} its memory cut, every frame alone")
    print(f"  {losses.constant:.3f} the best constant")
    words = [str(args.out), "--out", args.out.stem, "--samples", "clip.avi", *options(args.name)]
    print(f"next: edgetrack-convert {' '.join(words)}")


def _mean(truth: Array) -> Array:
    """Return (numbers,): the constant with the least squared error, and the least cross-entropy."""
    numbers: Array = truth.reshape(-1, truth.shape[-1]).mean(axis=0)
    return numbers


if __name__ == "__main__":
    main()
