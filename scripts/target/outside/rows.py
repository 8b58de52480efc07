"""Claims and their rows: `ok: ...` or `FAILED: ...`, a line each on stdout."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Claim = Callable[[], str]
"""Its docstring says what is claimed; it returns a figure, or raises what was found instead."""


def try_all(claims: Sequence[Claim], about: Callable[[], str]) -> int:
    """Try every claim in order; return an exit code.

    Args:
        claims: Each leaves things so that the next can be tried.
        about: Tells, on stderr, what is known of a failure just now.
    """
    began = time.monotonic()
    return sum_up([holds(claim, about) for claim in claims], began)


def holds(claim: Claim, about: Callable[[], str]) -> bool:
    """Try a claim, print its row and say whether it holds."""
    text = (claim.__doc__ or "").strip().rstrip(".")
    try:
        figure = claim()
    except (RuntimeError, OSError, ValueError, LookupError, StopIteration) as error:
        said = " ".join(f"{error}".split()) or type(error).__name__
        print(f"FAILED: {text}: {said}", flush=True)
        print(about(), file=sys.stderr, flush=True)
        return False
    print(f"ok: {text}" + (f" ({figure})" if figure else ""), flush=True)
    return True


def sum_up(held: Sequence[bool], began: float) -> int:
    """Print the last row; return an exit code."""
    if not all(held):
        print(f"FAILED: {held.count(False)} of {len(held)}")
        return 1
    print(f"ok: all {len(held)} ({time.monotonic() - began:.0f} s)")
    return 0


def expect(true: bool, otherwise: str) -> None:
    """Go on if something is true.

    Raises:
        RuntimeError: It is not.
    """
    if not true:
        raise RuntimeError(otherwise)


def until(true: Callable[[], Any], limit_s: float, what: str) -> float:
    """Wait for something; return the seconds that it took."""
    began = time.monotonic()
    while not true():
        expect(time.monotonic() - began < limit_s, f"{what}: not within {limit_s:g} s")
        time.sleep(0.02)
    return time.monotonic() - began
