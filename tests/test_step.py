import json
import shutil

import numpy as np
import pytest

import edge
from edge.backends import available
from edge.errors import BackendError, BundleError
from edge.step import replay_golden
from tests.conftest import MODELS

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


@pytest.mark.usefixtures("needs_onnx")
def test_the_rows_of_a_batch_are_independent_tracks():
    model = edge.load_step(MODELS / "gru-batch", "onnx")
    with np.load(MODELS / "gru-batch" / "three-rows.npz") as recording:
        inputs = {n: recording[f"inputs/{n}"] for n in model.inputs}
        expected = {n: recording[f"outputs/{n}"] for n in model.manifest.outputs}
    state = model.initial_state(rows=3)
    for index in range(len(next(iter(inputs.values())))):
        outputs, state = model.step({n: v[index] for n, v in inputs.items()}, state)
        for name, value in outputs.items():
            np.testing.assert_allclose(value, expected[name][index], atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_whose_state_never_changes_is_refused_by_name(backend):
    with pytest.raises(BundleError, match=r"state '.*' never changes over \d+ steps"):
        replay_golden(edge.load_step(MODELS / "dead-state", backend))


def test_a_state_that_is_missing_is_named():
    model = edge.load_step(MODELS / "lstm-step")
    with pytest.raises(BackendError, match="state 'c' is missing"):
        model.step(inputs_of(model, 1)[0], {"h": np.zeros((1, 4), np.float32)})


def changed(tmp_path, change):
    folder = shutil.copytree(MODELS / "lstm-step", tmp_path / "model")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return folder


def test_a_shape_that_the_interpreter_contradicts_is_refused(tmp_path):
    folder = changed(tmp_path, lambda m: m["inputs"]["x"].update(shape=[1, 5]))
    with pytest.raises(BundleError, match=r"input 'x' is float32 \[1, 3\], .* says .* \[1, 5\]"):
        edge.load_step(folder)


def test_a_name_that_no_network_has_is_refused(tmp_path):
    folder = changed(tmp_path, lambda m: m["state"]["tensors"][0].update(output="hidden"))
    with pytest.raises(BundleError, match="the network has no output 'hidden'"):
        edge.load_step(folder)


def test_an_input_that_the_manifest_forgets_is_refused(tmp_path):
    folder = changed(tmp_path, lambda m: m["state"]["tensors"].pop())
    with pytest.raises(BundleError, match="wants an input 'c' that the manifest does not name"):
        edge.load_step(folder)


def test_a_recording_that_another_model_made_is_refused(tmp_path):
    folder = changed(tmp_path, lambda m: m["golden"].update(tolerance=0.0))
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["state"]["tensors"][0]["initial"] = 0.5
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="differs from the recording by"):
        replay_golden(edge.load_step(folder))
