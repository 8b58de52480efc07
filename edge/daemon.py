"""What a live run does between two frames for who started it: word, watchdog, reload, state.

All of it happens in the thread of the loop, so that a wedged loop falls silent; only what may take
its time, such as loading models or writing to a slow disk, has threads of its own.
"""

import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from edge.notify import Notifier
from edge.pipeline import Live
from edge.reload import Parts, Reload
from edge.runtime import Answer, RuntimeFolder, folder_of
from edge.saved import Moment, Saved, Writer, resume, save
from edge.sinks.detached import Detached
from edge.types import Counts

_log = logging.getLogger(__name__)

STATE = "state.json"
TELL_S = 1.0
"""Manager and runtime folder are told how things are, and state is saved, at most so often."""
QUIET_S = 5.0
"""While nobody is tracked, state is saved so rarely: it spares the card."""
_CLOSE_S = 3.0  # what a sink, a model or a disk may take to come to its end


@dataclass(frozen=True)
class Service:
    """What a service manager gives a process; without one nothing."""

    notifier: Notifier
    runtime: RuntimeFolder | None = None
    state: Path | None = None
    """A folder that outlives the process."""

    @classmethod
    def from_environment(cls) -> "Service":
        """Take over what the manager of this process gave; see systemd.exec(5)."""
        runtime = folder_of("RUNTIME_DIRECTORY")
        return cls(
            Notifier.from_environment(os.environ),
            RuntimeFolder(runtime) if runtime else None,
            folder_of("STATE_DIRECTORY"),
        )


class Daemon:
    """Looks after a live run between its frames.

    Invariant: the manager hears of life only while the run makes progress.
    """

    def __init__(
        self,
        live: Live,
        parts: Parts,
        service: Service,
        load: Callable[[Parts], Parts],
        asked: Callable[[], bool],
        clock: Callable[[], Moment] = Moment.now,
    ) -> None:
        """Look after a run that has not begun.

        Args:
            live: The run.
            parts: What it was made of.
            service: Who is told.
            load: Makes new parts of the present ones, or raises; called in a thread.
            asked: Says whether a reload was asked for since it was last called.
            clock: The present; its `monotonic` is the frames' clock.
        """
        self.live, self.parts, self._service = live, parts, service
        self._load, self._asked, self._clock = load, asked, clock
        self._state_file = service.state / STATE if service.state else None
        self._writer = Writer() if service.runtime or service.state else None
        self._reload: Reload | None = None
        self._stopping = False
        self._tell_at = self._feed_at = self._save_at = 0.0
        live.vitals.models = parts.settings.models

    def resume(self) -> None:
        """Go on from the state that an earlier process left, if it counts."""
        wanted, now = self.parts.settings.daemon, self._clock()
        path = self._state_file
        if path is None:
            return
        saved = resume(path, now, wanted.resume_s, wanted.resume_tracks)
        if saved is None:
            return
        same = saved.picture == self._picture
        tracks = saved.tracks if same else saved.tracks.without_tracks()
        self.live.tracker.restore(tracks)
        for field in fields(Counts):
            setattr(self.live.run.counts, field.name, getattr(saved.counts, field.name))
        text = "%s: goes on after %.1f s, next id %d, %d tracks"
        _log.info(text, path, now.since(saved.at), tracks.next_id, len(tracks.ids))

    def ready(self) -> None:
        """Say that the process is up; whether the camera is, the status tells."""
        self._service.notifier.ready()
        self._tell(self._clock())

    def between(self) -> None:
        """Do what is due; called by the loop before each frame and while it waits for one."""
        now = self._clock()
        if self._reload is not None and self._reload.loaded:
            self._finish(self._reload)
        if self._reload is None and self._asked():
            self._begin(now.monotonic)
        if now.monotonic >= self._tell_at:
            self._tell(now)
        self._feed(now.monotonic)

    def stopping(self) -> bool:
        """Say that the process ends of its own will, once; return True."""
        if not self._stopping:
            self._stopping = True
            self._service.notifier.stopping()
        return True

    def close(self) -> None:
        """Save the state for the next process, and leave no status behind."""
        self.stopping()
        if self._reload is not None:
            self._reload.abandon("the process ends; the next one reads its settings anyway")
            self._reload.join(_CLOSE_S)
        if self._writer is None:
            return
        runtime, path = self._service.runtime, self._state_file
        jobs: dict[str, Callable[[], None]] = {"status": runtime.clear} if runtime else {}
        if path:
            jobs["state"] = partial(save, self._state(self._clock(), stopped=True), path)
        self._writer.give(jobs)
        self._writer.close(_CLOSE_S)

    def _feed(self, now: float) -> None:
        """Tell the manager of life if there is progress."""
        limit_s = self._service.notifier.watchdog_s
        if limit_s is None or now < self._feed_at:
            return
        if self.live.progressing(now, limit_s / 2):
            self._feed_at = now + limit_s / 4
            self._service.notifier.alive()

    def _tell(self, now: Moment) -> None:
        """Tell manager and folder how things are, and save the state."""
        self._tell_at = now.monotonic + TELL_S
        status = self.live.vitals.status(now.monotonic)
        self._service.notifier.status(status.line())
        if self._writer is None:
            return
        runtime, path = self._service.runtime, self._state_file
        jobs: dict[str, Callable[[], None]] = {}
        if runtime:
            jobs["status"] = partial(runtime.publish, status)
        if path and (status.tracks or now.monotonic >= self._save_at):
            self._save_at = now.monotonic + QUIET_S
            jobs["state"] = partial(save, self._state(now, stopped=False), path)
        self._writer.give(jobs)

    def _state(self, now: Moment, *, stopped: bool) -> Saved:
        counts = self.live.run.counts
        dicts = dict(counts.dropped), dict(counts.conditions), dict(counts.unwritten)
        dropped, conditions, unwritten = dicts
        counts = replace(counts, dropped=dropped, conditions=conditions, unwritten=unwritten)
        tracks = self.live.tracker.saved()
        return Saved(at=now, stopped=stopped, counts=counts, picture=self._picture, tracks=tracks)

    @property
    def _picture(self) -> int:
        return zlib.crc32(repr(_picture(self.parts)).encode())  # an address may hold a password

    def _begin(self, now: float) -> None:
        """Begin a reload."""
        self._service.notifier.reloading(now)
        runtime = self._service.runtime
        word = runtime.asked() if runtime else ""
        answer = partial(_answer, runtime, word) if runtime else _tell_nobody
        self._reload = Reload(partial(self._load, self.parts), answer)

    def _finish(self, reload: Reload) -> None:
        """Put in place what a reload has loaded, if it has; then answer who asked."""
        vitals, self._reload = self.live.vitals, None
        vitals.refused = reload.refused
        leftovers: list[Callable[[], None]] = []
        if reload.parts is None:
            _log.warning("reload refused, all stays as it was: %s", reload.refused)
        else:
            leftovers = self._take(reload.parts)
            vitals.reloads += 1
            _log.info("reloaded: models %s", ", ".join(vitals.models))
        self._service.notifier.ready()
        self._tell(self._clock())
        reload.settle(leftovers)

    def _take(self, parts: Parts) -> list[Callable[[], None]]:
        """Put parts in the place of the present ones; return what closes what is left over."""
        live, before, self.parts = self.live, self.parts, parts
        parts.tracker.adopt(live.tracker, same_picture=_picture(parts) == _picture(before))
        live.tracker, live.governor = parts.tracker, parts.governor
        live.outputs = list(parts.outputs.values())
        live.vitals.models = parts.settings.models
        if _source(parts) != _source(before):
            live.camera.turn_to(parts.open_source, parts.settings.capture, once=parts.once)
        gone = [output for uri, output in before.outputs.items() if uri not in parts.outputs]
        return [before.tracker.close, *(partial(self._close_output, output) for output in gone)]

    def _close_output(self, output: Detached) -> None:
        """Close a sink that the settings no longer name; what it lost stays in the accounting."""
        try:
            output.close(_CLOSE_S)
        finally:
            self.live.run.counts.unwritten[output.name] = output.dropped


def _source(parts: Parts) -> object:
    """Return what decides how the source is opened."""
    return parts.settings.source, parts.settings.capture


def _picture(parts: Parts) -> object:
    """Return what decides what a pixel of the picture shows."""
    wanted = parts.settings.capture
    return parts.settings.source, wanted.width, wanted.height, wanted.transform


def _answer(runtime: RuntimeFolder, word: str, refused: str, exit_code: int) -> None:
    try:
        runtime.answer(Answer(request=word, refused=refused, exit_code=exit_code))
    except OSError as error:
        _log.warning("the answer to a reload cannot be written: %s", error)


def _tell_nobody(_refused: str, _exit_code: int) -> None:
    """Answer a reload that nobody waits for."""
