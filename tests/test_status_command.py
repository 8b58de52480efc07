"""`edgetrack status` and `edgetrack reload` as a user meets them, on a folder of a process."""

import json
import os
import re
import subprocess
import time

import pytest

from edge.runtime import Answer, RuntimeFolder
from edge.types import Counts
from edge.vitals import Vitals
from tests.conftest import call, refusal


@pytest.fixture
def runtime(tmp_path):
    return RuntimeFolder(tmp_path)


def status(at=None, **changes):
    now = time.monotonic()
    counts = Counts(seen=12, processed=10, dropped={"newer": 2, "stopped": 0})
    vitals = Vitals("front", "run", counts, now - 60.0)
    vitals.models = ("face", "track")
    for key, value in changes.items():
        setattr(vitals, key, value)
    return vitals.status(at or now)


def test_status_tells_what_matters_first(runtime):
    runtime.publish(status())
    code, out, err = call("status", runtime.folder)
    first, *rest = out.splitlines()
    assert (code, err) == (0, "")
    assert first.startswith("front: starting for 60 s, 0.0 fps, age 0 ms, 0 tracks")
    assert "  frames   10 of 12 seen, 2 newer dropped" in rest
    assert "  models   face, track; 0 reloads" in rest
    assert f"  process  {os.getpid()}, up 60 s" in rest


def test_status_tells_of_a_reload_that_was_refused(runtime):
    runtime.publish(status(refused="front.toml: fps: is 0"))
    assert "the last reload was refused: front.toml: fps: is 0" in call("status", runtime.folder)[1]


def test_status_as_json_is_everything_on_a_line(runtime):
    runtime.publish(status())
    code, out, _ = call("status", runtime.folder, "--json")
    assert code == 0
    assert json.loads(out)["dropped"] == {"newer": 2, "stopped": 0}
    assert out.count("\n") == 1


def test_status_of_a_silent_process_is_told_with_a_warning(runtime):
    runtime.publish(status(at=time.monotonic() - 61.0))
    code, out, line = refusal("status", runtime.folder)
    assert code == 69
    assert out.startswith("front: ")
    assert re.search(r"nothing was heard of it for 6\d s", line)


def test_a_process_that_is_gone_is_said(runtime):
    with subprocess.Popen(["true"]) as gone:
        pass
    runtime.publish(status())
    path = runtime.folder / "status.json"
    path.write_text(path.read_text().replace(f'"pid":{os.getpid()}', f'"pid":{gone.pid}'))
    code, out, line = refusal("status", runtime.folder)
    assert (code, out) == (69, "")
    assert f"process {gone.pid} has ended without a word; see its log" in line


@pytest.mark.parametrize("command", ["status", "reload"])
def test_where_none_runs_one_line_says_how_to_start_it(command, tmp_path):
    code, out, line = refusal(command, f"{tmp_path}/front")
    assert (code, out) == (69, "")
    assert f"{tmp_path}/front: " in line
    assert "no edgetrack runs" in line


def test_a_name_is_that_of_a_service():
    code, _, line = refusal("status", "no-such-camera")
    assert code == 69
    assert "/run/edgetrack/no-such-camera: no edgetrack runs" in line
    assert "systemctl start edgetrack@no-such-camera" in line


def test_in_a_service_the_runtime_folder_is_that_of_the_service(runtime):
    runtime.publish(status())
    code, out, _ = call("status", env={"RUNTIME_DIRECTORY": f"{runtime.folder}:/other"})
    assert code == 0
    assert out.startswith("front: ")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"camera":"front"}'])
def test_a_damaged_status_is_one_line(runtime, text):
    (runtime.folder / "status.json").write_text(text)
    code, out, line = refusal("status", runtime.folder)
    assert (code, out) == (69, "")
    assert "status.json: cannot be read" in line


def answering(runtime, answer, ready):
    """A process that answers SIGHUP with what it is told; tells when it listens."""
    code = (
        "import signal, sys, pathlib\n"
        f"folder = pathlib.Path({str(runtime.folder)!r})\n"
        "def answer(*_):\n"
        "    word = (folder / 'reload-request').read_text()\n"
        f"    (folder / 'reload.json').write_text({answer!r}.replace('WORD', word))\n"
        "signal.signal(signal.SIGHUP, answer)\n"
        f"print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    process = subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    ready(process.pid)
    return process


@pytest.fixture
def process(runtime):
    """Makes a process that answers a reload; it is published, and ended with the test."""
    running = []

    def publish(pid):
        runtime.publish(status())
        path = runtime.folder / "status.json"
        path.write_text(path.read_text().replace(f'"pid":{os.getpid()}', f'"pid":{pid}'))

    def make(answer):
        running.append(answering(runtime, answer, publish))
        return running[-1]

    yield make
    for one in running:
        one.kill()
        one.communicate()


def test_reload_is_quiet_where_it_was_taken(runtime, process):
    process('{"request":"WORD"}')
    assert call("reload", runtime.folder) == (0, "", "")
    assert runtime.answered(runtime.asked()) == Answer(request=runtime.asked())


def test_reload_passes_on_the_reason_and_the_exit_code(runtime, process):
    process('{"request":"WORD","refused":"front.toml: fps: is 0","exit_code":78}')
    code, out, line = refusal("reload", runtime.folder)
    assert (code, out, line) == (78, "", "edgetrack: front.toml: fps: is 0")


def test_an_answer_to_somebody_else_is_not_taken(runtime, process):
    process('{"request":"another"}')
    code, _, line = refusal("reload", runtime.folder, "--wait", "0.1")
    assert code == 69
    assert "no answer within 0.1 s; see its log" in line


def test_a_process_that_dies_of_the_question_is_said(runtime, process):
    asked = process("")
    asked.kill()
    asked.wait()
    code, _, line = refusal("reload", runtime.folder)
    assert code == 69
    assert "has ended without a word" in line
