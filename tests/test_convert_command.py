"""`edgetrack-convert` from a user's side: files in, a bundle or one clear line out."""

import importlib
import json
import os
import signal
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the converter's environment (tensorflow, keras)")

import edge  # noqa: E402
from convert.cli import main  # noqa: E402
from convert.errors import ConvertError  # noqa: E402
from convert.samples import read_samples  # noqa: E402
from convert.verify import compare  # noqa: E402
from edge import bundle as bundles  # noqa: E402
from edge.cli import main as edgetrack  # noqa: E402
from edge.step import replay_golden  # noqa: E402
from edge.types import TensorSpec  # noqa: E402
from tests.conftest import ENVIRONMENT, ROOT  # noqa: E402
from tests.convert_case import INTERPRETERS  # noqa: E402

L = keras.layers
LICENCE = ("--licence", "Apache-2.0")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a model of numbers and one of pictures."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(1)
    numbers = [keras.Input((None, 6), name="x"), L.LSTM(8, name="memory"), L.Dense(2, name="y")]
    save(keras.Sequential(numbers), folder / "numbers.keras")
    frames = keras.Input((None, 16, 16, 3), name="frames")
    x = L.TimeDistributed(L.Conv2D(4, 3, strides=2, activation="relu"))(frames)
    x = L.LSTM(8, name="memory")(L.TimeDistributed(L.Flatten())(x))
    y = L.Dense(3, activation="softmax", name="y")(x)
    save(keras.Model(frames, y), folder / "pictures.keras")
    return folder


def save(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy finds TensorFlow old
        model.save(path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder of 60 pictures that change slowly."""
    folder = tmp_path_factory.mktemp("clip")
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (20, 24, 3)).astype(np.float64)
    for index in range(60):
        picture = 0.8 * picture + 0.2 * random.integers(0, 256, picture.shape)
        cv2.imwrite(str(folder / f"{index:03}.png"), picture.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def converted(models, clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "watcher"
    words = [models / "pictures.keras", "--out", out, *LICENCE, "--labels", "a,b,c"]
    assert run(*words, "--samples", clip) == 0
    return out


def run(*words):
    return main([str(word) for word in words])


def refused(capsys, *words):
    """The exit code and the one line of a refusal."""
    code = run(*words)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return code, lines[0]


def test_a_bundle_holds_both_formats_parity_versions_and_a_recording(converted):
    manifest = bundles.load(converted).manifest
    assert {role: set(files) for role, files in manifest.networks.items()} == {
        "encoder": {"tflite", "onnx"},
        "step": {"tflite", "onnx"},
    }
    assert manifest.kind == "sequence"
    assert manifest.labels == ("a", "b", "c")
    assert [s.name for s in manifest.state.tensors] == ["memory_h", "memory_c"]
    for parity in manifest.parity.values():
        assert (parity.steps, parity.max_error < 1e-6) == (200, True)
        assert {"keras", "tensorflow", "onnxruntime", "edgetrack"} <= parity.versions.keys()
    assert not manifest.accepted


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_every_interpreter_repeats_the_recording(converted, backend):
    model = edge.load_step(converted, backend)
    assert replay_golden(model) <= model.manifest.golden.tolerance


def test_the_error_over_time_is_drawn_beside_the_bundle(converted):
    picture = cv2.imread(str(converted.with_name("watcher-parity.png")))
    assert picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_a_converted_bundle_is_installed_and_gives_values_for_every_frame(
    converted, clip, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGETRACK_MODELS", str(tmp_path / "installed"))
    assert edgetrack(["models", "install", str(converted)]) == 0
    out = tmp_path / "records.jsonl"
    assert edgetrack(["track", str(clip), "--model", "watcher", "--out", str(out)]) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 60
    assert all(set(r["values"]["watcher"]["scores"]) == {"a", "b", "c"} for r in records)


def test_explain_says_what_becomes_encoder_and_step_and_writes_nothing(models, tmp_path, capsys):
    assert run(models / "pictures.keras", "--explain", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "encoder  time_distributed" in out
    assert "step     memory (LSTM) 8 units, gates i, f, c, o" in out
    assert "state    memory_h -> memory_h_next float32 [1, 8]" in out
    assert not (tmp_path / "out").exists()


def test_one_format_one_network_and_the_users_words_are_kept(models, tmp_path):
    words = ("--to", "onnx", "--fuse", "--name", "mine", "--version", "7", "--origin", "my desk")
    assert run(models / "pictures.keras", "--out", tmp_path / "out", *LICENCE, *words) == 0
    manifest = bundles.load(tmp_path / "out").manifest
    assert manifest.networks == {"step": {"onnx": "step.onnx"}}
    assert (manifest.name, manifest.version, manifest.origin) == ("mine", "7", "my desk")


def test_weights_whose_licence_nobody_gave_are_said_to_be_unstated(models, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(models / "numbers.keras", "--out", out, "--to", "tflite") == 0
    assert "names no licence; give --licence" in capsys.readouterr().err
    assert bundles.load(out).manifest.licence == "unstated"


def test_pixels_are_given_as_the_words_say(models, clip, tmp_path):
    words = ("--colour", "BGR", "--mean", "127.5", "--scale", "0.0078", "--samples", clip)
    out = tmp_path / "out"
    assert run(models / "pictures.keras", "--out", out, *LICENCE, *words, "--to", "tflite") == 0
    image = bundles.load(out).manifest.input
    assert (image.colour, image.mean, image.scale) == ("BGR", (127.5,) * 3, (0.0078,) * 3)
    replay_golden(edge.load_step(out))


def test_a_model_of_grey_pictures_sees_a_coloured_clip_in_grey(clip, tmp_path):
    frames = keras.Input((None, 8, 8, 1), name="frames")
    x = L.GRU(4)(L.TimeDistributed(L.Flatten())(frames))
    save(keras.Model(frames, L.Dense(1, name="y")(x)), tmp_path / "grey.keras")
    out, records = tmp_path / "grey", tmp_path / "records.jsonl"
    assert run(tmp_path / "grey.keras", "--out", out, *LICENCE, "--samples", clip) == 0
    model = edge.load_step(out)
    assert model.manifest.input.colour == "GREY"
    assert replay_golden(model) <= model.manifest.golden.tolerance
    assert edgetrack(["track", str(clip), "--model", str(out), "--out", str(records)]) == 0
    first = cv2.cvtColor(cv2.imread(str(clip / "000.png")), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(cv2.resize(first, (8, 8)), cv2.COLOR_RGB2GRAY)[None, :, :, None]
    outputs, _ = model.step({"frames": grey * np.float32(1 / 255)}, model.initial_state())
    (value,) = json.loads(records.read_text().splitlines()[0])["values"]["grey"]
    assert value == pytest.approx(float(outputs["y"][0, 0]), abs=1e-6)


def test_pixels_stored_as_bytes_are_normalised_as_those_of_a_camera(models, clip, tmp_path):
    frames = [cv2.resize(cv2.imread(str(path)), (16, 16)) for path in sorted(clip.iterdir())]
    np.save(tmp_path / "clip.npy", np.stack(frames))
    words = [models / "pictures.keras", "--out", tmp_path / "out", *LICENCE]
    assert run(*words, "--samples", tmp_path / "clip.npy") == 0
    with np.load(tmp_path / "out" / "golden.npz") as recording:
        np.testing.assert_allclose(recording["inputs/frames"][0, 0], frames[0] / 255, atol=1e-6)


def test_a_model_of_bytes_is_given_pixels_as_they_are(clip, tmp_path):
    frames = keras.Input((None, 8, 8, 3), name="frames", dtype="uint8")
    x = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Rescaling(1 / 255))(frames))
    save(keras.Model(frames, L.Dense(1, name="y")(L.GRU(4)(x))), tmp_path / "bytes.keras")
    out = tmp_path / "out"
    assert run(tmp_path / "bytes.keras", "--out", out, *LICENCE, "--samples", clip) == 0
    model = edge.load_step(out)
    assert (model.manifest.input.dtype, model.manifest.input.scale[0]) == ("uint8", 1.0)
    assert replay_golden(model) <= model.manifest.golden.tolerance


def test_a_bundle_is_good_without_a_picture_of_its_error(models, tmp_path, capsys):
    (tmp_path / "out-parity.png").mkdir()
    assert run(models / "numbers.keras", "--out", tmp_path / "out", *LICENCE) == 0
    assert "no picture of the error was drawn: " in capsys.readouterr().err
    assert bundles.load(tmp_path / "out").manifest.name == "out"


def test_three_frames_tell_the_ranges_of_a_thousand_steps(models, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    np.save(tmp_path / "short.npy", pixels)
    words = [models / "pictures.keras", "--out", tmp_path / "out", *LICENCE]
    assert run(*words, "--samples", tmp_path / "short.npy", "--quantise", "int8") == 0


def test_inputs_must_have_as_many_sequences_and_steps_as_each_other(tmp_path):
    inputs = {name: TensorSpec(name, (1, 2), "float32") for name in ("a", "b")}
    for other in ((40, 2), (3, 50, 2)):
        np.savez(tmp_path / "odd.npz", a=np.zeros((50, 2)), b=np.zeros(other))
        with pytest.raises(ConvertError, match="the inputs have different"):
            read_samples(tmp_path / "odd.npz", inputs, None, 50)


def test_a_source_that_does_not_answer_every_frame_is_refused(converted):
    model = edge.load_step(converted)
    frames = np.zeros((20, 1, 16, 16, 3), np.float32)
    with pytest.raises(ConvertError, match=r"output y: the source gives \[10, 1, 3\]"):
        compare(model, {"frames": frames}, {"y": np.zeros((10, 1, 3))}, "none")


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Two sequences of the numbers' model."""
    file = tmp_path_factory.mktemp("walks") / "walks.npy"
    steps = np.random.default_rng(0).normal(0, 0.3, (2, 400, 6))
    np.save(file, np.sin(np.cumsum(steps, axis=1)).astype(np.float32))
    return file


@pytest.mark.parametrize("mode", ["float16", "dynamic", "int8", "int16x8"])
def test_smaller_numbers_stay_within_their_gate_over_1000_steps(
    mode, models, walks, tmp_path, capsys
):
    words = ("--quantise", mode, "--samples", walks)
    assert run(models / "numbers.keras", "--out", tmp_path / "out", *LICENCE, *words) == 0
    report = capsys.readouterr().out
    assert f"{mode}: error over standard deviation" in report
    assert "1000: max" in report
    manifest = bundles.load(tmp_path / "out").manifest
    assert manifest.quantisation.mode == mode
    assert manifest.state.tensors[0].dtype == "float32"
    assert set(manifest.parity) == ({"tflite"} if mode == "int16x8" else {"tflite", "onnx"})
    small = sum(path.stat().st_size for path in (tmp_path / "out").glob("step.*"))
    assert small < 2 * 8000


def test_integer_states_are_int8_from_end_to_end(models, walks, tmp_path):
    words = ("--quantise", "int8", "--integer-states", "--samples", walks)
    assert run(models / "numbers.keras", "--out", tmp_path / "out", *LICENCE, *words) == 0
    model = edge.load_step(tmp_path / "out")
    assert {spec.dtype for spec in model.initial_state().values()} == {np.dtype("int8")}
    assert model.inputs["x"].dtype == "int8"
    replay_golden(model)


def test_a_video_serves_as_samples(models, shared, tmp_path):
    clip = shared / "clips" / "carphone_pristine.mp4"
    words = ("--samples", clip, "--to", "tflite", "--quantise", "int8", "--accept", "drift")
    assert run(models / "pictures.keras", "--out", tmp_path / "out", *LICENCE, *words) == 0
    assert bundles.load(tmp_path / "out").manifest.quantisation.samples == clip.name


def lone(recurrent, bias=0.0):
    model = keras.Sequential([keras.Input((None, 3), name="x"), recurrent, L.Dense(2)])
    for variable in model.layers[0].weights:
        name = variable.path.rsplit("/", 1)[-1]
        if name == "recurrent_kernel" or bias == 0.0:
            variable.assign(np.zeros(variable.shape))
    return model


def test_a_state_that_does_not_matter_is_refused_by_name(tmp_path, capsys):
    save(lone(L.SimpleRNN(4, name="idle"), bias=1.0), tmp_path / "model.keras")
    words = (tmp_path / "model.keras", "--out", tmp_path / "out", *LICENCE)
    code, line = refused(capsys, *words)
    assert (code, "state 'idle_h' does not matter" in line) == (65, True)
    assert not (tmp_path / "out").exists()
    assert run(*words, "--accept", "dead-state") == 0
    assert bundles.load(tmp_path / "out").manifest.accepted == ("dead-state",)


def test_a_state_that_never_changes_is_refused_by_name(tmp_path, capsys):
    save(lone(L.SimpleRNN(4, name="dead")), tmp_path / "model.keras")
    words = (tmp_path / "model.keras", "--out", tmp_path / "out", *LICENCE)
    code, line = refused(capsys, *words)
    assert (code, "state 'dead_h' never changes" in line) == (65, True)


def test_a_bundle_that_drifts_is_refused_and_written_only_when_that_is_accepted(tmp_path, capsys):
    frames = keras.Input((None, 3), name="x")
    y = L.LSTM(4, return_sequences=True)(frames)
    mixed = L.Lambda(lambda v: v + 0.1 * v[:, :1])(y)  # the first frame, in disguise
    save(keras.Model(frames, mixed), tmp_path / "model.keras")
    words = (tmp_path / "model.keras", "--out", tmp_path / "out", *LICENCE, "--trust")
    code, line = refused(capsys, *words)
    assert (code, "drifts from its source" in line, "first at step" in line) == (65, True, True)
    assert not (tmp_path / "out").exists()
    assert run(*words, "--accept", "drift") == 0
    assert "accepted: out: output" in capsys.readouterr().err
    assert bundles.load(tmp_path / "out").manifest.accepted == ("drift",)


def test_a_source_that_gives_another_answer_each_time_is_refused(tmp_path, capsys):
    frames = keras.Input((None, 3), name="x")
    noisy = L.Lambda(lambda v: v + __import__("keras").random.normal((1, 1, 3)))(frames)
    save(keras.Model(frames, L.LSTM(4)(noisy)), tmp_path / "model.keras")
    words = (tmp_path / "model.keras", "--out", tmp_path / "out", *LICENCE, "--trust")
    code, line = refused(capsys, *words)
    assert (code, "another answer each time" in line) == (65, True)


def bad_samples(folder):
    random = np.random.default_rng(0)
    files = {
        "shape.npy": random.normal(size=(50, 5)),
        "nan.npy": np.full((50, 6), np.nan),
        "names.npz": {"wrong": random.normal(size=(50, 6))},
        "huge.npy": np.full((50, 6), 1e300),
        "words.npy": np.full((50, 6), "a"),
        "broken.npy": b"no array",
        "nothing.npy": b"",
        "cut.npz": b"PK",
    }
    for name, content in files.items():
        if isinstance(content, dict):
            np.savez(folder / name, **content)
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            np.save(folder / name, content)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """The current folder, with samples of the wrong kind in it."""
    monkeypatch.chdir(tmp_path)
    bad_samples(tmp_path)
    (tmp_path / "taken").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--quantise", "int8"], 65, "--quantise int8: needs --samples"),
        (["--samples", "nowhere.npy"], 65, "nowhere.npy: there are no such samples"),
        (["--samples", "shape.npy"], 65, r"shape.npy: is [50, 5], input 'x' wants [steps, 6]"),
        (["--samples", "nan.npy"], 65, "nan.npy: holds NaN"),
        (["--samples", "names.npz"], 65, "names.npz: has no input 'x', only wrong"),
        (["--samples", "broken.npy"], 65, "broken.npy: is no numpy file"),
        (["--samples", "huge.npy"], 65, "huge.npy: holds NaN, or values beyond float32"),
        (["--samples", "words.npy"], 65, "words.npy: holds <U1, no real numbers"),
        (["--samples", "nothing.npy"], 65, "nothing.npy: is no numpy file"),
        (["--samples", "cut.npz"], 65, "cut.npz: is no numpy file"),
        (["--samples", "CLIP"], 65, "holds pictures, and the model takes x [6]"),
        (["--out", "taken"], 65, "taken: already exists"),
        (["--out", "no/folder"], 73, "no is no folder"),
        (["--name", "Not A Name"], 2, "--name 'Not A Name': use a-z"),
        (["--quantise", "int16x8", "--to", "onnx"], 2, "onnx has no such numbers"),
        (["--integer-states"], 2, "goes with --quantise int8"),
        (["--labels", "a,b,c"], 65, "names 3 classes, output 'y' has 2"),
        (["--labels", "a,a"], 65, "--labels: names a class twice"),
        (["--version", "1/2"], 2, "--version '1/2': cannot name a folder"),
        (["--weights", "other.h5"], 2, "--weights: says nothing of"),
        (["--constant", "x=1"], 2, "--constant: says nothing of"),
        (["--import", "no_such_module"], 65, "--import no_such_module: cannot be imported"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_bad_words_and_samples_are_one_line_each(words, code, message, models, clip, capsys):
    words = [clip if word == "CLIP" else word for word in words]
    found = refused(capsys, models / "numbers.keras", "--out", "out", *LICENCE, *words)
    assert found[0] == code
    assert message in found[1]
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.keras", "there is no such file"),
        ("weights.pth", "holds weights and no layers; name the class"),
        ("model.xyz", "ends in '.xyz'"),
    ],
)
def test_what_is_no_model_is_one_line(name, message, tmp_path, capsys):
    if name != "missing.keras":
        (tmp_path / name).write_bytes(b"something")
    code, line = refused(capsys, tmp_path / name, "--out", tmp_path / "out", *LICENCE)
    assert (code, message in line) == (65, True)


def start(*words, without=(), **options):
    entry = f"import sys\nfor n in {without!r}: sys.modules[n] = None\n"
    entry += "import convert.cli\nsys.exit(convert.cli.main())"
    command = [sys.executable, "-c", entry, *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, **options)


@pytest.mark.parametrize(
    ("package", "words", "message"),
    [
        (
            "tensorflow",
            [],
            "needs tensorflow, not installed; pip install 'edgetrack[convert-keras]'",
        ),
        ("tf2onnx", ["--to", "onnx"], "needs tf2onnx, not installed"),
        ("ai_edge_quantizer", ["--quantise", "dynamic"], "needs ai-edge-quantizer, not installed"),
        ("ai_edge_litert", ["--to", "tflite"], "no interpreter for it is installed"),
    ],
)
def test_a_missing_extra_is_named(package, words, message, models, tmp_path):
    words = [models / "numbers.keras", "--out", tmp_path / "out", *LICENCE, *words]
    process = start(*words, without=(package,), stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 69
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(kill, models, tmp_path):
    ours, theirs = os.openpty()
    words = ("--out", tmp_path / "out", *LICENCE, "--steps", "1000000")
    process = start(models / "numbers.keras", *words, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"over 1000000 steps" not in seen:
        seen += os.read(ours, 1024)
    process.send_signal(kill)
    assert process.wait(timeout=60) == 130
    os.close(ours)
    assert b"opening" in seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", sorted(p.stem for p in (ROOT / "scripts/converter").glob("*.py")))
def test_every_part_of_the_converters_benchmark_loads(part):
    pytest.importorskip("torch", reason="needs edgetrack[convert-torch]")
    importlib.import_module(f"scripts.converter.{part}")
