"""The HTTP server behind a page: few clients, each in a thread, none of whom can hold a run up."""

import errno
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from socketserver import TCPServer
from threading import BoundedSemaphore, Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from edge.errors import SinkError
from edge.sinks.address import Page

_log = logging.getLogger(__name__)

MOST_CLIENTS = 24
"""Connections at a time."""
MOST_WATCHERS = 4
"""Of them, those that watch the stream."""

_PATIENCE_S = 10.0  # for a client that neither asks nor takes what it is sent
_SEND_BUFFER = 1 << 17  # bytes; a slow watcher would else see pictures that are seconds old
_BOUNDARY = "picture"
_POLICY = (
    "default-src 'none'; img-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
_ADVICE = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EACCES: "a port below 1024 takes a privilege; choose a higher one",
    errno.EADDRNOTAVAIL: "it is no address of this machine; choose one that is",
}


class Answer(NamedTuple):
    """What a client is told."""

    status: int
    kind: str
    """The media type."""
    body: bytes


def line(status: int, words: str) -> Answer:
    """Return one line of text as an answer."""
    return Answer(status, "text/plain; charset=utf-8", f"{words}\n".encode(errors="replace"))


class Server(ThreadingHTTPServer):
    """Listens once made; every answer comes from `answer`, in the thread of who asked."""

    daemon_threads = True
    request_queue_size = 2 * MOST_CLIENTS

    def __init__(
        self,
        page: Page,
        answer: Callable[[str, str], Answer],
        pictures: Callable[[], Iterator[bytes]],
    ) -> None:
        """Listen.

        Args:
            page: Where.
            answer: Path and accepted media types of a request to what is told.
            pictures: JPEG files of the stream `/stream`, as they come.

        Raises:
            SinkError: The port is taken, or the address is none of this machine.
        """
        self.answer, self.pictures = answer, pictures
        self.watchers = BoundedSemaphore(MOST_WATCHERS)
        self._clients = BoundedSemaphore(MOST_CLIENTS)
        try:
            found = socket.getaddrinfo(page.host, page.port, type=socket.SOCK_STREAM)[0]
            self.address_family = found[0]
            super().__init__(found[4][:2], _Handler)  # type: ignore[arg-type]
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "check the address")
            reason = (error.strerror or str(error)).lower()
            raise SinkError(f"{page.shown}: {reason}; {advice}") from error
        host, port = self.server_address[:2]
        self.private = ipaddress.ip_address(str(host)).is_loopback
        """Only this machine can ask."""
        self.url = f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}"
        self._thread = Thread(target=self.serve_forever, args=(0.25,), name="http", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Bind, without asking name servers for a name of ours that nobody needs."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a client, unless there are too many."""
        if self._clients.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log a fault of ours; a client that went away is none."""
        error = sys.exception()
        if isinstance(error, OSError):
            _log.debug("%s: a client went away: %s", self.url, error)
        else:
            _log.error("%s: an answer failed", self.url, exc_info=error)

    def stop(self) -> None:
        """Listen no more; who is being served is let go with the process."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request of one client."""

    server: Server
    timeout = _PATIENCE_S
    default_request_version = "HTTP/1.0"  # of what is no request: it gets a head, too
    server_version, sys_version = "edgetrack", ""

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if not self._is_for_us():
            self._send(line(421, "this is no name of this machine; ask for localhost"))
        elif path == "/stream" and self.command == "GET":
            self._stream()
        else:
            self._send(self.server.answer(path, self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815  as http.server wants it

    def _is_for_us(self) -> bool:
        """Tell whether the browser of someone here was not led here by a foreign page's name."""
        if not self.server.private:
            return True
        with suppress(ValueError):
            host = urlsplit(f"//{self.headers.get('Host', 'localhost')}").hostname
            return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
        return False

    def _stream(self) -> None:
        """Send pictures until the client leaves; one that is slow misses some."""
        if not self.server.watchers.acquire(blocking=False):
            return self._send(line(503, f"{MOST_WATCHERS} watch already; close one of them"))
        try:
            pictures = self.server.pictures()
            if (first := next(pictures, None)) is None:
                return self._send(line(503, "no picture came yet"))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            self._head(200, f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            for jpeg in chain((first,), pictures):
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
        finally:
            self.server.watchers.release()

    def _send(self, answer: Answer) -> None:
        self._head(answer.status, answer.kind, len(answer.body))
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _head(self, status: int, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse a request in one line."""
        self.close_connection = True
        self._send(line(code, message or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:
        """Log only where someone looks for it."""
        _log.debug(f"%s: {format}", self.client_address[0], *args)
