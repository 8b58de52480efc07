"""What is said to people: on stderr, and never a reason to end a run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def tell(text: str, end: str = "\n") -> None:
    """Print on stderr; where nobody can read it, say nothing."""
    with suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what libraries print on stderr from there; their errors are raised anyway."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        yield
        return
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)
