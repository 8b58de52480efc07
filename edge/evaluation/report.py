"""Results as text: a table for people, Markdown, CSV or JSON."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge.evaluation.results import METRICS, Estimate, Results

FORMATS = ("table", "markdown", "csv", "json")
POOLED = "all"
"""The protocol of a line that pools presence over protocols."""
_KEYS = ("model", "sequences", "protocol")
_SHARES = ("recovered", "refound")


@dataclass(frozen=True)
class Line:
    """One line of a report."""

    model: str
    sequences: str
    """A name; of a mean: `mean of 10`, or `tune, mean of 5`."""
    protocol: str
    estimates: Mapping[str, Estimate]


def render(results: Results, subsets: Mapping[str, Sequence[str]], form: str) -> str:
    """Return a line for each sequence and protocol, then means over all and over subsets.

    Args:
        results: Of one or more followers.
        subsets: Names of sequences by the name of the subset.
        form: One of `FORMATS`.
    """
    lines = list(report_lines(results, subsets))
    if form == "json":
        return json.dumps([_record(line) for line in lines], indent=1) + "\n"
    if form == "csv":
        return _csv(lines)
    rows = [[*_KEYS, *METRICS], *(_cells(line) for line in lines)]
    return _markdown(rows) if form == "markdown" else _aligned(rows)


def report_lines(results: Results, subsets: Mapping[str, Sequence[str]]) -> Iterator[Line]:
    """Return all lines, follower by follower."""
    names = list(dict.fromkeys(row.sequence for row in results.rows))
    groups = {name: [name] for name in names}
    groups[f"mean of {len(names)}"] = names
    groups |= {f"{name}, mean of {len(of)}": list(of) for name, of in subsets.items()}
    protocols = list(dict.fromkeys(row.protocol.name for row in results.rows))
    for follower in dict.fromkeys(row.follower for row in results.rows):
        for title, of in groups.items():
            for protocol in protocols:
                yield Line(follower, title, protocol, results.summary(follower, protocol, of))
            if len(protocols) > 1:
                pooled = {"presence": results.presence(follower, of)}
                yield Line(follower, title, POOLED, pooled)


def _record(line: Line) -> dict[str, object]:
    """Return what JSON and CSV hold of a line: each number, its error, and how many were gone."""
    record: dict[str, object] = dict(zip(_KEYS, _keys(line), strict=True))
    for name, estimate in line.estimates.items():
        record[name] = _rounded(estimate.mean)
        record[f"{name}_error"] = _rounded(estimate.error)
        if name in _SHARES:
            record[f"{name}_of"] = estimate.gone
    return record


def _csv(lines: Sequence[Line]) -> str:
    heads = list(dict.fromkeys(key for line in lines for key in _record(line)))
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_record, lines))
    return text.getvalue()


def _cells(line: Line) -> list[str]:
    return [*_keys(line), *(_cell(name, line.estimates.get(name)) for name in METRICS)]


def _keys(line: Line) -> tuple[str, str, str]:
    return line.model, line.sequences, line.protocol


def _cell(name: str, estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.mean):
        return "-"
    text = f"{estimate.mean:.3f}"
    if not math.isnan(estimate.error):
        text += f" ±{estimate.error:.3f}"
    return f"{text} of {estimate.gone}" if name in _SHARES else text


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(_KEYS) + ["---:"] * len(METRICS)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (rows[0], rule, *rows[1:]))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if column < len(_KEYS) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        + "\n"
        for cells in rows
    )
