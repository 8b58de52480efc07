import threading
from pathlib import Path

import pytest

from edge.heat import PERIOD_S, STALE_S, HeatReader, read_heat
from edge.vitals import Heat

FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"


def board(root: Path, zones=(), flags=None, at=FLAGS) -> Path:
    """A tree of files as a kernel shows them: zones of a type and a temperature, and flags."""
    for number, (kind, text) in enumerate(zones):
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(text + "\n")
    if flags is not None:
        (root / at).parent.mkdir(parents=True)
        (root / at).write_text(flags + "\n")
    return root


def test_a_raspberry_pi_tells_its_temperature_and_flags(tmp_path):
    root = board(tmp_path, [("cpu-thermal", "61335")], "0")
    assert read_heat(root) == Heat(temperature_c=61.335, throttled=False)


@pytest.mark.parametrize(
    ("flags", "throttled"),
    [("0", False), ("50000", False), ("50005", True), ("2", True), ("8", True), ("0x4", True)],
)
def test_what_was_since_the_start_is_not_now(tmp_path, flags, throttled):
    assert read_heat(board(tmp_path, flags=flags)).throttled is throttled


def test_the_flags_are_found_without_the_soc_in_their_path(tmp_path):
    root = board(tmp_path, flags="4", at="sys/devices/platform/soc:firmware/get_throttled")
    assert read_heat(root).throttled is True


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ([("acpitz", "90000"), ("x86_pkg_temp", "55000"), ("cpu-thermal", "56000")], 56.0),
        ([("gpu", "48000"), ("ddr", "51000")], 51.0),
        ([("cpu-thermal", "-274000"), ("gpu", "48000")], 48.0),
        ([("cpu-thermal", "unknown")], None),
        ([("cpu-thermal", "")], None),
        ([], None),
    ],
)
def test_the_processor_s_zone_counts_and_without_one_the_hottest(tmp_path, zones, celsius):
    assert read_heat(board(tmp_path, zones)).temperature_c == celsius


@pytest.fixture
def vcgencmd(tmp_path):
    def write(line):
        program = tmp_path / "vcgencmd"
        program.write_text(f"#!/bin/sh\ntest $1 = get_throttled && {line}\n")
        program.chmod(0o755)
        return str(program)

    return write


@pytest.mark.parametrize(
    ("line", "throttled"),
    [
        ("echo throttled=0x50005", True),
        ("echo throttled=0x0", False),
        ("echo VCHI initialization failed", None),
        ("exit 255", None),
    ],
)
def test_without_the_kernel_s_file_a_program_is_asked(tmp_path, vcgencmd, line, throttled):
    assert read_heat(tmp_path, vcgencmd(line)).throttled is throttled


def test_a_program_that_cannot_be_run_says_nothing(tmp_path):
    assert read_heat(tmp_path, str(tmp_path / "none")) == Heat()
    (tmp_path / "broken").write_text("#!/nowhere\n")
    (tmp_path / "broken").chmod(0o755)
    assert read_heat(tmp_path, str(tmp_path / "broken")) == Heat()


class Reading:
    """A reader whose thread is run by hand, and whose board gets a degree hotter each time."""

    def __init__(self):
        self.now, self.asked, self.jobs = 1000.0, 0, []
        self.heat = HeatReader(self.read, lambda: self.now, self.jobs.append)

    def read(self):
        self.asked += 1
        return Heat(temperature_c=60.0 + self.asked)


def test_a_call_returns_the_last_reading_and_never_waits_for_the_next():
    reading = Reading()
    assert reading.heat() == Heat()
    assert reading.asked == 0
    reading.jobs.pop()()
    assert reading.heat() == Heat(temperature_c=61.0)


def test_the_board_is_asked_at_most_every_few_seconds():
    reading = Reading()
    for _ in range(100):
        reading.heat()
        while reading.jobs:
            reading.jobs.pop()()
        reading.now += PERIOD_S / 10
    assert reading.asked == 10


def test_a_reading_that_hangs_is_asked_for_once_and_the_last_one_grows_stale():
    reading = Reading()
    reading.heat()
    reading.jobs.pop()()
    for _ in range(int(STALE_S) - 1):
        reading.now += 1
        assert reading.heat() == Heat(temperature_c=61.0)
    reading.now += 1
    assert reading.heat() == Heat()
    assert len(reading.jobs) == 1


def test_a_thread_of_its_own_reads_the_board():
    asked = threading.Event()

    def read():
        names.append(threading.current_thread().name)
        asked.set()
        return Heat()

    names: list[str] = []
    HeatReader(read)()
    assert asked.wait(10)
    assert names == ["heat"]
