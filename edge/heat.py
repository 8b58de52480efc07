"""How hot the board is: its thermal zones and a Raspberry Pi's throttle flags."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge.vitals import Heat

PERIOD_S = 5.0
"""The board is asked at most so often."""
STALE_S = 60.0
"""A reading that is older counts for nothing."""
_FLAGS = "*firmware/get_throttled", "*/*firmware/get_throttled"
"""Under `sys/devices/platform`, where Raspberry Pi OS has had them."""
THROTTLED_NOW = 0xF
"""The flags of this moment, from the lowest: under-voltage, frequency capped, throttled, soft
temperature limit. Those 16 places higher say what was since the start."""
_ASK_S = 2.0  # what vcgencmd may take
_COOLEST_C, _HOTTEST_C = 0.0, 150.0  # a zone that says anything else has no sensor


class HeatReader:
    """Says how hot the board was lately; the board itself is asked on another thread.

    Invariant: a call never waits for a file or a program.
    """

    def __init__(
        self,
        read: Callable[[], Heat] | None = None,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """Begin without a reading; the first call asks for one.

        Args:
            read: Asks the board; None: `read_heat` of this one.
            clock: Seconds.
            start: Runs what it is given, at once or later; None: a thread each.
        """
        self._read, self._clock = read or read_heat, clock
        self._start = start or _in_thread
        self._heat, self._read_at = Heat(), clock()
        self._asked_at = self._read_at - PERIOD_S
        self._asking = False

    def __call__(self) -> Heat:
        """Return the last reading, and ask for another where it is time."""
        now = self._clock()
        if now - self._asked_at >= PERIOD_S and not self._asking:
            self._asked_at, self._asking = now, True
            self._start(self._ask)
        return self._heat if now - self._read_at < STALE_S else Heat()

    def _ask(self) -> None:
        try:
            self._heat = self._read()
            self._read_at = self._clock()
        finally:
            self._asking = False


def read_heat(root: Path = Path("/"), program: str = "vcgencmd") -> Heat:
    """Ask the board now; what it does not say is None.

    Args:
        root: Where `sys` is.
        program: Asked for the flags where the kernel has no file of them.
    """
    flags = throttle_flags(root, program)
    throttled = None if flags is None else bool(flags & THROTTLED_NOW)
    return Heat(temperature_c=_temperature_c(root), throttled=throttled)


def _temperature_c(root: Path) -> float | None:
    """Return the temperature of the processor; where no zone is named so, the highest."""
    cpu: list[float] = []
    others: list[float] = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        try:
            degrees = float(_text(zone / "temp")) / 1000
        except ValueError:
            continue
        if _COOLEST_C < degrees < _HOTTEST_C:
            named = any(word in _text(zone / "type") for word in ("cpu", "soc", "pkg"))
            (cpu if named else others).append(degrees)
    return max(cpu or others, default=None)


def throttle_flags(root: Path = Path("/"), program: str = "vcgencmd") -> int | None:
    """Return a Raspberry Pi's flags, as `read_heat` asks for them; None where there are none."""
    platform = root / "sys/devices/platform"
    words = [_text(path) for pattern in _FLAGS for path in platform.glob(pattern)]
    try:
        return int(words[0] if words else _told(program), 16)
    except ValueError:
        return None


def _told(program: str) -> str:
    """Return the flags as `vcgencmd` tells them (`throttled=0x50005`); empty where it does not."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        words = [path, "get_throttled"]
        told = subprocess.run(words, capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip().partition("=")[2]


def _text(path: Path) -> str:
    """Return what a file of the kernel says; empty where it does not."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _in_thread(job: Callable[[], None]) -> None:
    threading.Thread(target=job, name="heat", daemon=True).start()
