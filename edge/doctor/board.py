"""Is the board itself well: processor, Python, memory, heat, power, clock?"""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from edge.doctor.machine import Check, Machine, Verdict
from edge.heat import THROTTLED_NOW, read_heat, throttle_flags

_PYTHONS = (3, 11), (3, 14)
_PACKAGES = ("edgetrack", "numpy", "opencv-python-headless", "msgspec")
_FLAGS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_SINCE_START = 16  # flags of what was are so many places above those of what is
_UNDER_VOLTAGE = 1
_SCARCE_MB = 200.0
_CARD = "/dev/mmcblk"


def check_board(machine: Machine, hot_c: float) -> Iterator[Check]:
    """Examine the board.

    Args:
        machine: Where to read.
        hot_c: From this temperature less is done.
    """
    yield _processor(machine)
    yield _python(machine)
    yield _memory(machine)
    yield _swap(machine)
    yield _temperature(machine, hot_c)
    yield from _power(machine)
    yield _clock(machine)


def versions(packages: tuple[str, ...]) -> list[str]:
    """Return name and version of those packages that are installed."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def _processor(machine: Machine) -> Check:
    model = machine.text("/proc/device-tree/model") or "not a Raspberry Pi"
    found = f"{machine.processor}, {machine.bits} bit, {model}"
    if machine.bits < 64:
        return Check("processor", "FAIL", found, "flash a 64-bit system, such as Raspberry Pi OS")
    if machine.processor not in {"aarch64", "x86_64"}:
        return Check("processor", "warn", found, "aarch64 and x86_64 are what is tested")
    return Check("processor", "ok", found)


def _python(machine: Machine) -> Check:
    number = ".".join(map(str, machine.python))
    found = ", ".join([f"{number} in {machine.prefix}", *versions(_PACKAGES)])
    if not _PYTHONS[0] <= machine.python[:2] < _PYTHONS[1]:
        return Check("python", "FAIL", found, "use Python 3.11 to 3.13")
    return Check("python", "ok", found)


def _memory(machine: Machine) -> Check:
    sizes = meminfo(machine)
    if "MemAvailable" not in sizes:
        return Check("memory", "warn", "/proc/meminfo says nothing", "mount /proc")
    found = f"{sizes['MemAvailable']:.0f} MB of {sizes.get('MemTotal', 0.0):.0f} MB are free"
    if sizes.get("CmaTotal"):
        found += f", CMA {sizes.get('CmaFree', 0.0):.0f} MB of {sizes['CmaTotal']:.0f} MB"
    if sizes["MemAvailable"] < _SCARCE_MB:
        return Check("memory", "warn", found, "stop other programs; a desktop takes 300 MB")
    return Check("memory", "ok", found)


def meminfo(machine: Machine) -> dict[str, float]:
    """Return what the kernel says of memory, by its own names, in units of 10^6 bytes."""
    sizes = {}
    for line in machine.text("/proc/meminfo").splitlines():
        name, _, words = line.partition(":")
        if words.endswith(" kB"):
            sizes[name] = int(words.split()[0]) * 1024 / 1e6
    return sizes


def _swap(machine: Machine) -> Check:
    mounts = [line.split() for line in machine.text("/proc/mounts").splitlines()]
    on_card = any(words[1:2] == ["/"] and words[0].startswith(_CARD) for words in mounts)
    swaps = [line.split()[:2] for line in machine.text("/proc/swaps").splitlines()[1:]]
    worn = [
        path
        for path, kind in swaps
        if path.startswith(_CARD) or (kind == "file" and on_card)  # files elsewhere are rare
    ]
    if worn:
        advice = "it wears the card out and stalls capture; use zram, or switch swap off"
        return Check("swap", "warn", f"{', '.join(worn)} on the memory card", advice)
    return Check("swap", "ok", ", ".join(path for path, _ in swaps) or "none")


def _temperature(machine: Machine, hot_c: float) -> Check:
    celsius = read_heat(machine.root).temperature_c
    if celsius is None:
        return Check("heat", "ok", "the board says nothing of its temperature")
    found = f"{celsius:.0f} degrees Celsius"
    if celsius >= hot_c:
        advice = f"from {hot_c:.0f} on (budget.hot_c) less is done; give it air or a heat sink"
        return Check("heat", "warn", found, advice)
    return Check("heat", "ok", found)


def _power(machine: Machine) -> Iterator[Check]:
    """Tell what the firmware of a Raspberry Pi holds back, and held back since the start."""
    flags = throttle_flags(machine.root)
    if flags is None:
        return
    now, before = _named(flags & THROTTLED_NOW), _named(flags >> _SINCE_START & THROTTLED_NOW)
    advice = "use the board's own power supply, a short cable, and cooling"
    if now:
        verdict: Verdict = "FAIL" if flags & _UNDER_VOLTAGE else "warn"
        yield Check("power", verdict, f"now: {now}", advice)
    elif before:
        yield Check("power", "warn", f"since the start: {before}", advice)
    else:
        yield Check("power", "ok", "nothing was held back since the start")


def _named(flags: int) -> str:
    return ", ".join(name for place, name in enumerate(_FLAGS) if flags >> place & 1)


def _clock(machine: Machine) -> Check:
    if machine.path("/run/systemd/timesync/synchronized").exists() or (
        machine.ask(["timedatectl", "show", "--property=NTPSynchronized", "--value"]) == "yes"
    ):
        return Check("clock", "ok", "synchronised")
    has_clock = any(machine.path("/sys/class/rtc").glob("rtc*"))
    found = "not synchronised" + ("" if has_clock else ", and the board has no clock of its own")
    return Check(
        "clock",
        "warn",
        found,
        "`sudo timedatectl set-ntp true`, and a network; until then `time` in the records is off",
    )
