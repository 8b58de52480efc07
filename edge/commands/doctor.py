"""Examine this machine: is everything there that a camera needs, and what is to be done?"""

from argparse import Namespace

import msgspec

from edge.commands import Commands
from edge.doctor import Check, Machine, examine

_UNWELL = 69  # as where a source or an interpreter is not available


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="say what is wrong here", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        metavar="NAME|CONFIG",
        help="a camera's service, or a TOML file; default: all in /etc/edgetrack",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.set_defaults(command=_doctor)


def _doctor(args: Namespace) -> int:
    checks = []
    for check in examine(args.what, Machine()):
        checks.append(check)
        if not args.json:
            print(_line(check), flush=True)
    if args.json:
        print(msgspec.json.encode(checks).decode())
    return _UNWELL if any(check.verdict == "FAIL" for check in checks) else 0


def _line(check: Check) -> str:
    advice = f"; {check.advice}" if check.advice else ""
    return f"{check.verdict:<5} {check.topic}: {check.found}{advice}"
