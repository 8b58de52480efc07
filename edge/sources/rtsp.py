"""RTSP addresses: whether anybody answers there."""

import socket
from urllib.parse import urlsplit

from edge.errors import SourceError, UsageError
from edge.shown import host_and_port, without_secrets

_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}


def check_stream(uri: str, timeout_s: float) -> None:
    """Ask who is there (RFC 2326, OPTIONS), before FFmpeg takes far longer to give up.

    Raises:
        SourceError: Nobody is there, or who is there does not speak RTSP in time.
        UsageError: The address has no host, or a port that is no number.
    """
    shown = without_secrets(uri)
    host, port = _address(uri)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            if uri.lower().startswith("rtsps:"):
                return  # it would take TLS to ask
            connection.settimeout(timeout_s)
            question = f"OPTIONS rtsp://{host_and_port(uri)}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n"
            connection.sendall(question.encode())
            answer = connection.recv(64)
    except TimeoutError:
        raise SourceError(
            f"{shown}: no answer within {timeout_s:g} s; check that the camera is switched on"
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceError(f"{shown}: {reason}; check address and port") from None
    if not answer.startswith(b"RTSP/"):
        raise SourceError(f"{shown}: no RTSP server answers there; check the port")


def _address(uri: str) -> tuple[str, int]:
    try:
        parts = urlsplit("//" + host_and_port(uri))
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise UsageError(f"{without_secrets(uri)}: no host; write rtsp://HOST[:PORT]/PATH")
    return host, port or _DEFAULT_PORTS[uri.partition(":")[0].lower()]
