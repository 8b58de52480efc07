"""Markdown tables, and the marked places of a page where they stand."""

import os
import platform
from pathlib import Path


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; first column to the left, the others to the right."""
    rule = [" --- ", *(" ---: " for _ in heads[1:])]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def machine() -> str:
    """Return one line on where this runs."""
    python = f"Python {platform.python_version()}"
    return f"Measured on {os.cpu_count()} cores of {_processor()}, {python}, one thread."


def write_between_marks(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, nothing else.

    Raises:
        ValueError: The page does not hold each mark once, in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = page.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(f"{page}: has no one pair of marks {begin} {end}; put them in")
    head, rest = old.split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def _processor() -> str:
    """Return the processor's own name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()
