"""What goes wrong in the field, row by row, with the real process or the real loop of it.

docs/daemon.md has the table; rows that need a kernel or a network are in scripts/target.
"""

import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from functools import partial

import pytest

from tests.conftest import ENVIRONMENT, MODELS, ROOT, call, refusal
from tests.service_case import wait_until

FACE = ROOT / "edge" / "models" / "face"


def test_start_and_clean_stop(service):
    service.start()
    assert "front: streaming, " in service.manager.wait_for("STATUS=front: streaming")
    service.manager.wait_for("WATCHDOG=1")
    service.wait_for_frames()
    code, err = service.stop()
    assert code == 0
    assert "frame " not in err  # no progress lines in a log
    assert service.manager.said()[-1] == "STOPPING=1"
    assert not (service.runtime / "status.json").exists()
    assert json.loads((service.state / "state.json").read_text())["stopped"] is True


def test_killed_and_started_again_lines_are_whole_and_ids_go_on(service):
    service.start()
    state = service.state / "state.json"
    wait_until(lambda: state.exists() and json.loads(state.read_text())["tracks"]["ids"])
    service.stop(signal.SIGKILL)
    before = service.records()
    service.start()
    service.wait_for_frames()
    service.stop()
    after = service.records()[len(before) :]
    assert after[0]["run"] != before[0]["run"]
    known = {track["id"] for record in before for track in record["tracks"]}
    new = {e["id"] for record in after for e in record["events"] if e["type"] == "new"}
    assert known
    assert all(number > max(known) for number in new)
    assert {track["id"] for record in after for track in record["tracks"]} <= known | new


def test_a_stopped_process_is_silent_and_one_that_goes_on_is_heard(service):
    service.start()
    service.manager.wait_for("WATCHDOG=1")
    service.process.send_signal(signal.SIGSTOP)
    os.waitpid(service.process.pid, os.WUNTRACED)
    service.manager.said()
    with pytest.raises(TimeoutError):
        service.manager.wait_for("WATCHDOG=1", seconds=1.0)
    service.process.send_signal(signal.SIGCONT)
    service.manager.wait_for("WATCHDOG=1")


def rotten(folder):
    network = next(folder.glob("*.tflite"))
    network.write_bytes(network.read_bytes()[:-1] + b"!")


def test_a_corrupt_model_at_the_start_is_one_line_and_an_exit_code(service):
    rotten(shutil.copytree(FACE, service.folder / "models" / "face"))
    code, _, line = refusal("run", service.config, env=service.environment)
    assert code == 65
    assert "its sha256 is" in line
    assert "READY=1" not in service.manager.said()


def test_a_corrupt_model_at_a_reload_is_refused_and_the_old_one_runs_on(service):
    service.start()
    service.wait_for_frames()
    rotten(shutil.copytree(FACE, service.folder / "models" / "face"))
    code, _, line = service.edgetrack("reload", run=refusal)
    assert code == 65
    assert "its sha256 is" in line
    service.wait_for_frames()
    assert service.process.poll() is None


def test_a_bad_configuration_is_refused_and_a_good_one_is_taken(service):
    service.start()
    service.wait_for_frames()
    service.configure(fps=0)
    code, _, line = service.edgetrack("reload", run=refusal)
    assert code == 78
    assert "front.toml: fps: unknown key; allowed are" in line
    assert "STATUS=front: streaming" in service.hear("the last reload was refused: ")
    service.configure(models=["face", "track"])
    assert service.edgetrack("reload") == (0, "", "")
    service.wait_for_frames()
    assert (service.status()["models"], service.status()["reloads"]) == (["face", "track"], 1)
    assert service.status()["refused"] == ""
    assert "reload refused, all stays as it was: " in service.stop()[1]


def test_a_hang_up_by_signal_is_a_reload_too(service):
    service.start()
    service.process.send_signal(signal.SIGHUP)
    assert service.manager.wait_for("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
    service.manager.wait_for("READY=1")
    service.wait_for_frames()


def test_a_model_is_switched_to_and_back_while_it_runs(service):
    made = shutil.copytree(FACE, service.folder / "made")
    service.start()
    service.wait_for_frames()
    place = {"env": {"EDGETRACK_MODELS": str(service.folder / "models")}}
    for version in ("8", "9"):
        manifest = json.loads((made / "manifest.json").read_text()) | {"version": version}
        (made / "manifest.json").write_text(json.dumps(manifest))
        assert call("models", "install", made, **place)[0] == 0
        assert service.edgetrack("reload") == (0, "", "")
    assert call("models", "rollback", "face", **place)[0] == 0
    assert service.edgetrack("reload") == (0, "", "")
    _, err = service.stop()
    versions = [line.split("/face/")[1][:2] for line in err.splitlines() if "/face/" in line]
    assert versions == ["8-", "9-", "8-"]
    events = [e for record in service.records() for e in record["events"]]
    new = [event["id"] for event in events if event["type"] == "new"]
    assert new == sorted(set(new))  # no switch began to count anew


def test_a_closed_terminal_ends_the_run(service):
    leader, follower = pty.openpty()
    take = partial(fcntl.ioctl, follower, termios.TIOCSCTTY, 0)
    service.start(stdin=follower, stdout=subprocess.DEVNULL, preexec_fn=take)
    os.close(follower)
    service.wait_for_frames()
    os.close(leader)
    _, err = service.process.communicate(timeout=60)
    assert service.process.returncode == 0
    assert "frames in" in err


def test_a_sink_that_is_stuck_costs_its_records_and_then_the_watchdog_acts(service):
    pipe = service.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        service.configure(sinks=[f"file:{pipe}", f"file:{service.out}"])
        service.start()
        service.wait_for(lambda status: status["unwritten"].get(f"file:{pipe}"))
        assert service.status()["unwritten"][f"file:{service.out}"] == 0
        service.wait_for_frames()
        service.wait_for(lambda _: service.manager.silent("WATCHDOG=1", seconds=2.0))
        service.wait_for_frames()
    finally:
        os.close(reader)


def test_a_full_disk_costs_records_and_state_and_a_warning_each(service, mounted):
    small_disk = mounted()
    (small_disk / "ballast").write_bytes(bytes(48 * 1024))
    out = small_disk / "out.jsonl"
    service.configure(sinks=[f"file:{out}", f"file:{service.out}"])
    service.environment["STATE_DIRECTORY"] = str(small_disk)
    service.start()
    service.wait_for(lambda status: status["unwritten"].get(f"file:{out}"))
    service.wait_for_frames()
    written = out.stat().st_size
    (small_disk / "ballast").unlink()
    service.wait_for(lambda _: out.stat().st_size > written)
    code, err = service.stop()
    assert code == 0
    assert all(json.loads(line)["schema"] == 1 for line in out.read_text().splitlines())
    assert "works again" in err
    assert json.loads((small_disk / "state.json").read_text())["stopped"] is True


CUT = """import os, signal, shutil, sys
from pathlib import Path
from edge import bundle, store
first, second, place = map(Path, sys.argv[1:])
ACTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "shutil.copyfile"}

def install_and_die_before(act):
    def cut(event, args):
        nonlocal act
        act -= event in ACTS and str(place) in str(args)
        if act < 0:
            act = 1_000_000  # the kill is an event too
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(cut)
    store.install(bundle.load(second), place)

status, act = 1, 0
while status:
    shutil.rmtree(place, ignore_errors=True)
    store.install(bundle.load(first), place)
    if (child := os.fork()) == 0:
        install_and_die_before(act)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    print(bundle.load(bundle.find("lstm-step")).manifest.version, end="", flush=True)
    store.install(bundle.load(second), place)
    assert bundle.load(bundle.find("lstm-step")).manifest.version == "2"
    act += 1
"""


def test_an_install_that_dies_before_any_of_its_acts_leaves_a_whole_version(tmp_path):
    made = []
    for version in ("1", "2"):
        folder = shutil.copytree(MODELS / "lstm-step", tmp_path / version)
        manifest = json.loads((folder / "manifest.json").read_text()) | {"version": version}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        made.append(str(folder))
    place = str(tmp_path / "place")
    done = subprocess.run(
        [sys.executable, "-c", CUT, *made, place],
        env=ENVIRONMENT | {"EDGETRACK_MODELS": place},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(sorted(done.stdout))  # the old one, then the new one
    assert done.stdout.count("1") > 20
    assert done.stdout.endswith("2")
