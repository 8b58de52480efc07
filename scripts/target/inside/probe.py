"""Tries what a sandboxed service must not be able to do; prints what came of each, as JSON."""

import ctypes
import errno
import json
import mmap
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, ADDR_NO_RANDOMIZE = 0x10000000, 0x0040000


def main() -> None:
    """Try everything and print what came of it."""
    results = {}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            results[name] = "done"
        except OSError as error:
            results[name] = errno.errorcode.get(error.errno or 0, str(error))
    print(json.dumps(results))


def _in_a_child(function: Callable[..., int], *args: object) -> None:
    """Make a system call that would change this process in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(ctypes.get_errno() if function(*args) == -1 else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _make_file(folder: str) -> None:
    Path(folder, f"probe-{os.getpid()}").open("x").close()


def _make_setuid() -> None:
    path = Path("probe-setuid")
    path.touch()
    try:
        path.chmod(0o755 | stat.S_ISUID)
    finally:
        path.unlink()


def _run_what_was_written() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "write its own state": lambda: _make_file("."),
    "write into /etc": lambda: _make_file("/etc/anyone"),
    "write into /usr": lambda: _make_file("/usr/anyone"),
    "write into /opt": lambda: _make_file("/opt/anyone"),
    "write into /var/lib": lambda: _make_file("/var/lib/anyone"),
    "look into /home": lambda: os.listdir("/home/anyone"),
    "see other processes": lambda: Path("/proc/1/status").read_text(),
    "open a device": lambda: os.close(os.open("/dev/fuse", os.O_RDWR)),
    "mount": lambda: _in_a_child(LIBC.mount, b"none", b"/mnt", b"tmpfs", 0, None),
    "make a user namespace": lambda: _in_a_child(LIBC.unshare, CLONE_NEWUSER),
    "change its personality": lambda: _in_a_child(LIBC.personality, ADDR_NO_RANDOMIZE),
    "make a file setuid": _make_setuid,
    "run memory that it wrote": _run_what_was_written,
    "open a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
}

if __name__ == "__main__":
    main()
