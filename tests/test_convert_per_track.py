"""Sequence models whose state belongs to a track: a free batch out of every kind of source."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[convert-torch]")

import edge  # noqa: E402
from convert.cli import main  # noqa: E402
from convert.torch.layers import WindowAttention  # noqa: E402
from edge.step import replay_golden  # noqa: E402
from tests.conftest import MODELS  # noqa: E402
from tests.convert_case import INTERPRETERS  # noqa: E402

nn = torch.nn
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("litert_torch") and find_spec("onnxscript")),
        reason="needs edgetrack[convert-torch]",
    ),
]
STEPS, ROWS = 300, 5


class Motion(nn.Module):
    """Where a box will be: an LSTM over how it moved."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.memory, self.read = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 30)

    def forward(self, motion):
        return {"forecast": self.read(self.memory(motion)[0]).unflatten(-1, (5, 6))}


class Glance(nn.Module):
    """Pictures -> convolution -> GRU and attention over a window."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.look = nn.Conv2d(3, 4, 3, 2)
        self.memory, self.window = nn.GRU(4, 8, batch_first=True), WindowAttention(8, 2, window=4)
        self.read = nn.Linear(8, 3)

    def forward(self, picture):
        rows, steps = picture.shape[:2]
        seen = torch.relu(self.look(picture.flatten(0, 1))).mean((2, 3))
        return self.read(self.window(self.memory(seen.unflatten(0, (rows, steps)))[0]))


SOURCES = {"Motion": "--shape=motion=6", "Glance": "--shape=picture=3,12,12"}


@pytest.fixture(scope="module", params=list(SOURCES))
def converted(request, tmp_path_factory):
    """The class of a model and its bundle."""
    name, out = request.param, tmp_path_factory.mktemp("bundles") / request.param.lower()
    words = ["--scope", "per_track", "--licence", "Apache-2.0", "--out", str(out)]
    assert main([f"{__file__}:{name}", SOURCES[name], *words]) == 0
    return {"Motion": Motion, "Glance": Glance}[name], out


def stepped(model, sequence):
    """Every output over a sequence (steps, rows, ...), and the last state."""
    state, found = model.initial_state(rows=sequence.shape[1]), []
    (name,) = model.inputs
    for values in sequence:
        outputs, state = model.step({name: values}, state)
        found.append(next(iter(outputs.values())))
    return np.array(found), state


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_rows_at_once_are_each_the_source_over_its_whole_sequence(converted, backend):
    source, folder = converted
    model = edge.load_step(folder, backend)
    ((_, spec),) = model.inputs.items()
    shape = (STEPS, ROWS, *spec.shape[1:])
    sequence = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found, _ = stepped(model, sequence)
    with torch.no_grad():
        for row in range(ROWS):
            answer = source()(torch.from_numpy(sequence[None, :, row]))
            wanted = next(iter(answer.values())) if isinstance(answer, dict) else answer
            np.testing.assert_allclose(found[:, row], wanted[0].numpy(), atol=1e-5)


def test_the_manifest_frees_the_rows_and_gives_the_state_to_tracks(converted):
    manifest = edge.load_step(converted[1]).manifest
    assert (manifest.kind, manifest.state.scope) == ("sequence", "per_track")
    tensors = (*manifest.state.tensors, *manifest.inputs.values(), *manifest.outputs.values())
    assert {tensor.shape[0] for tensor in tensors} == {-1}


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_the_recording_of_one_row_is_repeated(converted, backend):
    model = edge.load_step(converted[1], backend)
    assert replay_golden(model) <= model.manifest.golden.tolerance


def test_a_keras_model_steps_any_number_of_rows(tmp_path):
    keras = pytest.importorskip("keras", reason="needs edgetrack[convert-keras]")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((None, 8, 8, 3)), layers.TimeDistributed(layers.Conv2D(4, 3, 2))]
    )
    for layer in (
        layers.TimeDistributed(layers.Flatten()),
        layers.GRU(6, return_sequences=True),
        layers.Dense(2),
    ):
        model.add(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy finds TensorFlow old
        model.save(tmp_path / "model.keras")
    words = [str(tmp_path / "model.keras"), "--scope", "per_track", "--licence", "MIT"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    sequence = np.random.default_rng(0).normal(size=(50, 3, 8, 8, 3)).astype(np.float32)
    wanted = model(sequence.swapaxes(0, 1)).numpy().swapaxes(0, 1)
    for backend in INTERPRETERS:
        found, _ = stepped(edge.load_step(tmp_path / "out", backend), sequence)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_onnx_step_is_run_row_after_row(tmp_path):
    words = [str(MODELS / "lstm-step" / "lstm-step.onnx"), "--scope", "per_track"]
    assert main([*words, "--licence", "Apache-2.0", "--out", str(tmp_path / "out")]) == 0
    many = edge.load_step(tmp_path / "out", "onnx")
    one = edge.load_step(MODELS / "lstm-step", "onnx")
    sequence = np.random.default_rng(0).normal(size=(50, 3, 3)).astype(np.float32)
    together, state = stepped(many, sequence)
    for row in range(3):
        alone, last = stepped(one, sequence[:, row : row + 1])
        np.testing.assert_array_equal(together[:, row : row + 1], alone)
        np.testing.assert_array_equal(state["c"][row : row + 1], last["c"])


def test_a_tflite_file_for_one_row_is_refused_for_many(tmp_path, capsys):
    words = [str(MODELS / "lstm-step" / "lstm-step.tflite"), "--scope", "per_track"]
    assert main([*words, "--licence", "Apache-2.0", "--out", str(tmp_path / "out")]) == 65
    assert "is a TFLite file for one row; convert the model" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_smaller_numbers_go_with_a_free_batch(mode, tmp_path):
    samples = tmp_path / "motion.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(3, 200, 6)).astype(np.float32))
    words = ["--scope", "per_track", "--licence", "MIT", "--out", str(tmp_path / "out")]
    quantised = ["--quantise", mode, "--samples", str(samples), "--to", "tflite"]
    assert main([f"{__file__}:Motion", SOURCES["Motion"], *words, *quantised]) == 0
    model = edge.load_step(tmp_path / "out")
    assert replay_golden(model) <= model.manifest.golden.tolerance
    found, _ = stepped(model, np.load(samples).swapaxes(0, 1))
    assert found.shape == (200, 3, 5, 6)
