"""What goes wrong outside: damaged files, odd pictures, broken bundles, lost readers, signals."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import cv2
import numpy as np
import pytest

from edge.backends import available
from edge.config import SourceSettings
from edge.sources import open_source
from tests.conftest import ENVIRONMENT, ROOT, call, refusal, start

SAMPLE = "synthetic:portrait?frames=12"
ENDLESS = "synthetic:portrait?frames=0"
FACE = ROOT / "edge" / "models" / "face"


def noise(height, width, *channels, kind=np.uint8):
    high = np.iinfo(kind).max
    return np.random.default_rng(height).integers(0, high, (height, width, *channels), kind)


def records_of(path):
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def count_frames(path):
    """Play a video to its end, which raises where it is damaged."""
    source = open_source(str(path), SourceSettings())
    count = sum(1 for _ in iter(source.read, None))
    source.close()
    return count


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clip.mp4", b"", "the file is empty"),
        ("clip.mp4", b"no video\n" * 99, "not a video"),
        ("picture.png", b"", r"damaged \(0 bytes\)"),
        ("picture.jpg", b"\xff\xd8\xff\xe0 and no more", "damaged"),
    ],
)
@pytest.mark.parametrize("command", ["track", "run --source"])
def test_what_is_no_video_is_bad_data(command, name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    code, out, line = refusal(*command.split(), tmp_path / name)
    assert (code, out) == (65, "")
    assert re.search(f"{name}: .*{message}", line)


def test_a_damaged_image_in_the_middle_costs_nothing_that_came_before(tmp_path):
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), noise(48, 64, 3))
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    code, out, line = refusal("track", tmp_path)
    assert (code, len(out.splitlines())) == (65, 2)
    assert "2.png: not a readable image, or damaged" in line


@pytest.mark.parametrize(
    "image",
    [
        noise(1, 1, 3),
        noise(1, 5000, 3),
        noise(5000, 1, 3),
        noise(48, 64),
        noise(48, 64, 4),
        noise(48, 64, kind=np.uint16),
        noise(48, 64, 3, kind=np.uint16),
    ],
    ids=["1x1", "5000 wide", "5000 high", "grey", "alpha", "grey of 16 bits", "16 bits"],
)
def test_an_odd_picture_is_a_frame_like_any_other(image, tmp_path):
    path, video = tmp_path / "pícture 目 1.png", tmp_path / "annotated 目.mp4"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    code, out, _ = call("track", path, "--video", video)
    assert code == 0
    assert json.loads(out)["size"] == [image.shape[1], image.shape[0]]
    assert count_frames(video) == 1


def test_pictures_that_change_size_are_tracked_and_make_one_video(tmp_path):
    for index, (height, width) in enumerate([(240, 320), (1, 1), (480, 640), (1, 900)]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), noise(height, width, 3))
    code, out, _ = call("track", tmp_path, "--video", tmp_path / "all.mp4")
    sizes = [json.loads(line)["size"] for line in out.splitlines()]
    assert code == 0
    assert sizes == [[320, 240], [1, 1], [640, 480], [900, 1]]
    assert count_frames(tmp_path / "all.mp4") == 4


def test_an_animated_gif_is_a_video(shared):
    code, out, _ = call("track", shared / "clips" / "intel_classroom.gif", "--model", "face-near")
    assert code == 0
    assert len(out.splitlines()) == 45


@pytest.mark.parametrize(
    ("address", "code", "message"),
    [
        ("/dev/null", 69, "is no video device"),
        ("/dev/video97", 69, "no such device"),
        ("rtsp://user:secret@127.0.0.1:1/x", 69, "127.0.0.1:1/...: connection refused"),
        ("rtsp://:554/x", 2, "no host"),
        ("http://user:secret@camera/x", 2, "no source of this kind"),
        ("synthetic:portrait?frames=-1", 2, "no option here"),
    ],
)
def test_a_source_that_cannot_be_is_refused_without_its_password(address, code, message):
    found, out, line = refusal("track", address)  # `run` waits for a camera that is not there
    assert (found, out) == (code, "")
    assert message in line
    assert "secret" not in line


def test_an_existing_output_is_left_alone_when_there_is_no_source(tmp_path):
    kept = tmp_path / "kept.jsonl"
    kept.write_text("precious\n")
    assert refusal("track", tmp_path / "nothing.mp4", "--out", kept)[0] == 69
    assert refusal("associate", tmp_path / "nothing.txt", "--fps", 5, "--out", kept)[0] == 65
    assert kept.read_text() == "precious\n"


def break_key(folder, section, key, value):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    (manifest[section] if section else manifest)[key] = value
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "face.onnx").unlink(), "face.onnx: No such file"),
        (lambda f: (f / "face.onnx").write_bytes(b"x"), "face.onnx: its sha256 is"),
        (lambda f: (f / "golden.npz").unlink(), "golden.npz: No such file"),
        (lambda f: (f / "manifest.json").write_bytes(b""), "manifest.json: "),
        (lambda f: break_key(f, None, "format", 2), "format is 2, this edgetrack reads 1"),
        (lambda f: break_key(f, "decode", "family", "magic"), "Invalid value 'magic'"),
        (lambda f: break_key(f, "input", "size", [64, 64]), "the manifest says float32"),
        (lambda f: break_key(f, "input", "name", "picture"), "no input 'picture'"),
    ],
)
def test_a_broken_bundle_is_refused_in_one_line(change, message, tmp_path):
    shutil.copytree(FACE, tmp_path / "face")
    change(tmp_path / "face")
    code, out, line = refusal("track", SAMPLE, "--model", tmp_path / "face")
    assert (code, out) == (65, "")
    assert message in line


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "model.h5"])
def test_a_model_that_is_none_is_not_imported(name, tmp_path):
    needed = {"model.onnx": {"onnx"}, "model.tflite": {"litert", "tflite-runtime"}}.get(name)
    if needed and not needed & set(available()):
        pytest.skip("needs the interpreter of this format")
    (tmp_path / name).write_text("no model\n" * 20)
    words = ("--decode", "yolox", "--labels", "person", "--licence", "MIT")
    code, out, line = refusal("models", "import", tmp_path / name, *words, "--out", tmp_path / "x")
    assert (code, out) == (65, "")
    assert name in line
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("backend", "packages", "message"),
    [
        ("onnx", ("onnxruntime",), "pip install 'edgetrack[onnx]'"),
        ("auto", ("onnxruntime", "ai_edge_litert", "tflite_runtime"), "pip install ai-edge-litert"),
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(backend, packages, message):
    code, out, line = refusal("track", SAMPLE, "--backend", backend, without=packages)
    assert (code, out) == (69, "")
    assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('camera = "a"\r\n[detection]\r\nevry = 2\r\n', "detection.evry: unknown key; allowed are"),
        ("[detection]\nevery = true", "detection.every: is True; expected `int`"),
        ("[tracking]\nmax_lost_s = -1", "tracking.max_lost_s: is -1; expected `float` >= 0.0"),
        ("[capture]\nfps = inf", "capture.fps: is no finite number"),
        ("[[detection]]\nevery = 2", "expected `object`"),
        ("camera = 1\ncamera = 2", "is no TOML"),
    ],
)
def test_a_bad_setting_ends_every_command_that_reads_it_with_78(text, message, tmp_path):
    (tmp_path / "bad.toml").write_bytes(text.encode())
    for words in ("check", "run", f"track {SAMPLE} --config"):
        code, out, line = refusal(*words.split(), tmp_path / "bad.toml")
        assert (code, out) == (78, "")
        assert message in line


def test_a_configuration_written_on_windows_is_read(tmp_path):
    (tmp_path / "camera.toml").write_bytes(b'camera = "yard"\r\n\r\n[detection]\r\nevery = 2\r\n')
    code, out, _ = call("track", SAMPLE, "--config", tmp_path / "camera.toml")
    assert code == 0
    assert json.loads(out.splitlines()[0])["camera"] == "yard"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "-1e308"])
def test_boxes_that_cannot_be_make_no_track_and_no_trouble(value, tmp_path):
    good = "10,20,30,40,0.9"
    bad = [good.replace(part, value, 1) for part in good.split(",")[:4]] + ["10,20,30,40,nan"]
    rows = [f"{number},-1,{box}\n" for number in range(1, 9) for box in [*bad, good]]
    (tmp_path / "det.txt").write_text("".join(rows))
    code, out, _ = call("associate", tmp_path / "det.txt", "--fps", 10)
    assert code == 0
    assert out.splitlines() == [
        f"{number},1,10.00,20.00,30.00,40.00,0.90,-1,-1,-1" for number in range(1, 9)
    ]


def test_boxes_without_area_make_no_track_and_those_outside_the_picture_do(tmp_path):
    shapes = ["5,5,0,9", "5,5,9,0", "5,5,-9,9", "-900,-900,50,60"]
    rows = [f"{n},-1,{shape},0.9\n" for n in range(1, 6) for shape in shapes]
    (tmp_path / "det.txt").write_text("".join(rows))
    code, out, _ = call("associate", tmp_path / "det.txt", "--fps", 10)
    assert code == 0
    assert {line.split(",")[1] for line in out.splitlines()} == {"1"}
    assert out.splitlines()[-1] == "5,1,-900.00,-900.00,50.00,60.00,0.90,-1,-1,-1"


def test_hours_without_a_detection_are_no_trouble(tmp_path):
    (tmp_path / "det.txt").write_text("1,-1,9,9,20,20,0.9\n7200,-1,9,9,20,20,0.9\n")
    code, out, _ = call("associate", tmp_path / "det.txt", "--fps", 1)
    frames_and_ids = [line.split(",")[:2] for line in out.splitlines()]
    assert code == 0
    assert frames_and_ids == [["1", "1"], ["7200", "2"]]


def test_a_detector_that_looks_once_in_a_million_frames_leaves_tracks_to_coast():
    words = ("--model", "face-near", "--detect-every", 1_000_000)
    code, out, _ = call("track", "synthetic:portrait?frames=40", *words)
    statuses = [{t["status"] for t in json.loads(line)["tracks"]} for line in out.splitlines()]
    assert code == 0
    assert statuses[0] == {"confirmed"}
    assert statuses[-1] == {"lost"}


def test_mot_text_and_csv_say_what_the_json_lines_of_the_same_run_say(tmp_path):
    words = [f"{kind}:{tmp_path / kind}" for kind in ("file", "mot", "csv")]
    assert call("run", "--source", SAMPLE, *(w for s in words for w in ("--sink", s)))[0] == 0
    seen = [(r["frame"], t) for r in records_of(tmp_path / "file") for t in r["tracks"]]
    rows = list(csv.DictReader((tmp_path / "csv").read_text().splitlines()))
    assert [(int(r["frame"]), int(r["id"]), r["label"], r["status"]) for r in rows] == [
        (frame, t["id"], t["label"], t["status"]) for frame, t in seen
    ]
    mot = [[float(w) for w in s.split(",")] for s in (tmp_path / "mot").read_text().splitlines()]
    sure = [(f, t["id"], t["box"]) for f, t in seen if t["status"] == "confirmed"]
    assert [row[:2] for row in mot] == [[f + 1, number] for f, number, _ in sure]
    for row, (_, _, (left, top, right, bottom)) in zip(mot, sure, strict=True):
        assert row[2:6] == pytest.approx([left, top, right - left, bottom - top], abs=0.006)


@pytest.mark.parametrize(
    ("first", "second"),
    [("file:{}/x", "file:{}/x"), ("file:{}/x", "mot:{}/../{}/x"), ("-", "mot:-")],
)
def test_two_outputs_to_one_place_are_refused(first, second, tmp_path):
    sinks = (first.format(tmp_path), second.format(tmp_path, tmp_path.name))
    words = [word for sink in sinks for word in ("--sink", sink)]
    code, _, line = refusal("run", "--source", SAMPLE, *words)
    assert code == 2
    assert "goes to the same place; name another file" in line


def picture_folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), noise(48, 64, 3))
    return folder


@pytest.mark.parametrize(
    "words",
    ["track {clip} --out {clip}", "track {clip} --video {clip}", "track {clip} --out {link}",
     "track {folder} --out {folder}/1.png", "associate {clip} --fps 9 --out {clip}",
     "track {folder} --config {config} --out {config}", "run --source {clip} --sink file:{clip}",
     "run {config} --source {clip} --sink file:{config}"],
)  # fmt: skip
def test_an_output_never_overwrites_what_is_read(words, tmp_path):
    names = {"clip": tmp_path / "clip.mp4", "link": tmp_path / "link.mp4"}
    names |= {"folder": picture_folder(tmp_path), "config": tmp_path / "c.toml"}
    names["clip"].write_bytes(b"precious")
    names["link"].hardlink_to(names["clip"])
    names["config"].write_text('camera = "front"\n')
    code, _, line = refusal(*words.format(**names).split())
    assert code == 2
    assert "which is read; name another file" in line
    assert names["clip"].read_bytes() == b"precious"
    assert names["config"].read_text() == 'camera = "front"\n'


def test_an_older_output_stays_when_the_source_or_another_output_fails(tmp_path):
    older, broken = tmp_path / "older.jsonl", tmp_path / "broken.png"
    older.write_text("older")
    broken.write_bytes(b"no picture")
    assert call("track", broken, "--out", older)[0] == 65
    assert call("track", SAMPLE, "--out", older, "--video", "x.avi")[0] == 73
    assert call("track", SAMPLE, "--out", older, "--video", tmp_path / "no" / "x.mp4")[0] == 73
    assert older.read_text() == "older"


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", ">&-"])
def test_a_stream_that_nobody_reads_does_not_end_a_run(redirect, tmp_path):
    out = tmp_path / "out.jsonl"
    command = f"exec {sys.executable} -m edge run --source '{SAMPLE}' --sink file:{out} {redirect}"
    done = subprocess.run(["sh", "-c", command], env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 0
    assert records_of(out)[-1]["frame"] == 11  # a busy machine drops some before


@pytest.mark.parametrize("words", ["schema record", "models list", "--version"])
def test_printing_to_a_full_disk_is_one_line(words):
    with open("/dev/full", "w") as full:
        code, _, line = refusal(*words.split(), stdout=full)
    assert code == 73
    assert "standard output: No space left on device" in line


def full_pipe():
    """A pipe that takes not one byte more, and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (65536, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * size)
    os.set_blocking(writer, True)
    return reader, writer


def test_a_second_signal_ends_what_cannot_end_by_itself(tmp_path):
    video, (reader, writer) = tmp_path / "x.mp4", full_pipe()
    process = start("track", ENDLESS, "--video", video, stdout=writer, stderr=subprocess.DEVNULL)
    while not (video.exists() and video.stat().st_size > 10_000):  # then comes the full pipe
        assert process.poll() is None
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    os.close(reader)
    os.close(writer)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("extreme", ["0", "1"])
def test_thresholds_at_the_ends_of_their_range_work(extreme, tmp_path):
    config = tmp_path / "c.toml"
    keys = (f"[detection]\nscore_threshold = {extreme}", f"[tracking]\nbirth_score = {extreme}")
    config.write_text("\n".join(keys))
    assert call("track", "synthetic:portrait?frames=2", "--config", config)[0] == 0


def test_an_interpreter_that_does_not_load_is_one_line():
    code, _, line = refusal("track", SAMPLE, without=("ai_edge_litert.interpreter",
                            "tflite_runtime.interpreter", "onnxruntime"))  # fmt: skip
    assert code == 69
    assert "is installed but does not load" in line or "is not installed" in line


def test_a_broken_bundle_does_not_hide_the_others(tmp_path, monkeypatch):
    shutil.copytree(FACE, tmp_path / "a-broken")
    (tmp_path / "a-broken" / "face.tflite").unlink()
    monkeypatch.setitem(ENVIRONMENT, "EDGETRACK_MODELS", str(tmp_path))
    code, out, _ = call("models", "list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["a-broken", "broken"], ["face", "detector"], ["face-near", "detector"],
        ["motion", "sequence"], ["track", "tracker"], ["track-stateless", "tracker"]]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [("sinks = ['tape:1']", "no such kind"),
     ("sinks = ['file:/no/such/x']", "/no/such is no folder"),
     ("models = ['face', 'face']", "names one twice"), ("[tracking]\nlow_score = 0.9", "more than"),
     ("x = " + "[" * 5000, "nested too deeply")],
)  # fmt: skip
def test_check_finds_what_a_run_would_trip_over(text, message, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    code, _, line = refusal("check", tmp_path / "c.toml")
    assert code in (2, 78)
    assert message in line


def test_files_with_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfcamera = 'front'\n")
    (tmp_path / "det.txt").write_bytes(b"\xef\xbb\xbf1,-1,10,20,30,40,0.95\n")
    assert call("check", tmp_path / "c.toml")[0] == 0
    code, out, _ = call("associate", tmp_path / "det.txt", "--fps", "9")
    assert (code, out) == (0, "1,1,10.00,20.00,30.00,40.00,0.95,-1,-1,-1\n")


def test_detections_far_apart_in_time_cost_no_more_than_near_ones(tmp_path):
    (tmp_path / "det.txt").write_text("9999999,-1,10,20,30,40,0.95\n")
    assert call("associate", tmp_path / "det.txt", "--fps", "9")[1].startswith("9999999,1,10.00")


@pytest.mark.parametrize(
    ("words", "code"),
    [("--name ../zz", 2), ("--name a/b", 2), ("--size 1x1", 2), ("--size 99999x99999", 2),
     ("--out {tmp}/no/such/x", 73), ("--pad 300", 2)],
)  # fmt: skip
def test_an_import_that_cannot_be_is_refused_and_leaves_nothing(words, code, tmp_path, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "EDGETRACK_MODELS", str(tmp_path / "models"))
    words = words.format(tmp=tmp_path).split()
    found, out, _ = call("models", "import", FACE / "face.tflite", "--decode", "blazeface",
                           "--labels", "face", "--licence", "Apache-2.0", *words)  # fmt: skip
    if found == 69:
        pytest.skip("needs a TFLite interpreter")
    assert (found, out) == (code, "")
    assert list(tmp_path.iterdir()) == []


def test_a_sink_without_space_loses_its_own_records_only_and_says_how_many(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    sinks = ("--sink", "file:/dev/full", "--sink", f"file:{tmp_path / 'good.jsonl'}")
    _, _, err = call("run", "--source", SAMPLE, *sinks)
    assert "file:/dev/full: no space left on device" in err
    records = records_of(tmp_path / "good.jsonl")
    assert records[-1]["frame"] == 11  # a busy machine drops some before
    assert f"file:/dev/full: {len(records)} records not written" in err


def run_until_third_record(tmp_path, *words):
    """Start an endless live run into files; return it once it has three records out."""
    sinks = ("-", f"file:{tmp_path / 'out.jsonl'}", f"video:{tmp_path / 'out.mp4'}")
    process = start("run", "--source", ENDLESS, *words, *(w for s in sinks for w in ("--sink", s)))
    for _ in range(3):
        process.stdout.readline()
    return process


def test_a_killed_run_leaves_whole_lines_and_a_video_that_plays(tmp_path):
    process = run_until_third_record(tmp_path)
    for _ in range(10):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert len(records_of(tmp_path / "out.jsonl")) >= 10
    assert count_frames(tmp_path / "out.mp4") >= 10


@pytest.mark.parametrize("numbers", [(signal.SIGINT,) * 2, (signal.SIGTERM,) * 2], ids=str)
def test_an_impatient_user_still_gets_complete_files(numbers, tmp_path):
    process = run_until_third_record(tmp_path)
    for number in numbers:
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130, -signal.SIGINT)  # the second may come at the very end
    assert "Traceback" not in err
    assert len(records_of(tmp_path / "out.jsonl")) >= 2
    assert count_frames(tmp_path / "out.mp4") >= 2


def test_what_was_seen_is_what_was_processed_and_what_was_dropped(tmp_path):
    models = [tmp_path / f"face-{number}" for number in range(6)]  # too slow for 30 fps
    for model in models:
        model.symlink_to(FACE)
    process = run_until_third_record(tmp_path, *(w for m in models for w in ("--model", m)))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    found = re.search(r"(\d+) frames in .*, (\d+) seen, (.*) dropped", err)
    lost = sum(map(int, re.findall(r"\d+", found[3])))
    assert int(found[2]) == int(found[1]) + lost
    for index, record in enumerate(records_of(tmp_path / "out.jsonl")):
        assert index <= record["frame"] <= index + record["dropped"]


def test_a_reader_that_goes_away_ends_a_run_but_not_its_files(tmp_path):
    with run_until_third_record(tmp_path) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert len(records_of(tmp_path / "out.jsonl")) >= 3
    assert count_frames(tmp_path / "out.mp4") >= 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_track_stopped_by_a_signal_leaves_complete_files(number, tmp_path):
    video, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    os.mkfifo(lines)
    process = start("track", ENDLESS, "--out", lines, "--video", video)
    with lines.open() as reader:
        first = reader.readline()
        process.send_signal(number)
        written = [first, *reader]
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [json.loads(line)["frame"] for line in written] == list(range(len(written)))
    assert count_frames(video) == len(written)
    assert f"{len(written)} frames in" in err
