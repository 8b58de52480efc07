import numpy as np
import pytest

from edge import bundle
from edge.backends import available, open_session
from edge.backends.tflite import batches
from edge.errors import BackendError, BundleError
from edge.preprocess import normalise
from tests.conftest import MODELS

BACKENDS = available()


def open_network(name, backend="auto", role="detector"):
    return open_session(bundle.load(MODELS / name).network(role), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_interpreter_gives_the_recorded_outputs(backend):
    session = open_network("square", backend)
    spec = bundle.load(MODELS / "square").manifest.input
    with np.load(MODELS / "square" / "golden.npz") as golden:
        results = session.run({"input": normalise(golden["inputs/input"][0], spec)})
        for name, value in results.items():
            np.testing.assert_allclose(value, golden[f"outputs/{name}"][0], atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_results_of_one_run_outlive_the_next(backend):
    session = open_network("square", backend)
    value = np.zeros(session.inputs["input"].shape, np.float32)
    first = session.run({"input": value})
    before = {name: result.copy() for name, result in first.items()}
    second = session.run({"input": value + 1})
    assert any((second[name] != first[name]).any() for name in first)
    assert all((first[name] == before[name]).all() for name in first)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_an_integer_network_takes_and_gives_integers_and_says_what_they_mean(dtype):
    if BACKENDS == ["onnx"]:
        pytest.skip("needs a TFLite interpreter")
    session = open_network(f"square-{dtype}")
    spec = session.inputs["input"]
    assert spec.dtype == dtype
    assert spec.scale > 0
    results = session.run({"input": np.full(spec.shape, spec.zero_point, dtype)})
    assert {value.dtype.name for value in results.values()} == {dtype}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_or_misshapen_input_is_named(backend):
    session = open_network("lstm-step", backend, "step")
    state = np.zeros((1, 4), np.float32)
    with pytest.raises(BackendError, match="input 'x' is missing"):
        session.run({"h": state, "c": state})
    with pytest.raises(BackendError, match=r"'x' is float32 \[1, 3\], given float32 \[1, 2\]"):
        session.run({"x": np.zeros((1, 2), np.float32), "h": state, "c": state})
    with pytest.raises(BackendError, match=r"given float64 \[1, 3\]"):
        session.run({"x": np.zeros((1, 3)), "h": state, "c": state})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_is_no_model_is_named(backend, tmp_path):
    fmt = "onnx" if backend == "onnx" else "tflite"
    file = tmp_path / f"model.{fmt}"
    file.write_bytes(b"this is no model" * 100)
    with pytest.raises(BundleError, match=rf"model\.{fmt}: .* cannot load it"):
        open_session({fmt: file}, backend)


def test_an_interpreter_that_is_not_installed_is_one_line_naming_what_to_install():
    missing = [name for name in ("onnx", "tflite-runtime", "litert") if name not in BACKENDS]
    if not missing:
        pytest.skip("every interpreter is installed here")
    with pytest.raises(BackendError, match=f"{missing[0]} is not installed; pip install"):
        open_network("square", missing[0])


def test_a_backend_that_cannot_run_the_only_format_is_refused():
    with pytest.raises(BackendError, match=r"square-int8\.tflite: onnx cannot run it"):
        open_network("square-int8", "onnx")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [0, 1, 3, 15, 63, 130])
def test_the_rows_of_a_free_batch_are_each_as_they_are_alone(rows, backend):
    session = open_network("gru-batch", backend, "step")
    random = np.random.default_rng(rows)
    inputs = {
        name: random.normal(size=(rows, *spec.shape[1:])).astype(np.float32)
        for name, spec in session.inputs.items()
    }
    together = session.run(inputs)
    alone = [session.run({n: v[i : i + 1] for n, v in inputs.items()}) for i in range(rows)]
    for name, spec in session.outputs.items():
        assert spec.shape == (-1, *together[name].shape[1:])
        expected = np.concatenate([np.empty((0, *spec.shape[1:])), *(one[name] for one in alone)])
        np.testing.assert_allclose(together[name], expected, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_results_of_a_batch_outlive_the_next(backend):
    session = open_network("gru-batch", backend, "step")
    inputs = {n: np.ones((3, *s.shape[1:]), np.float32) for n, s in session.inputs.items()}
    first = session.run(inputs)
    before = {name: value.copy() for name, value in first.items()}
    session.run({name: -value for name, value in inputs.items()})
    assert all((first[name] == before[name]).all() for name in first)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_of_different_rows_are_refused(backend):
    session = open_network("gru-batch", backend, "step")
    x, h = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(BackendError, match=r"different rows, (x 2, h 3|h 3, x 2); give all"):
        session.run({"x": x, "h": h})
    with pytest.raises(BackendError, match=r"'x' is float32 \[-1, 3\], given float32 \[3, 2\]"):
        session.run({"x": np.ones((3, 2), np.float32), "h": h})
    with pytest.raises(BackendError, match="input 'h' is missing"):
        session.run({"x": x})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (0, []),
        (1, [1]),
        (8, [8]),
        (7, [4, 2, 1]),
        (21, [16, 4, 1]),
        (62, [64]),
        (130, [64, 64, 2]),
    ],
)
def test_rows_are_cut_into_batches_that_compute_next_to_nothing_for_nothing(rows, expected):
    assert batches(rows, [1, 2, 4, 8, 16, 32, 64]) == expected


def test_rows_that_fit_no_large_batch_are_computed_one_by_one():
    assert batches(3, [1]) == [1, 1, 1]
