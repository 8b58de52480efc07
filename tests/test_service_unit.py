"""The unit file and the script that installs it, as far as no systemd has to run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.config import DaemonSettings, SourceSettings, load_settings
from edge.errors import BundleError, ConfigError, SinkError, UsageError
from tests.conftest import ROOT, call

SERVICE = ROOT / "edge" / "service"
UNIT = SERVICE / "edgetrack@.service"
INSTALL = ROOT / "scripts" / "install-service"
PROGRAM = "/opt/edgetrack/bin/edgetrack"
WIDEST_EXPOSURE = 15  # tenths, of 100; the bar is 20

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze"
)


def settings_of(key):
    """The values of one key, in order."""
    lines = UNIT.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def number(key):
    (value,) = settings_of(key)
    return float(value)


def codes(text):
    return {int(word) for word in text.split() if word.isdecimal()}


@pytest.fixture
def runnable_unit(tmp_path):
    """The unit with a program that is there."""
    text = UNIT.read_text().replace(PROGRAM, sys.executable)
    path = tmp_path / UNIT.name
    path.write_text(text)
    return path


def analyze(*words):
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(runnable_unit):
    assert analyze("verify", runnable_unit) == (0, "")


@needs_systemd
def test_systemd_finds_a_misspelt_key(runnable_unit):
    runnable_unit.write_text(runnable_unit.read_text().replace("WatchdogSec", "WatchdogSecs"))
    assert "WatchdogSecs" in analyze("verify", runnable_unit)[1]


@needs_systemd
def test_the_sandbox_leaves_little_exposed(runnable_unit):
    threshold = f"--threshold={WIDEST_EXPOSURE}"
    code, said = analyze("security", "--offline=true", threshold, runnable_unit)
    assert code == 0, said


def test_what_no_restart_mends_is_not_restarted():
    (never,) = settings_of("RestartPreventExitStatus")
    assert codes(never) == {ConfigError.exit_code, UsageError.exit_code}


def test_what_a_restart_hardly_mends_waits_before_it():
    (pause,) = settings_of("ExecStopPost")
    waiting = pause.partition(" in ")[2].partition(")")[0].replace("|", " ")
    assert codes(waiting) == {BundleError.exit_code, SinkError.exit_code}


def test_the_times_of_unit_and_program_fit_together():
    patience_s = number("WatchdogSec") / 2  # what `Live.progressing` is asked for
    restarted_s = patience_s + number("WatchdogSec") + number("RestartSec")
    hangs_s = SourceSettings().hang_s + number("RestartSec")
    assert SourceSettings().deadline_s < patience_s
    assert max(restarted_s, hangs_s) + number("TimeoutAbortSec") < 2 * number("WatchdogSec")
    assert number("RestartSec") < DaemonSettings().resume_s


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload"])
def test_the_unit_calls_commands_that_there_are(key):
    (words,) = settings_of(key)
    program, command, *_ = words.split()
    assert program == PROGRAM
    assert call(command, "--help")[0] == 0


def test_the_settings_that_are_installed_load(tmp_path):
    path = tmp_path / "front.toml"
    path.write_text((SERVICE / "camera.toml").read_text().replace("NAME", "front"))
    assert load_settings(path).camera == "front"


def install(*words):
    done = subprocess.run([INSTALL, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_dry_run_tells_everything_and_does_nothing(tmp_path):
    code, out, err = install("front", "--dry-run", "--root", tmp_path)
    assert (code, err, list(tmp_path.iterdir())) == (0, "", [])
    told = [line.split()[1] for line in out.splitlines() if line.startswith("+")]
    assert told[0] == "python3"
    assert {"mv", "install", "write"} <= set(told)
    assert "systemctl" not in told  # nothing below another root is started


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no name; give one"),
        (["models"], "models: is where models are kept; choose another name"),
        (["../front"], "../front: is no name; use a-z, 0-9, _ and -"),
        (["front", "back"], "one name at a time, not front and back"),
        (["front", "--from"], "--from: wants a word after it"),
        (["front", "--from", "", "--dry-run"], "--from: wants a word after it"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, said):
    code, out, err = install(*words)
    assert (code, out) == (2, "")
    assert err.startswith("install-service: ")
    assert said in err


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "opt" / "edgetrack").mkdir(parents=True)
    code, _, err = install("front", "--dry-run", "--root", tmp_path)
    assert code == 69
    assert "is a folder of yours; move it away" in err


def test_help_shows_what_is_installed_where():
    code, out, _ = install("--help")
    assert code == 0
    assert Path(PROGRAM).parent.parent.as_posix() in out
    assert "/etc/edgetrack/front.toml" in out


@pytest.mark.target
@pytest.mark.skipif(
    "EDGETRACK_TARGET" not in os.environ,
    reason="takes 3 to 6 minutes; set EDGETRACK_TARGET to a folder for Debian systems",
)
def test_what_is_claimed_of_the_service_holds_under_a_real_systemd():
    done = subprocess.run(
        [ROOT / "scripts" / "target" / "systemd"], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.splitlines()[-1])
    assert [line for line in done.stdout.splitlines() if not line.startswith("ok: ")] == []
    assert done.returncode == 0, done.stderr
