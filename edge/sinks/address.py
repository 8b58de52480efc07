"""Outputs that are no files: `SCHEME://[USER:PASSWORD@]HOST[:PORT]/PATH?KEY=VALUE&...`."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from edge.errors import UsageError
from edge.shown import without_secrets
from edge.sinks.output import expanded


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page about the run is served; `http://HOST:PORT?silent_s=S&fps=F`."""

    shown: str
    """The address as it was written."""
    host: str
    port: int
    """0: any that is free."""
    silent_s: float
    """A run from which no good frame came for longer is not well."""
    fps: float
    """Pictures a second of the stream, at most."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where messages go; `mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC?qos=Q&retain=R&queue=N`."""

    shown: str
    """The address as people may see it: without user and password."""
    host: str
    port: int
    topic: str
    qos: int
    retain: bool
    """Whether the broker keeps the last record for who comes later."""
    queue: int
    """Records that wait for the broker, at most."""
    ca: Path | None
    """Certificates to trust, of `mqtts` only; None: the system's."""
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def page_of(uri: str) -> Page:
    """Read the address of a page.

    Raises:
        UsageError: It is none, or an option is unknown or out of range.
    """
    parts, options = _parts_and_options(uri, ("silent_s", "fps"))
    shown = without_secrets(uri)
    if parts.port is None or parts.path not in {"", "/"} or parts.username is not None:
        raise UsageError(f"{shown}: is no place for a page; write http://HOST:PORT and no more")
    return Page(
        shown=shown,
        host=parts.hostname or "",
        port=parts.port,
        silent_s=_number(shown, options, "silent_s", 10.0, (0.1, 86_400.0)),
        fps=_number(shown, options, "fps", 10.0, (1.0, 1000.0)),
    )


def broker_of(uri: str) -> Broker:
    """Read the address of a broker and topic.

    Raises:
        UsageError: It is none, or an option is unknown or out of range.
    """
    tls = uri.startswith("mqtts:")
    allowed = ("qos", "retain", "queue", "ca") if tls else ("qos", "retain", "queue")
    parts, options = _parts_and_options(uri, allowed)
    shown, topic = without_secrets(uri), unquote(parts.path).strip("/")
    port = 8883 if tls else 1883
    if not topic or re.search(r"[+#\0]", topic) or len(topic.encode()) > 60_000:
        raise UsageError(f"{shown}: names no topic; write mqtt://HOST/TOPIC, without + and #")
    if parts.port == 0:
        raise UsageError(f"{shown}: there is no port 0; name the broker's, or none for {port}")
    return Broker(
        shown=shown,
        host=parts.hostname or "",
        port=parts.port or port,
        topic=topic,
        qos=_whole(shown, options, "qos", 1, (0, 2)),
        retain=bool(_whole(shown, options, "retain", 0, (0, 1))),
        queue=_whole(shown, options, "queue", 1000, (1, 60_000)),  # paho numbers 65,535 messages
        ca=expanded(options["ca"]) if "ca" in options else None,
        tls=tls,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _parts_and_options(uri: str, allowed: Collection[str]) -> tuple[SplitResult, Mapping[str, str]]:
    parts = _split(uri)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := [key for key in options if key not in allowed]:
        raise UsageError(
            f"{without_secrets(uri)}: {unknown[0]} is no option here; use {', '.join(allowed)}"
        )
    return parts, options


def _split(uri: str) -> SplitResult:
    with suppress(ValueError):
        parts = urlsplit(uri)
        host, _port = parts.hostname or "", parts.port  # raises where it is no number
        # What follows the host holds no @: a password with a raw slash would else be a path.
        if host.encode("idna") and "@" not in parts.path + parts.query and not parts.fragment:
            return parts
    raise UsageError(
        f"{uri.partition(':')[0]}://...: is no address; write SCHEME://HOST:PORT/..., with %2F, "
        "%3F, %23 and %40 for /, ?, # and @ in names and passwords"
    )


def _number(
    shown: str, options: Mapping[str, str], key: str, default: float, span: tuple[float, float]
) -> float:
    """Return an option that is a number.

    Args:
        shown: The address, for the error.
        options: As they were written.
        key: The option's name.
        default: Where it was left out.
        span: The least and the most it may be.

    Raises:
        UsageError: It is none, or out of range.
    """
    word, (low, high) = options.get(key, str(default)), span
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise UsageError(f"{shown}: {key} is {word!r}; give a number from {low:g} to {high:g}")
    return value


def _whole(
    shown: str, options: Mapping[str, str], key: str, default: int, span: tuple[int, int]
) -> int:
    """Return an option that is a whole number; see `_number`."""
    value = _number(shown, options, key, default, span)
    if not value.is_integer():
        raise UsageError(f"{shown}: {key} is {value:g}; give a whole number")
    return int(value)
