"""What is said to people: on stderr, and never a reason to end a run."""

import sys
from contextlib import suppress


def tell(text: str, end: str = "\n") -> None:
    """Print on stderr; where nobody can read it, say nothing."""
    with suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201
