"""The command line as a user meets it: real processes, real files, exit codes and streams."""

import json
import re
import signal
import subprocess

import jsonschema
import pytest

from edge.backends import available
from tests.conftest import MODELS, ROOT, call, refusal, start

COMMANDS = [
    "run",
    "status",
    "reload",
    "track",
    "associate",
    "check",
    "devices",
    "schema",
    "models",
    "bench",
    "eval",
]
SAMPLE = "synthetic:portrait?frames=12"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"usage: edgetrack {command}" in out


def test_track_prints_one_valid_record_a_frame():
    code, out, err = call("track", SAMPLE)
    records = [json.loads(line) for line in out.splitlines()]
    schema = json.loads(call("schema", "record")[1])
    assert code == 0
    assert [record["frame"] for record in records] == list(range(12))
    for record in records:
        jsonschema.validate(record, schema)
    assert {track["status"] for track in records[-1]["tracks"]} == {"confirmed"}
    assert re.search(r"against the known path: IoU 0\.[89]", err)


def test_track_gives_the_same_bytes_twice():
    assert call("track", SAMPLE)[1] == call("track", SAMPLE)[1] != ""


@pytest.mark.parametrize("fmt", ["mot", "csv"])
def test_track_writes_other_formats_and_a_video(fmt, tmp_path):
    out, video = tmp_path / "out.txt", tmp_path / "out.mp4"
    words = ("--format", fmt, "--out", str(out), "--video", str(video))
    code, stdout, _ = call("track", SAMPLE, *words)
    assert (code, stdout) == (0, "")
    assert len(out.read_text().splitlines()) >= 20
    assert video.stat().st_size > 10_000


def test_run_plays_the_sample_live_and_sums_up(tmp_path):
    code, out, err = call("run", "--source", SAMPLE, "--sink", "-", "--sink", f"file:{tmp_path}/x")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert records[-1]["tracks"][0]["label"] == "face"
    assert records[-1]["time"] > 1.7e9
    assert all(record["age_ms"] > 0 for record in records)
    assert (tmp_path / "x").read_text() == out
    assert "12 seen" in err
    assert "ids: 2 face" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_run_cleanly_with_complete_files(number, tmp_path):
    path = tmp_path / "out.jsonl"
    process = start("run", "--source", "synthetic:portrait?frames=0", "--sink", f"file:{path}",
                    "--sink", "-")  # fmt: skip
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert all(json.loads(line)["schema"] == 1 for line in path.read_text().splitlines())
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize("command", ["run --source", "track"])
def test_a_reader_that_goes_away_ends_the_command_quietly(command):
    process = start(*command.split(), "synthetic:portrait?frames=60", stderr=subprocess.PIPE)
    with process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "Broken" not in err


def test_listing_into_a_closed_pipe_is_quiet():
    with start("schema", "manifest") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("track nothing.mp4", 69, "nothing.mp4: there is no such file or folder"),
        ("track {root}/pyproject.toml", 65, "pyproject.toml: "),
        ("track {tmp}", 65, "no image"),
        (f"track {SAMPLE} --model nobody", 65, "nobody: no such model; installed are"),
        (f"track {SAMPLE} --model {MODELS}/lstm-step", 65, "takes x and no picture; .*load_step"),
        (f"track {SAMPLE} --model {MODELS}/gru-batch", 65, "gru-batch: takes x and no .*load_step"),
        (f"bench frame --model {MODELS}/encoder-step", 65, "is a sequence, not a detector"),
        ("bench step", 2, "bench step: no model; .* --model"),
        (f"track {SAMPLE} --init 1,2,3,4 --model face", 2, "no model follows one; add a tracker"),
        (f"track {SAMPLE} --out {{tmp}}/no/out.jsonl", 73, "does not exist"),
        (f"track {SAMPLE} --out /dev/full", 73, "No space left|full|space"),
        ("track 0", 69, "/dev/video0"),
        ("run {tmp}/no.toml", 78, r"no\.toml: No such file"),
        ("run --source csi:0", 2, "csi:0: .*picamera2"),
        ("run --source ftp://x", 2, "ftp://"),
        ("run --source nothing.mp4", 69, "no such file"),
        (f"run --source {SAMPLE} --sink tape:1", 2, "no such kind of output"),
        (f"run --source {SAMPLE} --sink file:{{tmp}}/no/out", 73, "does not exist"),
        ("check {root}/pyproject.toml", 78, r"pyproject\.toml: .*unknown key; allowed are"),
        ("associate {root}/README.md --fps 10", 65, r"README\.md:1: is "),
        ("associate nothing.txt --fps 10", 65, "nothing.txt: No such file"),
        ("models show nobody", 65, "no such model"),
        ("models import nothing.onnx --decode yolox --labels a --licence MIT", 65, "no such file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_an_exit_code(words, code, message, tmp_path):
    words = words.format(root=ROOT, tmp=tmp_path, models=MODELS)
    found, out, line = refusal(*words.split())
    assert out == ""
    assert found == code
    assert re.search(message, line)


@pytest.mark.parametrize("words", ["", "fly", "track", "track x --detect-every 0",
                                   "associate x --fps 0", "schema poem"])  # fmt: skip
def test_wrong_words_are_exit_code_2_and_the_usage(words):
    code, out, err = call(*words.split())
    assert (code, out) == (2, "")
    assert "usage: edgetrack" in err


def test_check_tells_what_a_configuration_will_run():
    code, out, _ = call("check", str(ROOT / "configs" / "sample.toml"))
    assert code == 0
    assert "sample.toml: good; source synthetic:portrait" in out


def test_devices_lists_what_there_is_or_says_that_there_is_none():
    code, out, err = call("devices")
    assert code == 0
    assert "/dev/video" in out or "no video device is connected" in err


def test_the_configuration_schema_accepts_what_ships_and_refuses_an_unknown_key():
    schema = json.loads(call("schema", "config")[1])
    jsonschema.validate({"camera": "front", "detection": {"every": 2}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"camra": "front"}, schema)


def test_associate_turns_mot_detections_into_mot_tracks(tmp_path):
    rows = [f"{f},-1,{10 + 3 * f},20,30,40,0.9,-1,-1,-1\n" for f in range(1, 21)]
    rows += [f"{f},-1,nan,20,30,40,0.9,-1,-1,-1\n" for f in range(1, 21)]
    (tmp_path / "det.txt").write_text("".join(rows) + "\n")
    code, out, _ = call("associate", str(tmp_path / "det.txt"), "--fps", "10")
    lines = [line.split(",") for line in out.splitlines()]
    assert code == 0
    assert {line[1] for line in lines} == {"1"}
    assert lines[-1][0] == "20"
    assert float(lines[-1][2]) == pytest.approx(70, abs=2)


def test_models_are_listed_shown_and_verified():
    code, out, _ = call("models", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][:2] == ["face", "face-near"]
    assert json.loads(call("models", "show", "face")[1])["decode"]["family"] == "blazeface"
    code, out, _ = call("models", "verify", "face")
    assert code == 0
    assert out.count("differs from the recording") == len(available())


def test_a_model_that_remembers_nothing_fails_its_verification():
    code, _, err = call("models", "verify", str(MODELS / "dead-state"))
    assert code == 65
    assert "never changes over 50 steps" in err


def test_a_users_network_is_imported_verified_and_tracks(tmp_path):
    face = ROOT / "edge" / "models" / "face-near" / "face-near.tflite"
    if available() == ["onnx"]:
        pytest.skip("needs a TFLite interpreter")
    env = {"EDGETRACK_MODELS": str(tmp_path)}
    code, out, _ = call("models", "import", str(face), "--decode", "blazeface", "--labels", "head",
                        "--licence", "Apache-2.0", "--name", "mine", env=env)  # fmt: skip
    assert code == 0, out
    assert call("models", "verify", "mine", env=env)[0] == 0
    _, out, _ = call("track", SAMPLE, "--model", "mine", env=env)
    assert json.loads(out.splitlines()[-1])["tracks"][0]["label"] == "head"


def test_an_import_with_the_wrong_family_says_what_the_network_gives(tmp_path):
    face = ROOT / "edge" / "models" / "face" / "face.tflite"
    code, _, line = refusal("models", "import", str(face), "--decode", "yolox", "--labels", "a",
                         "--licence", "MIT", "--out", str(tmp_path / "x"))  # fmt: skip
    assert code == 65 or available() == ["onnx"]
    assert "choose another --decode" in line or "not installed" in line
    assert not (tmp_path / "x").exists()


def test_bench_prints_every_stage():
    code, out, _ = call("bench", "frame", "--frames", "3", "--model", "face-near")
    assert code == 0
    for stage in ("read", "fit", "network", "decode", "associate", "encode", "overhead"):
        assert stage in out


def test_bench_step_compares_a_step_with_its_networks_and_a_late_one_with_an_early_one():
    code, out, _ = call("bench", "step", "--frames", "120", "--model", MODELS / "encoder-step")
    assert code == 0
    assert re.search(r"bare invoke +[\d.]+  step is [\d.]+ times that", out)
    assert re.search(r"step 100 +[\d.]+\nstep 120 +[\d.]+  [\d.]+ times the early one", out)


def test_nothing_but_the_summary_is_said_on_stderr(tmp_path):
    _, _, err = call("track", SAMPLE, "--out", str(tmp_path / "out.jsonl"))
    lines = err.splitlines()
    assert lines[0].startswith("12 frames in ")
    assert len(lines) == 3
