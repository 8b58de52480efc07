"""Ask a running edgetrack, such as the service of a camera: `status` and `reload`."""

import fcntl
import os
import signal
import time
import uuid
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge.commands import Commands
from edge.commands.words import seconds
from edge.errors import ServiceError, UsageError
from edge.runtime import PLACE, STALE_S, Answer, RuntimeFolder, folder_of
from edge.stderr import tell
from edge.vitals import Status

_POLL_S = 0.05
_PATIENCE_S = 60.0  # what loading models may take on a slow board


def add(commands: Commands) -> None:
    """Declare the commands."""
    status = commands.add_parser(
        "status",
        help="tell how a running edgetrack is",
        description="Tell how a running edgetrack is. Exit code 69 where none runs, or one is "
        "silent.",
    )
    _add_name(status, "default: all that run")
    status.add_argument("--json", action="store_true", help="everything, one object a line")
    status.set_defaults(command=_status)
    reload = commands.add_parser(
        "reload",
        help="have a running edgetrack read its settings and models again",
        description="Have a running edgetrack read its settings and models again. Where it "
        "refuses them, it goes on as before; its reason is printed, and the exit code says "
        "whether the settings (78), a model (65) or something else (69, 73, 2) is at fault.",
    )
    _add_name(reload, "default: the only one that runs")
    reload.add_argument(
        "--wait",
        type=seconds,
        default=_PATIENCE_S,
        metavar="SECONDS",
        help=f"for its answer, default: {_PATIENCE_S:g}",
    )
    reload.set_defaults(command=_reload)


def _add_name(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help=f"of the service edgetrack@NAME, or a runtime folder with a slash in it; {default}",
    )


def _status(args: Namespace) -> int:
    code = 0
    for folder in _folders(args.name):
        try:
            status = folder.status()
        except ServiceError as error:
            tell(f"edgetrack: {error}")
            code = error.exit_code
            continue
        if args.json:
            print(msgspec.json.encode(status).decode())
        else:
            print("\n".join(_lines(status)))
        silent_s = time.monotonic() - status.at
        if silent_s > STALE_S:
            tell(f"edgetrack: {folder.folder}: nothing was heard of it for {silent_s:.0f} s")
            code = ServiceError.exit_code
    return code


def _lines(status: Status) -> Iterator[str]:
    """Yield what people want to know, what matters most first."""
    yield status.line()
    dropped = ", ".join(f"{n} {reason}" for reason, n in status.dropped.items() if n)
    yield f"  frames   {status.frames} of {status.seen} seen, {dropped or 'none'} dropped"
    yield f"  camera   {status.source.description}, opened {status.source.openings} times"
    yield f"  models   {', '.join(status.models)}; {status.reloads} reloads"
    if status.stages_ms:
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in status.stages_ms.items())
        yield f"  stages   {stages} ms"
    if status.heat.temperature_c is not None:
        throttled = ", throttled" if status.heat.throttled else ""
        yield f"  board    {status.heat.temperature_c:.1f} C{throttled}"
    lost = [f"{n} records lost for {sink}" for sink, n in status.unwritten.items() if n]
    yield f"  sinks    {', '.join(lost) or 'every record written'}"
    yield f"  process  {status.pid}, up {status.up_s:.0f} s"


def _reload(args: Namespace) -> int:
    folder = _only(args.name)
    word = uuid.uuid4().hex
    with _turn(folder.folder):
        pid = folder.status().pid
        folder.ask(word)
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            raise ServiceError(
                f"{folder.folder}: process {pid} cannot be asked, {error.strerror}; ask as its "
                "user or as root"
            ) from error
        answer = _answer(folder, word, args.wait)
    if answer.refused:
        tell(f"edgetrack: {answer.refused}")
    return answer.exit_code


def _answer(folder: RuntimeFolder, word: str, wait_s: float) -> Answer:
    """Wait for the answer that bears a word.

    Raises:
        ServiceError: The process ended, or does not answer.
    """
    end = time.monotonic() + wait_s
    while (answer := folder.answered(word)) is None:
        folder.status()  # raises where the process has ended
        if time.monotonic() > end:
            raise ServiceError(f"{folder.folder}: no answer within {wait_s:g} s; see its log")
        time.sleep(_POLL_S)
    return answer


def _only(name: str | None) -> RuntimeFolder:
    folders = _folders(name)
    if len(folders) > 1:
        names = ", ".join(folder.folder.name for folder in folders)
        raise UsageError(f"reload: {names} are running; name one of them")
    return folders[0]


def _folders(name: str | None) -> list[RuntimeFolder]:
    """Return the runtime folders that are meant, at least one.

    Raises:
        ServiceError: There is none at all.
    """
    if name:
        return [RuntimeFolder(Path(name) if os.sep in name else PLACE / name)]
    if own := folder_of("RUNTIME_DIRECTORY"):  # in an ExecReload
        return [RuntimeFolder(own)]
    found = sorted(path for path in PLACE.glob("*") if path.is_dir())
    if not found:
        raise ServiceError(f"{PLACE}: no edgetrack runs; start it, or name a runtime folder")
    return [RuntimeFolder(path) for path in found]


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one after the other ask: an answer bears the word of one."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ServiceError(f"{folder}: {error.strerror}; no edgetrack runs there") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
