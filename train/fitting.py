"""The loop of every stage: steps, a schedule, an average of the weights, checkpoints, a log.

A run stands in a folder: `state.pt` (all that is needed to go on, to the step), `weights.pt` (the
averaged weights, what is converted and what a later stage starts from) and `log.csv`. Under
`torchrun` each process renders scenes of its own, and gradients are averaged.
"""

import copy
import csv
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from edge.errors import DataError
from train.config import FittingSettings
from train.crowd import Crowd

STATE, WEIGHTS, LOG = "state.pt", "weights.pt", "log.csv"
_LOG_EVERY = 50  # steps


class Stage(Protocol):
    """What is fitted, and to what."""

    net: Any
    """A `torch.nn.Module`."""

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Render a batch and return the terms of its loss by name; their sum is minimised."""

    def validate(self, net: Any) -> dict[str, float]:
        """Measure the averaged net on held-out pictures, the same ones every time."""


class Fitting:
    """A run of a stage; it goes on where the folder's last checkpoint stands."""

    def __init__(self, stage: Stage, settings: FittingSettings, folder: Path, crowd: Crowd) -> None:
        """Begin, or read the checkpoint.

        Raises:
            DataError: The checkpoint is of another net.
        """
        self._stage, self._settings, self._folder, self._crowd = stage, settings, folder, crowd
        self._average = copy.deepcopy(stage.net).requires_grad_(False).eval()
        self._optimiser = torch.optim.AdamW(
            stage.net.parameters(), settings.rate, weight_decay=settings.decay
        )
        self._generator = torch.Generator(crowd.device)
        self._generator.manual_seed(settings.seed * 1000 + crowd.rank)
        self._step = 0
        self._crops = 0.0
        if (folder / STATE).exists():
            self._resume(folder / STATE)

    def run(self, until: float = float("inf")) -> int:
        """Fit until all steps are done, or the clock (`time.monotonic`) says `until`.

        Returns:
            Steps done so far.
        """
        total, saved = self._settings.steps, time.monotonic()
        seen: list[dict[str, float]] = []
        with tqdm(total=total, initial=self._step, disable=None, unit="step") as bar:
            while self._step < total and not self._crowd.agree(time.monotonic() > until):
                seen.append({n: float(v.detach()) for n, v in self._advance().items()})
                bar.update()
                if self._step % _LOG_EVERY == 0:
                    means = {n: sum(terms[n] for terms in seen) / len(seen) for n in seen[0]}
                    bar.set_postfix_str(" ".join(f"{n} {v:.3f}" for n, v in means.items()))
                    self._write(means)
                    seen = []
                if time.monotonic() - saved > self._settings.checkpoint_s:
                    self._save()
                    saved = time.monotonic()
        self._save()
        return self._step

    def _advance(self) -> dict[str, Tensor]:
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.rate * self._settings.share(self._step)
        terms = self._stage.loss(self._generator)
        self._optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self._crowd.average([p.grad for p in self._stage.net.parameters() if p.grad is not None])
        nn.utils.clip_grad_norm_(self._stage.net.parameters(), self._settings.clip)
        self._optimiser.step()
        self._step += 1
        self._follow()
        return terms

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights towards the present ones; soon at first."""
        share = 1 - min(self._settings.average, self._step / (10 + self._step))
        mine, theirs = self._average.state_dict(), self._stage.net.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name], share)
            else:
                value.copy_(theirs[name])

    def _write(self, means: Mapping[str, float]) -> None:
        row: dict[str, Any] = {"step": self._step, "seconds": round(time.time(), 1)}
        row |= {name: round(value, 4) for name, value in means.items()}
        if self._step % self._settings.validate_every == 0:
            measured = self._stage.validate(self._average)
            row |= {f"held-out {name}": round(v, 4) for name, v in measured.items()}
        if self._crowd.rank == 0:
            _append(self._folder / LOG, row)

    def _save(self) -> None:
        generators = self._crowd.gather(self._generator.get_state())
        if self._crowd.rank:
            return
        state = {
            "step": self._step,
            "net": self._stage.net.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generators": generators,
        }
        write(self._folder / STATE, state)
        write(self._folder / WEIGHTS, self._average.state_dict())

    def _resume(self, path: Path) -> None:
        state = read(path)
        try:
            self._stage.net.load_state_dict(state["net"])
            self._average.load_state_dict(state["average"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._step = state["step"]
            generators = state["generators"]
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"{path}: does not fit, {reason}; choose another folder") from error
        if self._crowd.rank < len(generators):
            self._generator.set_state(generators[self._crowd.rank])


def write(path: Path, content: Any) -> None:
    """Write a checkpoint: it is there as a whole, or the old one still is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(content, unfinished)
    os.replace(unfinished, path)


def load(net: nn.Module, path: Path) -> None:
    """Set a net's weights to those of a file.

    Raises:
        DataError: It cannot be read, or is of another net.
    """
    try:
        net.load_state_dict(read(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: is of another net, {reason}; name other weights") from error


def read(path: Path) -> Any:
    """Read a checkpoint or weights.

    Raises:
        DataError: It is not there, or is none.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name a run's folder") from error
    except Exception as error:  # whatever unpickling says of a file that is none
        raise DataError(f"{path}: is no checkpoint; begin in another folder") from error


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line to a CSV; columns that are new are added to its head."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(name for r in [*rows, row] for name in r))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows([*rows, dict(row)])
