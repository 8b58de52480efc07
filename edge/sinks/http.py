"""A page about a live run: preview, health, metrics; nothing is drawn or counted until asked."""

import logging
import time
from collections.abc import Callable, Iterator

import msgspec

from edge.sinks.address import Page
from edge.sinks.page import PAGE
from edge.sinks.preview import Preview
from edge.sinks.server import Answer, Server, line
from edge.types import Frame, Record
from edge.vitals import Status, Vitals

_log = logging.getLogger(__name__)

_HTML, _JSON = "text/html; charset=utf-8", "application/json"


class Http:
    """Keeps the newest frame for who asks; `write` costs the same whoever watches."""

    wants_frame = True

    def __init__(
        self, page: Page, vitals: Vitals, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Serve.

        Args:
            page: Where, and from when on a run counts as not well.
            vitals: Of the run.
            monotonic: Seconds, as `vitals` counts them.

        Raises:
            SinkError: The port is taken, or the address is none of this machine.
        """
        self.name = page.shown
        self._page, self._vitals, self._monotonic = page, vitals, monotonic
        self._preview = Preview()
        self._answers: dict[str, Callable[[Status, str], Answer]] = {
            "/": lambda _status, _accept: Answer(200, _HTML, PAGE.encode()),
            "/healthz": lambda status, _: _verdict(unwell(status, page.silent_s)),
            "/readyz": lambda status, _: _verdict(unready(status)),
            "/metrics": _metrics,
            "/status.json": lambda status, _: Answer(200, _JSON, msgspec.json.encode(status)),
            "/preview.jpg": lambda _status, _accept: self._picture(),
        }
        self._closed = False
        self._server = Server(page, self._answer, self._pictures)
        self.url = self._server.url
        """Where it is: the port is never 0."""
        _log.info("%s: preview, health and metrics of this run", self.url)
        if not self._server.private:
            _log.warning("%s: whoever reaches this machine can watch the camera", self.url)

    def write(self, record: Record, frame: Frame | None = None) -> None:
        """Take the newest frame."""
        self._preview.put(record, frame)

    def close(self) -> None:
        """Serve no more; may be called twice."""
        if not self._closed:
            self._closed = True
            self._preview.close()
            self._server.stop()

    def _pictures(self) -> Iterator[bytes]:
        return self._preview.pictures(self._page.fps)

    def _answer(self, path: str, accept: str) -> Answer:
        if path not in self._answers:
            return line(404, f"no such page; there are {', '.join([*self._answers, '/stream'])}")
        return self._answers[path](self._vitals.status(self._monotonic()), accept)

    def _picture(self) -> Answer:
        picture = self._preview.picture()
        if picture is None:
            return line(503, "no picture came yet")
        return Answer(200, "image/jpeg", picture.jpeg)


def unwell(status: Status, silent_s: float) -> str:
    """Return in a few words why a run is not well; empty when it is.

    Args:
        status: Of the run.
        silent_s: Without a good frame for longer, it is not.
    """
    if status.silent_s is None:
        return f"no good frame came yet in {status.up_s:.1f} s; {_camera(status)}"
    if status.silent_s > silent_s:
        return f"no good frame came for {status.silent_s:.1f} s; {_camera(status)}"
    return ""


def unready(status: Status) -> str:
    """Return in a few words why a run does not track yet; empty when it does."""
    if not status.models:
        return "no model is loaded yet"
    if status.silent_s is None:
        return f"no good frame came yet; {_camera(status)}"
    return ""


def _camera(status: Status) -> str:
    reason = f" ({status.source.reason})" if status.source.reason else ""
    return f"the camera is {status.source.state}{reason}"


def _verdict(against: str) -> Answer:
    return line(503, against) if against else line(200, "ok")


def _metrics(status: Status, accept: str) -> Answer:
    try:
        from edge.sinks.metrics import exposition
    except ImportError:
        return line(
            501, "metrics: prometheus-client is not installed; pip install 'edgetrack[metrics]'"
        )
    return Answer(200, *exposition(status, accept))
