"""From judged passes to numbers with their standard errors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.evaluation.metrics import MEANS, Found, Scores, presence_auc
from edge.evaluation.protocols import Protocol

METRICS = (*MEANS[:4], "presence", *MEANS[4:], "recovered", "refound")
"""What a summary holds: overlap, success AUC, precision at 20 px, normalised precision, presence
AUC, forecast errors in sizes, and the shares of targets found again."""


@dataclass(frozen=True)
class Row:
    """One follower on one sequence under one protocol: all passes, by seed."""

    follower: str
    sequence: str
    protocol: Protocol
    passes: tuple[Scores, ...]


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is."""

    mean: float
    error: float
    """Standard error of the mean over seeds; NaN of a single one."""
    gone: int = 0
    """Of a share of targets found again: how many were gone, over all seeds."""


@dataclass(frozen=True)
class Results:
    """All that was measured; means are over sequences, then over seeds."""

    rows: tuple[Row, ...]

    def summary(
        self, follower: str, protocol: str, sequences: Sequence[str] = ()
    ) -> dict[str, Estimate]:
        """Return every metric of `METRICS`; presence is pooled over the frames of all sequences.

        Args:
            follower: By name.
            protocol: By name.
            sequences: By name; empty: all.
        """
        chosen = self._of(follower, sequences)
        return summarise([row for row in chosen if row.protocol.name == protocol])

    def presence(self, follower: str, sequences: Sequence[str] = ()) -> Estimate:
        """Return the presence AUC pooled over the frames of all protocols that hide nothing.

        A pass counts where every protocol has one of its seed.
        """
        rows = [row for row in self._of(follower, sequences) if not row.protocol.hidden]
        return _estimate([_pooled_presence(passes) for passes in _by_seed(rows)])

    def _of(self, follower: str, sequences: Sequence[str]) -> list[Row]:
        return [
            row
            for row in self.rows
            if row.follower == follower and (not sequences or row.sequence in sequences)
        ]


def summarise(rows: Sequence[Row]) -> dict[str, Estimate]:
    """Return every metric over rows of one follower and one protocol."""
    seeds = _by_seed(rows)
    estimates = {
        name: _estimate([_mean(scores.means[name] for scores in passes) for passes in seeds])
        for name in MEANS
    }
    estimates["presence"] = _estimate([_pooled_presence(passes) for passes in seeds])
    for name in ("recovered", "refound"):
        counts = [sum((getattr(s, name) for s in passes), Found()) for passes in seeds]
        total = sum(counts, Found())
        error = _estimate([count.share for count in counts]).error
        estimates[name] = Estimate(total.share, error, total.gone)
    return {name: estimates[name] for name in METRICS}


def _by_seed(rows: Sequence[Row]) -> list[list[Scores]]:
    """Return for each seed that all rows have the passes of all rows."""
    return [list(passes) for passes in zip(*(row.passes for row in rows), strict=False)]


def _pooled_presence(passes: Sequence[Scores]) -> float:
    return presence_auc(
        np.concatenate([scores.on for scores in passes]),
        np.concatenate([scores.off for scores in passes]),
    )


def _mean(values: Iterable[float]) -> float:
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else np.nan


def _estimate(values: Sequence[float]) -> Estimate:
    there = [value for value in values if not np.isnan(value)]
    error = float(np.std(there, ddof=1) / np.sqrt(len(there))) if len(there) > 1 else np.nan
    return Estimate(_mean(there), error)
