"""Tables with a bar beside every figure, and what misses its bar said out loud."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """What a figure must not exceed, and what it should not."""

    limit: float
    stretch: float

    def verdict(self, value: float) -> str:
        """Return `stretch`, `met` or `MISSED`; not a number misses."""
        if value <= self.stretch:
            return "stretch"
        return "met" if value <= self.limit else "MISSED"

    def __str__(self) -> str:
        """Return both, as they are printed in a title."""
        if self.limit == self.stretch:
            return f"bar {self.limit:g}"
        return f"bar {self.limit:g}, stretch {self.stretch:g}"


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and a table in Markdown, its columns aligned."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    print(f"\n{title}\n")
    for index, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |")
        if index == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|", flush=True)
