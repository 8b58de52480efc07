"""The folder where a running edgetrack tells how it is, and is asked to reload.

    status.json      `Status`, renewed every second
    reload-request   who asks for a reload leaves a word here, then sends SIGHUP
    reload.json      what came of it, with that word

A service manager makes the folder: `RuntimeDirectory=edgetrack/NAME` is `/run/edgetrack/NAME`.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from edge.errors import ServiceError
from edge.saved import write_whole
from edge.vitals import Status

PLACE = Path("/run/edgetrack")
STALE_S = 10.0
"""A process that is well renews its status long before."""
_MOST_BYTES = 1_000_000


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a reload."""

    request: str
    """The word that was left with the request."""
    refused: str = ""
    """Why everything stays as it was, one line; empty: it was taken."""
    exit_code: int = 0


class RuntimeFolder:
    """Both sides of the folder: the running process writes in it, commands read and ask."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or written yet."""
        self.folder = folder
        self._status = folder / "status.json"
        self._request = folder / "reload-request"
        self._answer = folder / "reload.json"

    def publish(self, status: Status) -> None:
        """Renew the status.

        Raises:
            OSError: It cannot be written.
        """
        write_whole(self._status, msgspec.json.encode(status))

    def status(self) -> Status:
        """Return how the running process was when it last said so.

        Raises:
            ServiceError: None runs, or what it said cannot be read.
        """
        try:
            status = msgspec.json.decode(_start_of(self._status), type=Status)
        except FileNotFoundError as error:
            raise ServiceError(
                f"{self.folder}: no edgetrack runs with this runtime folder; start it, such as "
                f"systemctl start edgetrack@{self.folder.name}"
            ) from error
        except (OSError, msgspec.DecodeError) as error:
            raise ServiceError(f"{self._status}: cannot be read, {error}; restart it") from error
        if not _lives(status.pid):
            raise ServiceError(
                f"{self.folder}: process {status.pid} has ended without a word; see its log"
            )
        return status

    def ask(self, word: str) -> None:
        """Leave the word that the answer to the next reload will bear.

        Raises:
            ServiceError: The folder belongs to another user.
        """
        try:
            write_whole(self._request, word.encode())
        except OSError as error:
            raise ServiceError(
                f"{self.folder}: cannot be asked, {error.strerror}; ask as its user or as root"
            ) from error

    def asked(self) -> str:
        """Return the word of who asked last, empty if there is none."""
        with suppress(OSError):
            return _start_of(self._request).decode(errors="replace")
        return ""

    def answer(self, answer: Answer) -> None:
        """Say what came of a reload.

        Raises:
            OSError: It cannot be written.
        """
        write_whole(self._answer, msgspec.json.encode(answer))

    def answered(self, word: str) -> Answer | None:
        """Return the answer that bears a word, None while there is none."""
        with suppress(OSError, msgspec.DecodeError):
            answer = msgspec.json.decode(_start_of(self._answer), type=Answer)
            return answer if answer.request == word else None
        return None

    def clear(self) -> None:
        """Leave no status behind.

        Raises:
            OSError: It cannot be removed.
        """
        self._status.unlink(missing_ok=True)


def folder_of(variable: str) -> Path | None:
    """Return the folder that a service manager gave, such as `STATE_DIRECTORY`; None: none."""
    first = os.environ.get(variable, "").partition(":")[0]
    return Path(first) if first else None


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
