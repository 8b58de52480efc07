"""The command line: words to a command, an `EdgeError` to one line and an exit code."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from edge.commands import associate, bench, inspect, models, run, track
from edge.errors import EdgeError, OutputClosed

_EXIT_CODES = """exit codes:
  0 done  1 a fault of edgetrack  2 usage  65 bad data (video, bundle)
  69 source or interpreter unavailable  73 output cannot be written  78 bad configuration"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        code = args.command(args)
        sys.stdout.flush()
    except (BrokenPipeError, OutputClosed):
        # Python flushes stdout once more when it exits; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EdgeError as error:
        print(f"edgetrack: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgetrack",
        description="Real-time tracking on low-power devices.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more to stderr")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for command in (run, track, associate, inspect, models, bench):
        command.add(commands)
    return parser


class Version(argparse.Action):
    """Looks the version up only when asked: the lookup costs 3 MB of memory for good."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"edgetrack {version('edgetrack')}")
        except PackageNotFoundError:
            print("edgetrack, from a checkout that is not installed")
        parser.exit()
