"""A reload: what the settings now want is loaded beside a live run, then put in place at once."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.config import Settings
from edge.errors import EdgeError, ServiceError
from edge.governor import Governor
from edge.sinks.detached import Detached
from edge.sources import FrameSource
from edge.tracker import Tracker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a live run is made of, as its settings want it."""

    settings: Settings
    tracker: Tracker
    governor: Governor
    outputs: Mapping[str, Detached]
    """By address, in the order of the settings."""
    open_source: Callable[[], FrameSource]
    once: bool
    """The source is a file: it is opened once."""


class Reload:
    """One reload: parts are loaded in a thread, put in place by the loop, left-overs closed here.

    Invariant: until the loop takes the parts nothing has changed.
    """

    def __init__(self, load: Callable[[], Parts], answer: Callable[[str, int], None]) -> None:
        """Begin to load.

        Args:
            load: Returns the new parts, or raises.
            answer: Told why it was refused, empty where it was taken, and the exit code for that.
        """
        self.parts: Parts | None = None
        self.refused = ""
        self._load, self._answer = load, answer
        self._exit_code = 0
        self._loaded, self._settled = threading.Event(), threading.Event()
        self._leftovers: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    @property
    def loaded(self) -> bool:
        """Whether there are parts to put in place, or a reason why there are none."""
        return self._loaded.is_set()

    def settle(self, leftovers: list[Callable[[], None]]) -> None:
        """Come to the end: who asked is answered, then what is no longer used is closed."""
        self._leftovers = leftovers
        self._settled.set()

    def abandon(self, reason: str) -> None:
        """Come to the end without a change, whatever was loaded."""
        self._refuse(reason, ServiceError.exit_code)
        self._settled.set()

    def join(self, wait_s: float) -> None:
        """Wait for the end, at most so long."""
        self._thread.join(wait_s)

    def _refuse(self, reason: str, exit_code: int) -> None:
        self.refused, self._exit_code = reason, exit_code

    def _run(self) -> None:
        try:
            self.parts = self._load()
        except EdgeError as error:
            self._refuse(str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001  what runs is worth more than what would
            _log.exception("reload: a fault of edgetrack")
            self._refuse(f"a fault of edgetrack, {type(error).__name__}: {error}; see the log", 1)
        self._loaded.set()
        self._settled.wait()
        self._answer(self.refused, self._exit_code)
        for close in self._leftovers:
            try:
                close()
            except Exception as error:  # noqa: BLE001  it is not used any more
                _log.warning("%s", error)
