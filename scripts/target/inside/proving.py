"""Tries claims in order; a line a claim on stdout, `ok: ...` or `FAILED: ...`."""

import sys
import time
from collections.abc import Sequence

from system import FRONT, Claim, call


def prove(claims: Sequence[Claim]) -> None:
    """Try every claim in order; each finds the service running and leaves it so."""
    began, failed = time.monotonic(), 0
    for claim in claims:
        claim_began = time.monotonic()
        text = " ".join((claim.__doc__ or "").split()).rstrip(".")
        try:
            figure = claim()
            print(f"ok: {text}" + (f" ({figure})" if figure else ""), flush=True)
        except (RuntimeError, OSError, ValueError, LookupError, StopIteration) as error:
            failed += 1
            said = " ".join(f"{error}".split()) or type(error).__name__
            print(f"FAILED: {text}: {said}", flush=True)
            call("systemctl", "--no-pager", "status", FRONT, told=True)
            call("journalctl", "--no-pager", "-n", "60", "-u", FRONT, told=True)
        took = time.monotonic() - claim_began
        print(f"{claim.__name__}: {took:.1f} s", file=sys.stderr, flush=True)
    if not failed:
        print(f"ok: all {len(claims)} claims ({time.monotonic() - began:.0f} s)")
