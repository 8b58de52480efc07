"""The doctor: a Raspberry Pi that is made up of files, one thing after the other wrong with it."""

import errno
import json
import os
import shutil
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edge.backends import available
from edge.cli import main
from edge.doctor import Machine, examine
from tests import fake_picamera
from tests.conftest import ROOT, changed
from tests.fake_picamera import Sensor
from tests.test_sources_camera import answer

UNIT = "edgetrack@.service"
RUNNING = {
    "LoadState": "loaded",
    "FragmentPath": f"/etc/systemd/system/{UNIT}",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "MainPID": "1234",
    "NRestarts": "0",
    "WatchdogUSec": "30s",
    "NeedDaemonReload": "no",
    "ReadWritePaths": "",
}
MEMORY = "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\nCmaTotal: 524288 kB\nCmaFree: 500000 kB\n"
STREAM = {"source": "synthetic:portrait"}


class Pi:
    """A machine below a folder: what its files say, and what its programs answer."""

    def __init__(self, root: Path) -> None:
        self.root, self.service, self.synchronised = root, dict(RUNNING), "no"
        self.machine = Machine(
            root, ask=self.ask, processor="aarch64", python=(3, 11, 2), ioctl=answer(0x1)
        )
        self.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
        self.write("proc/meminfo", MEMORY)
        self.write("proc/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n")
        self.write("etc/group", f"root:x:0:\nvideo:x:{os.stat('/dev/null').st_gid}:\n")
        self.write("run/systemd/timesync/synchronized", "")
        self.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self.write("sys/class/thermal/thermal_zone0/temp", "48312")
        self.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0")
        self.write(f"etc/systemd/system/{UNIT}", (ROOT / "edge" / "service" / UNIT).read_text())
        self.write("opt/edgetrack/bin/edgetrack", "")
        self.machine = replace(self.machine, prefix=str(root / "opt/edgetrack"))
        self.configure(source="synthetic:portrait")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def configure(self, **settings) -> None:
        settings = {"models": ["face"], "sinks": ["file:tracks.jsonl"], **settings}
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        self.write("etc/edgetrack/front.toml", "\n".join(lines))

    def ask(self, words) -> str:
        if words[0] == "systemctl":
            return "\n".join(f"{key}={value}" for key, value in self.service.items())
        return self.synchronised

    def found(self, topic: str) -> list[tuple[str, str, str]]:
        """What the checks of a topic say."""
        checks = examine("front", self.machine)
        return [(c.verdict, c.found, c.advice) for c in checks if c.topic == topic]

    def only(self, topic: str) -> tuple[str, str, str]:
        (check,) = self.found(topic)
        return check


@pytest.fixture
def pi(tmp_path: Path) -> Pi:
    return Pi(tmp_path)


@pytest.fixture
def camera(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> Pi:
    """A USB camera at /dev/video0: /dev/null passes for one."""
    monkeypatch.setattr("edge.sources.v4l2._VIDEO_MAJOR", os.major(os.stat("/dev/null").st_rdev))
    pi.link("dev/video0", "/dev/null")
    pi.write("sys/class/video4linux/video0/name", "HD Webcam\n")
    pi.link("dev/v4l/by-id/usb-HD_Webcam-index0", "../../video0")
    pi.configure(source="/dev/v4l/by-id/usb-HD_Webcam-index0")
    return pi


def test_a_board_that_is_well_gets_no_advice(camera: Pi) -> None:
    checks = list(examine("front", camera.machine))
    assert [(check.topic, check.verdict, check.advice) for check in checks] == [
        (topic, "ok", "")
        for topic in (
            *("processor", "python", "memory", "swap", "heat", "power", "clock"),
            *("settings", "interpreter", "model face", "source", "sink"),
            *("unit", "program", "boot", "running", "watchdog"),
        )
    ]
    found = {check.topic: check.found for check in checks}
    assert found["processor"] == "aarch64, 64 bit, Raspberry Pi 4 Model B Rev 1.5"
    assert found["memory"] == "7168 MB of 8192 MB are free, CMA 512 MB of 537 MB"
    assert found["heat"] == "48 degrees Celsius"
    assert found["source"] == "/dev/v4l/by-id/usb-HD_Webcam-index0: Cam"
    assert found["unit"].endswith(f"{UNIT}, reads /etc/edgetrack/front.toml")
    assert found["watchdog"] == "replaces it after 30s without progress"


def test_a_32_bit_system_is_refused(pi: Pi) -> None:
    pi.machine = replace(pi.machine, bits=32)
    verdict, found, advice = pi.only("processor")
    assert (verdict, "32 bit" in found) == ("FAIL", True)
    assert advice == "flash a 64-bit system, such as Raspberry Pi OS"


@pytest.mark.parametrize(
    ("number", "verdict"),
    [((3, 10, 9), "FAIL"), ((3, 11, 0), "ok"), ((3, 13, 5), "ok"), ((3, 14, 0), "FAIL")],
)
def test_python_is_one_that_edgetrack_runs_with(pi: Pi, number, verdict: str) -> None:
    pi.machine = replace(pi.machine, python=number)
    assert pi.only("python")[0] == verdict


@pytest.mark.parametrize(
    ("flags", "verdict", "found"),
    [
        ("0", "ok", "nothing was held back since the start"),
        ("50005", "FAIL", "now: under-voltage, throttled"),
        ("80008", "warn", "now: soft temperature limit"),
        ("30000", "warn", "since the start: under-voltage, frequency capped"),
    ],
)
def test_the_power_supply_is_judged_by_the_firmwares_flags(
    pi: Pi, flags: str, verdict: str, found: str
) -> None:
    pi.write("sys/devices/platform/soc/soc:firmware/get_throttled", flags)
    assert pi.only("power")[:2] == (verdict, found)


def test_heat_scarce_memory_and_swap_on_the_card_are_warnings(pi: Pi) -> None:
    pi.write("sys/class/thermal/thermal_zone0/temp", "81000")
    pi.write("proc/meminfo", "MemTotal: 430000 kB\nMemAvailable: 90000 kB\n")
    pi.write("proc/swaps", "Filename Type Size Used Priority\n/var/swap file 102396 0 -2\n")
    assert pi.only("heat")[:2] == ("warn", "81 degrees Celsius")
    assert pi.only("memory")[:2] == ("warn", "92 MB of 440 MB are free")
    assert pi.only("swap")[:2] == ("warn", "/var/swap on the memory card")
    pi.write("proc/mounts", "/dev/nvme0n1p2 / ext4 rw 0 0\n")
    assert pi.only("swap")[:2] == ("ok", "/var/swap")


def test_a_clock_that_nobody_set_is_a_warning(pi: Pi) -> None:
    (pi.root / "run/systemd/timesync/synchronized").unlink()
    verdict, found, _ = pi.only("clock")
    assert (verdict, found) == (
        "warn",
        "not synchronised, and the board has no clock of its own",
    )
    pi.write("sys/class/rtc/rtc0/name", "rpi-rtc")
    assert pi.only("clock")[1] == "not synchronised"
    pi.synchronised = "yes"
    assert pi.only("clock")[:2] == ("ok", "synchronised")


def test_settings_that_are_wrong_are_told_and_the_unit_is_examined_all_the_same(pi: Pi) -> None:
    pi.write("etc/edgetrack/front.toml", 'sauce = "0"')
    verdict, found, advice = pi.only("settings")
    assert (verdict, found.endswith("sauce: unknown key")) == ("FAIL", True)
    assert advice.startswith("allowed are camera, source")
    assert pi.only("running")[0] == "ok"


def test_without_a_configuration_the_name_is_at_fault(pi: Pi) -> None:
    checks = list(examine("back", pi.machine))
    (check,) = [check for check in checks if check.topic == "settings"]
    assert (check.verdict, check.advice) == ("FAIL", "name a TOML file")


def test_every_camera_is_examined_where_none_is_named(pi: Pi) -> None:
    shutil.copy(pi.root / "etc/edgetrack/front.toml", pi.root / "etc/edgetrack/back.toml")
    topics = [check.topic for check in examine(None, pi.machine)]
    assert [topic for topic in topics if "source" in topic] == ["back: source", "front: source"]
    assert topics.count("clock") == 1


def test_a_damaged_model_is_refused_and_the_others_are_examined(pi: Pi, tmp_path: Path) -> None:
    def break_it(manifest) -> None:
        manifest["sha256"] = dict.fromkeys(manifest["sha256"], "0" * 64)

    folder = str(changed(tmp_path, "square", break_it))
    pi.configure(**STREAM, models=[folder, "face"])
    assert pi.only(f"model {folder}")[0] == "FAIL"
    assert pi.only("model face")[0] == "ok"


def test_a_model_in_a_home_is_refused_for_a_service(pi: Pi, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edge.doctor.models._HOMES", (str(tmp_path),))
    folder = shutil.copytree(ROOT / "edge" / "models" / "face", tmp_path / "own")
    pi.configure(**STREAM, models=[str(folder)])
    verdict, found, advice = pi.only(f"model {folder}")
    assert (verdict, found) == (
        "FAIL",
        f"{folder}: edgetrack@front cannot read it, it sees no home",
    )
    assert advice == f"`edgetrack models install {folder} --place /var/lib/edgetrack/models`"


@pytest.mark.parametrize("backend", ["litert", "tflite-runtime", "onnx"])
def test_a_backend_is_one_that_is_installed(pi: Pi, backend: str) -> None:
    pi.write("etc/edgetrack/front.toml", f'[inference]\nbackend = "{backend}"')
    verdict, found, _ = pi.only("interpreter")
    there = backend in available()
    assert verdict == ("ok" if there else "FAIL")
    assert found.startswith(f"{backend}; installed: " if there else f"{backend} is not installed; ")


def test_a_camera_by_its_number_is_a_warning_with_the_name_that_lasts(camera: Pi) -> None:
    camera.configure(source="0")
    good, warning = camera.found("source")
    assert good == ("ok", "/dev/video0: Cam", "")
    assert warning[0] == "warn"
    assert warning[2] == 'use source = "/dev/v4l/by-id/usb-HD_Webcam-index0"'


def test_an_absent_camera_lists_those_that_are_there(camera: Pi) -> None:
    camera.configure(source="/dev/video7")
    verdict, found, advice = camera.only("source")
    assert (verdict, "video7: no such device" in found) == ("FAIL", True)
    assert advice == "present are /dev/video0 (HD Webcam)"


def test_a_device_that_is_closed_to_the_service_is_refused(camera: Pi) -> None:
    camera.write("etc/group", "video:x:12345:\n")
    _, closed = camera.found("source")
    assert closed[0] == "FAIL"
    assert "belongs to the group" in closed[1]


def test_a_busy_camera_says_who_uses_it_and_the_service_may(camera: Pi) -> None:
    camera.machine = replace(camera.machine, ioctl=answer(0x1, errno.EBUSY))
    assert "another program uses the camera (EBUSY)" in camera.only("source")[1]
    camera.write("proc/77/comm", "motion\n")
    camera.link("proc/77/fd/5", str(camera.root / "dev/video0"))
    assert camera.only("source") == (
        "FAIL",
        "/dev/v4l/by-id/usb-HD_Webcam-index0: used by motion",
        "close it first",
    )
    camera.service["MainPID"] = "77"
    assert camera.only("source")[:2] == (
        "ok",
        "/dev/v4l/by-id/usb-HD_Webcam-index0: edgetrack@front uses it",
    )


def test_a_csi_camera_is_found_and_its_memory_examined(pi: Pi, monkeypatch) -> None:
    fake_picamera.install(monkeypatch, Sensor())
    pi.configure(source="csi:0")
    good, closed = pi.found("source")
    assert good == ("ok", "csi:0: imx219", "")
    assert closed[:2] == ("FAIL", "/dev has no dma_heap and no media device")
    pi.link("dev/dma_heap/linux,cma", "/dev/null")
    pi.write("proc/meminfo", MEMORY.replace("500000", "20000"))
    good, scarce = pi.found("source")
    assert scarce[:2] == ("warn", "CMA has 20 MB free for pictures")
    pi.configure(source="csi:1")
    assert pi.only("source")[:2] == ("FAIL", "csi:1: there is no such camera")


def test_without_picamera2_a_csi_camera_is_refused_with_how_to_get_it(pi: Pi, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    pi.configure(source="csi:0")
    verdict, found, advice = pi.only("source")
    assert (verdict, found) == ("FAIL", "csi:0: picamera2 is not installed")
    assert advice.startswith("`sudo apt install python3-picamera2`")


def test_a_stream_is_asked_whether_it_answers(pi: Pi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        pi.configure(source=f"rtsp://me:secret@127.0.0.1:{port}/cam")

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        assert pi.only("source")[:2] == (
            "ok",
            f"rtsp://127.0.0.1:{port}/...: a server answers",
        )
    verdict, found, _ = pi.only("source")
    assert verdict == "FAIL"
    assert found.endswith("connection refused")


@pytest.mark.parametrize(
    ("sink", "allowed", "verdict"),
    [
        ("file:tracks.jsonl", "", "ok"),
        ("file:/var/lib/edgetrack/front/a.jsonl", "", "ok"),
        ("file:/srv/tracks.jsonl", "", "FAIL"),
        ("file:../back/tracks.jsonl", "", "FAIL"),
        ("file:/srv/tracks.jsonl", "/mnt -/srv", "ok"),
    ],
)
def test_a_service_writes_where_its_unit_lets_it(
    pi: Pi, sink: str, allowed: str, verdict: str
) -> None:
    pi.service["ReadWritePaths"] = allowed
    pi.configure(**STREAM, sinks=[sink])
    assert pi.found("sink")[0][0] == verdict


@pytest.mark.parametrize(("free_mb", "verdict"), [(300.0, "ok"), (200.0, "warn"), (49.0, "FAIL")])
def test_room_on_the_disk_is_compared_with_what_files_may_grow_to(
    pi: Pi, free_mb: float, verdict: str
) -> None:
    pi.machine = replace(pi.machine, free_mb=lambda _: free_mb)
    verdict_found, found, _ = pi.only("sink")
    assert verdict_found == verdict
    assert found.endswith(f"{free_mb:.0f} MB free, files.max_mb is 256")


def test_a_port_that_is_taken_is_refused_unless_the_service_has_it(pi: Pi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        pi.configure(**STREAM, sinks=[f"http://127.0.0.1:{port}"])
        assert pi.only("sink")[:2] == (
            "ok",
            f"http://127.0.0.1:{port}: in use, edgetrack@front runs",
        )
        pi.service["ActiveState"] = "inactive"
        assert pi.only("sink")[:2] == ("FAIL", f"http://127.0.0.1:{port}: address already in use")
    assert pi.only("sink")[:2] == ("ok", f"http://127.0.0.1:{port}: the port is free")


def test_records_of_a_service_do_not_belong_into_the_journal(pi: Pi) -> None:
    pi.configure(**STREAM, sinks=["-"])
    assert pi.only("sink")[0] == "warn"


@pytest.mark.parametrize(
    ("topic", "change", "verdict", "found"),
    [
        ("unit", {"LoadState": "not-found"}, "FAIL", "edgetrack@front: systemd says not-found"),
        ("unit", {"NeedDaemonReload": "yes"}, "warn", f"/etc/systemd/system/{UNIT}: changed on di"),
        ("boot", {"UnitFileState": "disabled"}, "warn", "edgetrack@front is disabled"),
        ("running", {"ActiveState": "failed"}, "FAIL", "edgetrack@front is failed (running), last"),
        ("running", {"ActiveState": "inactive"}, "warn", "edgetrack@front is inactive"),
        ("running", {"NRestarts": "4"}, "warn", "edgetrack@front is active (running), started aga"),
        ("watchdog", {"WatchdogUSec": "0"}, "warn", "a process that hangs is not replaced"),
    ],
)
def test_the_unit_is_examined(pi: Pi, topic: str, change, verdict: str, found: str) -> None:
    pi.service |= change
    assert [(v, f[: len(found)]) for v, f, _ in pi.found(topic)] == [(verdict, found)]


def test_a_unit_file_of_another_version_is_a_warning(pi: Pi) -> None:
    pi.write(f"etc/systemd/system/{UNIT}", "[Service]\nExecStart=/bin/true\n")
    verdict, found, advice = pi.only("unit")
    assert (verdict, found) == (
        "warn",
        f"/etc/systemd/system/{UNIT}: is not the one of this version",
    )
    assert advice.startswith("`sudo scripts/install-service front`")


def test_another_program_than_the_services_says_so(pi: Pi) -> None:
    pi.machine = replace(pi.machine, prefix="/home/pi/.venv")
    assert pi.only("program")[0] == "warn"
    shutil.rmtree(pi.root / "opt")
    assert pi.only("program")[0] == "FAIL"


def test_without_systemd_the_rest_is_examined(pi: Pi) -> None:
    pi.service = {}
    assert pi.only("unit")[:2] == ("warn", "systemd does not answer")
    assert pi.only("model face")[0] == "ok"


def test_this_machine_is_examined_and_a_file_is_no_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "clip.toml"
    config.write_text('source = "synthetic:portrait"\n[files]\nmax_mb = 1e-3\n')
    assert main(["doctor", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(maxsplit=1)[0] for line in lines} <= {"ok", "warn"}
    assert "ok    source: synthetic:portrait: synthetic" in lines
    assert "ok    sink: -: standard output" in lines
    assert not [line for line in lines if "unit" in line.split(":")[0]]


def test_what_fails_is_exit_code_69_and_json_has_it_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "clip.toml"
    config.write_text('source = "missing.mp4"\nsinks = ["file:/nowhere/at/all.jsonl"]')
    assert main(["doctor", "--json", str(config)]) == 69
    checks = json.loads(capsys.readouterr().out)
    failed = {check["topic"]: check for check in checks if check["verdict"] == "FAIL"}
    assert failed["sink"]["found"] == "/nowhere/at/all.jsonl: /nowhere/at is no folder"
    assert failed["sink"]["advice"] == "create it"
    assert failed["source"]["found"] == "missing.mp4: there is no such file or folder"
