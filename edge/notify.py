"""What a service manager is told of the process: sd_notify(3), one datagram a message.

Without a manager, which is where `NOTIFY_SOCKET` is not set, nothing is sent and nothing changes.
"""

import logging
import os
import socket
from collections.abc import MutableMapping

_log = logging.getLogger(__name__)

_SEND_S = 1.0  # what a manager that is slow to read may hold up what is said once


class Notifier:
    """Sends messages to the manager that started the process.

    Invariant: a manager that is not there, or does not read, never ends the run.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        """Begin; nothing is sent yet.

        Args:
            address: Of the manager's socket, a path or an abstract name behind `@`; empty: none.
            watchdog_s: A process that says nothing for so long is restarted; None: never.
        """
        self.watchdog_s = watchdog_s
        self._address = _socket_name(address)
        self._failed = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "Notifier":
        """Take over what the manager left in the environment; no child inherits it."""
        address = environ.pop("NOTIFY_SOCKET", "")
        limit, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        watched = address and limit.isdecimal() and int(limit) and pid in ("", str(os.getpid()))
        return cls(address, int(limit) / 1e6 if watched else None)

    @property
    def managed(self) -> bool:
        """Whether there is a manager."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the process is up, be it for the first time or after a reload."""
        self._send("READY=1", _SEND_S)

    def status(self, text: str) -> None:
        """Say in one line how things are."""
        self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """Say that work goes on: the watchdog counts from here."""
        self._send("WATCHDOG=1")

    def reloading(self, now: float) -> None:
        """Say that settings are read again, until `ready`; `now` is monotonic seconds."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(now * 1e6)}", _SEND_S)

    def stopping(self) -> None:
        """Say that the process ends of its own will."""
        self._send("STOPPING=1", _SEND_S)

    def _send(self, message: str, wait_s: float = 0.0) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(wait_s)
                out.sendto(message.encode(errors="replace"), self._address)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.warning("the service manager cannot be told %r: %s", message, error)
            self._failed = True


def _socket_name(address: str) -> str:
    """Return the address as the kernel takes it; empty for none, or one of another kind."""
    if address.startswith("@"):
        return f"\0{address[1:]}"
    if address and not address.startswith("/"):
        _log.warning("NOTIFY_SOCKET is %r, neither a path nor abstract; nothing is sent", address)
        return ""
    return address
