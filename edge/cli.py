"""The command line: words to a command, an `EdgeError` to one line and an exit code."""

import argparse
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TextIO

from edge.errors import EdgeError, OutputClosed, SinkError
from edge.stderr import tell

_MODULES = {
    "run": "run",
    "status": "status",
    "reload": "status",
    "track": "track",
    "record": "record",
    "replay": "replay",
    "associate": "associate",
    "check": "inspect",
    "devices": "inspect",
    "schema": "inspect",
    "models": "models",
    "doctor": "doctor",
    "bench": "bench",
    "eval": "eval",
}
"""Where in `edge.commands` each command is, in the order of the help."""
_EXIT_CODES = """exit codes:
  0 done  1 a fault of edgetrack  2 usage  65 bad data (video, bundle)
  69 source, interpreter or service unavailable  73 output cannot be written
  78 bad configuration"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    return guarded("edgetrack", lambda: _run(sys.argv[1:] if argv is None else argv))


def guarded(program: str, run: Callable[[], int]) -> int:
    """Run a program; an `EdgeError` becomes one line on stderr and its exit code.

    Args:
        program: Its name, before the line.
        run: Returns the exit code.
    """
    _repair_streams()
    try:
        with _stdout_checked():
            code = run()
    except (BrokenPipeError, OutputClosed):
        code = 0
    except EdgeError as error:
        tell(f"{'<3>' if _journal_reads(2) else ''}{program}: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    _drop_unwritten(sys.stdout)
    _drop_unwritten(sys.stderr)
    return code


def _run(words: Sequence[str]) -> int:
    try:
        args = _parser(words).parse_args(words)
    except SystemExit as end:  # argparse printed its help, the version or a complaint
        return int(end.code or 0)
    _begin_log(logging.DEBUG if args.verbose else logging.INFO)
    return int(args.command(args))


def _begin_log(level: int) -> None:
    log = logging.StreamHandler(sys.stderr)
    if _journal_reads(2):
        log.setFormatter(ForJournal("%(name)s: %(message)s"))
        fault = partial(logging.getLogger("edgetrack").critical, "a fault of edgetrack")
        sys.excepthook = lambda *error: fault(exc_info=error)
        threading.excepthook = lambda what: fault(exc_info=what[:3])  # type: ignore[arg-type]
    else:
        log.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[log])


class ForJournal(logging.Formatter):
    """Begins every line with its priority, as sd-daemon(3) has it: the journal filters by that."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        ranks = (logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)
        rank = next((rank for least, rank in ranks if record.levelno >= least), 7)
        return "\n".join(f"<{rank}>{line}" for line in super().format(record).splitlines())


def _journal_reads(descriptor: int) -> bool:
    """Say whether what is written there goes straight to the journal; see systemd.exec(5)."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def _repair_streams() -> None:
    """Give what is said on stderr somewhere to go where the process was started without it.

    The first file opened would else get number 2, and with it what libraries print there.
    """
    if sys.stderr is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  for the life of the process


@contextmanager
def _stdout_checked() -> Iterator[None]:
    """Find out now, not when Python exits, that what was printed cannot be written.

    Raises:
        SinkError: The device is full.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if isinstance(error, EdgeError) or error.errno != errno.ENOSPC:
            raise
        raise SinkError(f"standard output: {error.strerror}; write elsewhere") from error


def _drop_unwritten(stream: TextIO | None) -> None:
    """Forget what a stream could not write: Python would try again at exit, and fail again."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgetrack",
        description="Real-time tracking on low-power devices.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more to stderr")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    named = next((word for word in words if not word.startswith("-")), "")
    # Only the command that is wanted is imported: the others cost time and memory.
    wanted = (_MODULES[named],) if named in _MODULES else dict.fromkeys(_MODULES.values())
    for module in wanted:
        import_module(f"edge.commands.{module}").add(commands)
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
