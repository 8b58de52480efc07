"""What may be printed, logged or kept of an address: where it leads, never how one gets in."""

import re
from typing import Any

_STREAM = re.compile(r"rtsps?:", re.IGNORECASE)
_WHO = re.compile(r"(://|^(?:mqtts?|https?):/*).*@", re.IGNORECASE | re.DOTALL)


def without_secrets(uri: str) -> str:
    """Return an address as people may see it, however badly it is written.

    Of a stream host and port are left: cameras take passwords in path and query too.

    >>> without_secrets("mqtt://me:pa/ss@broker/cam?qos=1")
    'mqtt://broker/cam?qos=1'
    >>> without_secrets("rtsp://me:pa/ss@10.0.0.7:554/stream?token=42")
    'rtsp://10.0.0.7:554/...'
    """
    if _STREAM.match(uri):
        return f"{uri.partition(':')[0]}://{host_and_port(uri)}/..."
    return _WHO.sub(r"\1", uri)


def host_and_port(uri: str) -> str:
    """Return what stands between user and path; passwords with / or @ end at the last @."""
    rest = uri.partition("://")[2]
    return rest.rpartition("@")[2].partition("/")[0].partition("?")[0]


def harmless(value: Any) -> Any:
    """Return plain values as people may see them, every address in them without its secrets."""
    if isinstance(value, dict):
        return {key: harmless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(item) for item in value]
    return without_secrets(value) if isinstance(value, str) else value
