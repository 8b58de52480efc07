"""The processes that fit one net together, under `torchrun` or alone."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed


class Crowd:
    """One of several processes with the same net; alone it does nothing."""

    def __init__(self) -> None:
        """Join those that `torchrun` has started: it says so in the environment."""
        self.rank = int(os.environ.get("RANK", 0))
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) if cuda else 0)
        if not cuda:
            self.device = torch.device("cpu")
        if self.count > 1:
            distributed.init_process_group("nccl" if cuda else "gloo")

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            distributed.destroy_process_group()

    def average(self, values: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""
        if self.count == 1:
            return
        flat = torch.cat([value.flatten() for value in values])  # one message instead of hundreds
        distributed.all_reduce(flat)
        flat /= self.count
        parts = flat.split([value.numel() for value in values])
        for value, part in zip(values, parts, strict=True):
            value.copy_(part.view_as(value))

    def agree(self, wish: bool) -> bool:
        """Say whether the first process wishes so; all get the same answer."""
        if self.count == 1:
            return wish
        answer = torch.tensor([int(wish)], device=self.device)
        distributed.broadcast(answer, 0)
        return bool(answer.item())

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values
