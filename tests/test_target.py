"""scripts/test-target: one summary of all that needs more than this machine's Python."""

import shutil
import subprocess

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "test-target"
WELL = "echo 'ok: it streams'; echo 'ok: all 1 claims (2 s)'"
CANNOT = "echo 'rtsp: GStreamer is not installed' >&2; exit 77"
BROKEN = "echo 'ok: it streams'; echo 'FAILED: it comes back: it does not'; exit 1"


@pytest.fixture
def summary(tmp_path):
    """Run the script over made-up ones; return its exit code and the lines of its summary."""

    def run(**scripts):
        folder = tmp_path / "scripts" / "target"
        folder.mkdir(parents=True)
        shutil.copy(SCRIPT, folder.parent)
        for name, text in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        words = [folder.parent / SCRIPT.name, *scripts]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.rpartition("\n\n")[2].splitlines()

    return run


def test_what_a_machine_cannot_do_is_skipped_and_its_reason_is_told(summary):
    code, (camera, rtsp) = summary(camera=WELL, rtsp=CANNOT)
    assert code == 0
    assert camera.startswith("camera")
    assert camera.endswith("ok       2 ok, 0 failed")
    assert rtsp.endswith("skipped  rtsp: GStreamer is not installed")


def test_one_that_fails_fails_all_and_its_first_fault_is_told(summary):
    code, (camera, rtsp) = summary(camera=BROKEN, rtsp=WELL)
    assert code == 1
    assert camera.endswith("FAILED   1 ok, 1 failed: it comes back: it does not")
    assert rtsp.endswith("ok       2 ok, 0 failed")


def test_a_script_that_ends_without_a_claim_has_not_passed(summary):
    code, (camera,) = summary(camera="exit 3")
    assert code == 1
    assert "FAILED   0 ok, 0 failed" in camera


def test_nothing_that_could_run_is_no_success(summary):
    assert summary(rtsp=CANNOT)[0] == 1


def test_a_script_that_is_not_there_is_a_failure(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    words = [tmp_path / "scripts" / SCRIPT.name, "nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nowhere: there is no scripts/target/nowhere" in done.stdout
