import hashlib
import json
import shutil

import msgspec
import numpy as np
import pytest

import edge
from edge.backends import available
from edge.bundle import Bundle, load
from edge.errors import BackendError, BundleError
from edge.manifest import StateSpec, StateTensor, TensorInput, TensorOutput
from edge.step import StepModel, replay_golden
from edge.types import TensorSpec
from tests.conftest import MODELS, changed

BACKENDS = available()
STATEFUL = ("lstm-step", "encoder-step")


def inputs_of(model, steps, seed=0):
    random = np.random.default_rng(seed)
    specs = model.inputs.items()
    return [
        {n: random.normal(size=[abs(d) for d in s.shape]).astype(s.dtype) for n, s in specs}
        for _ in range(steps)
    ]


def run_all(model, inputs, state=None):
    state = state if state is not None else model.initial_state()
    results = []
    for values in inputs:
        outputs, state = model.step(values, state)
        results.append(next(iter(outputs.values())))
    return np.array(results), state


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["lstm-step", "encoder-step", "square"])
def test_stepping_equals_the_whole_sequence_computed_without_an_interpreter(name, backend):
    model = edge.load_step(MODELS / name, backend)
    assert replay_golden(model) <= model.manifest.golden.tolerance <= 0.02


@pytest.mark.parametrize("name", ["square-int8", "square-uint8"])
def test_an_integer_model_repeats_its_recording_exactly(name):
    if BACKENDS == ["onnx"]:
        pytest.skip("needs a TFLite interpreter")
    assert replay_golden(edge.load_step(MODELS / name)) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_step_leaves_its_state_argument_alone(backend):
    model = edge.load_step(MODELS / "lstm-step", backend)
    state = model.initial_state()
    model.step(inputs_of(model, 1)[0], state)
    assert all((value == 0).all() for value in state.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STATEFUL)
def test_one_model_serves_two_streams_without_leaking_state(name, backend):
    model = edge.load_step(MODELS / name, backend)
    first, second = inputs_of(model, 20, seed=1), inputs_of(model, 20, seed=2)
    alone = [run_all(model, first)[0], run_all(model, second)[0]]
    states = [model.initial_state(), model.initial_state()]
    together = ([], [])
    for pair in zip(first, second, strict=True):
        for stream in (0, 1):
            outputs, states[stream] = model.step(pair[stream], states[stream])
            together[stream].append(next(iter(outputs.values())))
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_reset_and_replay_give_identical_outputs(backend):
    model = edge.load_step(MODELS / "lstm-step", backend)
    inputs = inputs_of(model, 30)
    np.testing.assert_array_equal(run_all(model, inputs)[0], run_all(model, inputs)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_state_matters(backend):
    model = edge.load_step(MODELS / "lstm-step", backend)
    inputs = inputs_of(model, 5)
    _, later = run_all(model, inputs)
    fresh, carried = run_all(model, inputs)[0], run_all(model, inputs, later)[0]
    assert np.abs(fresh[0] - carried[0]).max() > 1e-3


def test_interpreters_agree_over_300_steps():
    if len(BACKENDS) < 2:
        pytest.skip("only one interpreter is installed")
    results = []
    for backend in BACKENDS:
        model = edge.load_step(MODELS / "lstm-step", backend)
        results.append(run_all(model, inputs_of(model, 300))[0])
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_rows_of_a_batch_are_independent_tracks(backend):
    model = edge.load_step(MODELS / "gru-batch", backend)
    with np.load(MODELS / "gru-batch" / "three-rows.npz") as recording:
        inputs = {n: recording[f"inputs/{n}"] for n in model.inputs}
        expected = {n: recording[f"outputs/{n}"] for n in model.manifest.outputs}
    state = model.initial_state(rows=3)
    for index in range(len(next(iter(inputs.values())))):
        outputs, state = model.step({n: v[index] for n, v in inputs.items()}, state)
        for name, value in outputs.items():
            np.testing.assert_allclose(value, expected[name][index], atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tracks_come_and_go_between_steps_and_keep_their_own_state(backend):
    model = edge.load_step(MODELS / "gru-batch", backend)
    x = np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32)
    _, alone = run_all(model, [{"x": x[1:2]}, {"x": x[2:3]}])
    _, state = model.step({"x": x[:2]}, model.initial_state(rows=2))  # rows a, b
    kept = {name: value[1:] for name, value in state.items()}  # a leaves, c comes
    grown = {n: np.concatenate([v, model.initial_state()[n]]) for n, v in kept.items()}
    _, state = model.step({"x": x[2:]}, grown)
    np.testing.assert_allclose(state["h"][:1], alone["h"], atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_track_at_all_is_a_legal_step(backend):
    model = edge.load_step(MODELS / "gru-batch", backend)
    outputs, state = model.step({"x": np.empty((0, 3), np.float32)}, model.initial_state(rows=0))
    assert outputs["y"].shape == (0, 2)
    assert state["h"].shape == (0, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_encoding_first_and_stepping_with_the_features_is_one_step(backend):
    model = edge.load_step(MODELS / "encoder-step", backend)
    inputs, state = inputs_of(model, 1)[0], model.initial_state()
    features = model.encode(inputs)
    assert set(features) == {"feature"}
    found, whole = model.step(features, state), model.step(inputs, state)
    for part, wanted in zip(found, whole, strict=True):
        for name, value in wanted.items():
            np.testing.assert_array_equal(part[name], value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_features_that_are_given_are_not_computed_over(backend):
    model = edge.load_step(MODELS / "encoder-step", backend)
    one, other = inputs_of(model, 2)
    state = model.initial_state()
    mixed, _ = model.step(one | model.encode(other), state)
    np.testing.assert_array_equal(mixed["classes"], model.step(other, state)[0]["classes"])


def test_a_model_of_one_network_has_no_encoder_to_run():
    model = edge.load_step(MODELS / "lstm-step")
    with pytest.raises(BackendError, match="lstm-step: has no encoder; call step"):
        model.encode(inputs_of(model, 1)[0])


def per_track(manifest):
    manifest["state"]["scope"] = "per_track"
    manifest["inputs"]["x"]["shape"][0] = manifest["outputs"]["y"]["shape"][0] = -1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_for_one_row_is_refused_where_the_state_belongs_to_a_track(backend, tmp_path):
    folder = changed(tmp_path, "lstm-step", per_track)
    with pytest.raises(
        BundleError, match=r"'.' is float32 \[1, .\], but its first dimension must be"
    ):
        edge.load_step(folder, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_whose_state_never_changes_is_refused_by_name(backend):
    with pytest.raises(BundleError, match=r"state '.*' never changes over \d+ steps"):
        replay_golden(edge.load_step(MODELS / "dead-state", backend))


def test_a_state_that_never_changes_passes_where_the_converter_was_told_so(tmp_path):
    folder = changed(tmp_path, "dead-state", lambda m: m.update(accepted=["dead-state"]))
    assert replay_golden(edge.load_step(folder)) <= 1e-5


def test_what_the_converter_cannot_let_pass_is_no_manifest(tmp_path):
    with pytest.raises(BundleError, match="accepted"):
        load(changed(tmp_path, "lstm-step", lambda m: m.update(accepted=["everything"])))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STATEFUL)
def test_outputs_and_states_are_the_callers_to_keep_and_to_write_into(name, backend):
    model = edge.load_step(MODELS / name, backend)
    inputs = inputs_of(model, 3)
    outputs, state = model.step(inputs[0], model.initial_state())
    kept = [value.copy() for value in (*outputs.values(), *state.values())]
    after, _ = model.step(inputs[1], state)
    for value, before in zip((*outputs.values(), *state.values()), kept, strict=True):
        np.testing.assert_array_equal(value, before)
        value[...] = 7.0
    _, fresh = model.step(inputs[0], model.initial_state())
    again, _ = model.step(inputs[1], fresh)
    for output, value in after.items():
        np.testing.assert_array_equal(again[output], value)


def test_a_state_that_is_an_output_too_is_not_shared_with_it(tmp_path):
    state = {"h_next": {"shape": [1, 4]}}
    model = edge.load_step(changed(tmp_path, "lstm-step", lambda m: m["outputs"].update(state)))
    outputs, state = model.step(inputs_of(model, 1)[0], model.initial_state())
    outputs["h_next"][...] = 7.0
    assert (np.abs(state["h"]) < 1).all()


def test_a_state_that_is_missing_is_named():
    model = edge.load_step(MODELS / "lstm-step")
    with pytest.raises(BackendError, match="state 'c' is missing"):
        model.step(inputs_of(model, 1)[0], {"h": np.zeros((1, 4), np.float32)})


class Adder:
    """A network by hand: adds up the real values of its int8 inputs, each with its own coding."""

    backend = "by hand"

    def __init__(self, output, **inputs):
        self.inputs = {name: int8(name, *coding) for name, coding in inputs.items()}
        self.outputs = {output[0]: int8(*output)}

    def run(self, inputs):
        real = [(int(inputs[n][0, 0]) - s.zero_point) * s.scale for n, s in self.inputs.items()]
        ((name, spec),) = self.outputs.items()
        stored = np.clip(sum(real) / spec.scale + spec.zero_point, -128, 127)
        return {name: np.array([[stored]]).astype(np.int8)}


def int8(name, scale, zero_point):
    return TensorSpec(name, (1, 1), "int8", scale, zero_point)


def by_hand(monkeypatch, feed, **networks):
    """A model that adds what it is fed to `before`, which starts at 1.5."""
    manifest = msgspec.structs.replace(
        load(MODELS / "lstm-step").manifest,
        networks={role: {"tflite": ""} for role in networks},
        inputs={feed: TensorInput(shape=(1, 1), dtype="int8")},
        outputs={"total": TensorOutput(shape=(1, 1), dtype="int8")},
        state=StateSpec(
            scope="per_stream",
            tensors=(
                StateTensor(name="sum", input="before", output="total", shape=(1, 1), dtype="int8",
                            initial=1.5),
            ),
        ),
    )  # fmt: skip
    sessions = iter(networks.values())
    monkeypatch.setattr("edge.step.open_session", lambda *_: next(sessions))
    return StepModel(Bundle(manifest, MODELS), "auto")


def test_an_integer_state_is_carried_on_in_the_coding_of_the_tensor_it_enters(monkeypatch):
    adder = Adder(("total", 0.25, -20), x=(0.5, 0), before=(0.5, 10))
    model = by_hand(monkeypatch, "x", step=adder)
    state = model.initial_state()
    assert state["sum"].tolist() == [[13]]  # 1.5 in steps of 0.5, 10 stands for 0
    for real, total in [(1.0, 2.5), (2.0, 4.5), (-3.5, 1.0)]:
        outputs, state = model.step({"x": np.array([[real / 0.5]], np.int8)}, state)
        assert (int(outputs["total"][0, 0]) + 20) * 0.25 == total
        assert (int(state["sum"][0, 0]) - 10) * 0.5 == total


def test_an_integer_state_beyond_what_its_tensor_holds_stays_at_the_end(monkeypatch):
    adder = Adder(("total", 2.0, 0), x=(0.5, 0), before=(0.5, 10))
    model = by_hand(monkeypatch, "x", step=adder)
    _, state = model.step({"x": np.array([[127]], np.int8)}, {"sum": np.array([[126]], np.int8)})
    assert state["sum"].tolist() == [[127]]


def test_an_integer_feature_enters_the_step_in_the_coding_that_the_step_reads(monkeypatch):
    encoder = Adder(("x", 0.25, 1), picture=(1.0, 0))
    adder = Adder(("total", 0.25, -20), x=(0.5, 0), before=(0.5, 10))
    model = by_hand(monkeypatch, "picture", encoder=encoder, step=adder)
    outputs, _ = model.step({"picture": np.array([[3]], np.int8)}, model.initial_state())
    assert (int(outputs["total"][0, 0]) + 20) * 0.25 == 3.0 + 1.5


def test_a_shape_that_the_interpreter_contradicts_is_refused(tmp_path):
    folder = changed(tmp_path, "lstm-step", lambda m: m["inputs"]["x"].update(shape=[1, 5]))
    with pytest.raises(BundleError, match=r"input 'x' is float32 \[1, 3\], .* says .* \[1, 5\]"):
        edge.load_step(folder)


def test_a_name_that_no_network_has_is_refused(tmp_path):
    folder = changed(
        tmp_path, "lstm-step", lambda m: m["state"]["tensors"][0].update(output="hidden")
    )
    with pytest.raises(BundleError, match="the network has no output 'hidden'"):
        edge.load_step(folder)


def test_a_state_that_enters_no_network_is_refused(tmp_path):
    folder = changed(
        tmp_path, "lstm-step", lambda m: m["state"]["tensors"][0].update(input="hidden")
    )
    with pytest.raises(BundleError, match="no network has an input 'hidden'"):
        edge.load_step(folder)


def test_an_input_that_the_manifest_forgets_is_refused(tmp_path):
    folder = changed(tmp_path, "lstm-step", lambda m: m["state"]["tensors"].pop())
    with pytest.raises(BundleError, match="wants an input 'c' that the manifest does not name"):
        edge.load_step(folder)


def test_a_recording_that_another_model_made_is_refused(tmp_path):
    folder = changed(tmp_path, "lstm-step", lambda m: m["golden"].update(tolerance=0.0))
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["state"]["tensors"][0]["initial"] = 0.5
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="differs from the recording by"):
        replay_golden(edge.load_step(folder))


@pytest.mark.parametrize("content", ["no archive", "an archive without states"])
def test_a_recording_that_is_none_is_one_line(content, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(MODELS / "lstm-step", folder)
    if content == "no archive":
        (folder / "golden.npz").write_bytes(b"neither zip nor numpy")
    else:
        np.savez(folder / "golden.npz", **{"inputs/x": np.zeros((50, 1, 3), np.float32)})
    manifest = json.loads((folder / "manifest.json").read_text())
    recording = (folder / "golden.npz").read_bytes()
    manifest["sha256"]["golden.npz"] = hashlib.sha256(recording).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"golden.npz: (is no recording|holds no outputs/y)"):
        replay_golden(edge.load_step(folder))
