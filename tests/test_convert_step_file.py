"""Files that are steps already, real ones where they are at hand."""

import shutil
import sys

import numpy as np
import pytest

from convert.errors import ConvertError, MissingExtra
from convert.interpreters import open_content
from convert.model import SourceOptions
from convert.onnx import open_onnx_file
from convert.state_pairs import pair_states
from convert.step_file import open_step_file
from convert.tflite_file import check_builtin
from edge import bundle
from edge.backends import available
from edge.manifest import Manifest, StateSpec, TensorInput, TensorOutput
from edge.step import StepModel
from edge.types import TensorSpec
from tests.conftest import MODELS

TFLITE = pytest.mark.skipif("litert" not in available(), reason="needs LiteRT")


@pytest.fixture
def onnx():
    if "onnx" not in available():
        pytest.skip("needs onnxruntime")
    return pytest.importorskip("onnx", reason="needs onnx")


def step_model(source, folder):
    """The source in a bundle, opened as the device opens it."""
    fmt = source.formats[0]
    manifest = Manifest(
        name="wrapped",
        version="1",
        licence="MIT",
        origin="a test",
        kind="sequence",
        inputs={n: TensorInput(shape=s.shape, dtype=s.dtype) for n, s in source.inputs.items()},
        networks={"step": {fmt: f"step.{fmt}"}},
        state=StateSpec(scope="per_stream", tensors=source.states),
        outputs={n: TensorOutput(shape=s.shape, dtype=s.dtype) for n, s in source.outputs.items()},
    )
    files = {f"step.{fmt}": source.network("step", fmt)}
    return StepModel(bundle.save(manifest, files, folder))


def stream(model, sequence):
    state, answers = model.initial_state(), []
    for step in range(len(next(iter(sequence.values())))):
        outputs, state = model.step({n: values[step] for n, values in sequence.items()}, state)
        answers.append(outputs)
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}, state


@pytest.mark.usefixtures("onnx")
def test_silero_vad_streams_from_a_bundle_as_it_does_in_a_plain_loop(shared, tmp_path):
    path = shared / "models" / "silero_vad" / "silero_vad.onnx"
    options = SourceOptions(constants={"sr": np.array(16000)}, shapes={"input": (512,)})
    source = open_onnx_file(path, options)
    assert [(s.input, s.output, s.shape) for s in source.states] == [
        ("state", "stateN", (2, 1, 128))
    ]
    sound = np.random.default_rng(0).normal(0, 0.1, (30, 1, 512)).astype(np.float32)
    found, state = stream(step_model(source, tmp_path / "vad"), {"input": sound})

    plain, carried = open_content(path.read_bytes(), "onnx", "silero"), np.zeros((2, 1, 128), "f4")
    for step, block in enumerate(sound):
        given = {"input": block, "state": carried, "sr": np.array(16000)}
        results = plain.run(given)
        carried = results["stateN"].copy()
        np.testing.assert_array_equal(found["output"][step], results["output"])
    np.testing.assert_array_equal(state["state"], carried)
    np.testing.assert_array_equal(source.forward({"input": sound})["output"], found["output"])


@pytest.mark.usefixtures("onnx")
def test_silero_vad_asks_for_what_its_file_leaves_open(shared):
    path = shared / "models" / "silero_vad" / "silero_vad.onnx"
    with pytest.raises(ConvertError, match=r"'input' has free dimensions, .* --shape input=N"):
        open_onnx_file(path, SourceOptions(constants={"sr": np.array(16000)}))
    with pytest.raises(ConvertError, match=r"'sr' is a single int64, no frame; .* sr=VALUE"):
        open_onnx_file(path, SourceOptions(shapes={"input": (512,)}))


@TFLITE
def test_a_tflite_file_with_quantised_states_is_passed_on_and_streamed(shared, tmp_path):
    path = shared / "models" / "traffic_convlstm" / "traffic_model.tflite"
    source = open_step_file(path, SourceOptions())
    assert [(s.name, s.input, s.output, s.dtype) for s in source.states] == [
        ("lstm_c", "raw_inputs/init_lstm_c", "raw_outputs/lstm_c", "uint8"),
        ("lstm_h", "raw_inputs/init_lstm_h", "raw_outputs/lstm_h", "uint8"),
    ]
    assert source.network("step", "tflite") == path.read_bytes()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 1, 256, 256, 3), np.uint8)
    sequence = {"normalized_input_image_tensor": pictures}
    found, _ = stream(step_model(source, tmp_path / "traffic"), sequence)
    wanted = source.forward(sequence)
    assert len(found) == len(wanted) == 4
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("fmt", ["onnx", pytest.param("tflite", marks=TFLITE)])
def test_states_called_h_and_h_next_are_found_in_either_format(request, tmp_path, fmt):
    if fmt == "onnx":
        request.getfixturevalue("onnx")
    opened = open_onnx_file if fmt == "onnx" else open_step_file
    source = opened(MODELS / "lstm-step" / f"lstm-step.{fmt}", SourceOptions())
    assert {s.name: (s.input, s.output) for s in source.states} == {
        "h": ("h", "h_next"),
        "c": ("c", "c_next"),
    }
    assert source.roles == ("step",)
    assert source.formats == (fmt,)
    assert source.layers[0].detail.startswith("states ")
    sequence = {"x": np.random.default_rng(0).normal(size=(9, 1, 3)).astype(np.float32)}
    found, _ = stream(step_model(source, tmp_path / "lstm"), sequence)
    np.testing.assert_array_equal(source.forward(sequence)["y"], found["y"])


def specs(**shapes):
    return {name: TensorSpec(name, shape, "float32") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("entry", "exit_", "name"),
    [
        ("h", "h_next", "h"),
        ("h", "hn", "h"),
        ("h0", "hn", "h"),
        ("state", "stateN", "state"),
        ("in_state", "out_state", "state"),
        ("state_in", "state_out", "state"),
        ("prev_hidden", "new_hidden", "hidden"),
        ("past.1.key", "present.1.key", "1_key"),
        ("raw_inputs/init_lstm_c", "raw_outputs/lstm_c", "lstm_c"),
        ("serving_default_h:0", "h_0", "h_0"),
        ("r1i", "r1o", "r1"),
        ("cell1", "cell1_next", "cell1"),
    ],
)
def test_names_tell_a_state_from_its_next(entry, exit_, name):
    inputs, outputs = specs(x=(1, 3)) | specs(**{entry: (1, 4)}), specs(y=(1, 4), **{exit_: (1, 4)})
    (state,) = pair_states("model", inputs, outputs, {})
    assert (state.input, state.output) == (entry, exit_)
    assert state.name == name


@pytest.mark.parametrize(
    ("inputs", "outputs", "what"),
    [
        (specs(x=(1, 3)), specs(y=(1, 3)), "exposes no state"),
        (specs(x=(1, 3), h=(1, 4)), specs(y=(1, 3), h_next=(1, 5)), "exposes no state"),
        (specs(x=(1, 3), h=(1, 4)), specs(y=(1, 3), hn=(1, 4), h_next=(1, 4)), None),
        (specs(x=(1, 3), h=(1, 4)), specs(next_h=(1, 4), h_next=(1, 4)), "exposes no state"),
        (specs(image_in=(1, 3), h=(1, 4)), specs(image_out=(1, 3), hn=(1, 4)), "every input would"),
        (specs(input_1=(1, 3)), specs(output_1=(1, 3)), "exposes no state"),
    ],
)
def test_pairs_that_names_do_not_tell_for_sure_are_asked_for(inputs, outputs, what):
    if what is None:
        assert pair_states("model", inputs, outputs, {})[0].output == "h_next"
        return
    listing = rf"model: {what} .*\(inputs {', '.join(inputs)}; outputs {', '.join(outputs)}\); "
    with pytest.raises(ConvertError, match=rf"{listing}say which .* --state IN=OUT"):
        pair_states("model", inputs, outputs, {})


def test_pairs_that_are_given_must_fit():
    inputs, outputs = specs(x=(1, 3), a=(1, 4)), specs(y=(1, 5), b=(1, 4))
    (state,) = pair_states("model", inputs, outputs, {"a": "b"})
    assert (state.name, state.output) == ("a", "b")
    with pytest.raises(ConvertError, match=r"a=y cannot be fed back, it enters as \[1, 4\] and"):
        pair_states("model", inputs, outputs, {"a": "y"})
    with pytest.raises(ConvertError, match="has no tensor 'q'"):
        pair_states("model", inputs, outputs, {"a": "q"})
    outputs["b"] = TensorSpec("b", (1, 4), "int8")
    with pytest.raises(ConvertError, match="enters as float32 and leaves as int8"):
        pair_states("model", inputs, outputs, {"a": "b"})
    inputs["a"], outputs["b"] = (TensorSpec(n, (1, 4), "int8", s) for n, s in (("a", 1), ("b", 2)))
    with pytest.raises(ConvertError, match="its scale is 1 where it enters and 2 where it leaves"):
        pair_states("model", inputs, outputs, {"a": "b"})
    with pytest.raises(ConvertError, match="one output follows two states"):
        pair_states("m", specs(x=(1,), a=(2,), b=(2,)), specs(y=(2,)), {"a": "y", "b": "y"})


def test_a_step_that_gives_nothing_but_states_is_refused(onnx, tmp_path):
    model = onnx.load(MODELS / "lstm-step" / "lstm-step.onnx")
    kept = [value for value in model.graph.output if value.name != "y"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, tmp_path / "states.onnx")
    with pytest.raises(ConvertError, match="gives nothing but its states"):
        open_onnx_file(tmp_path / "states.onnx", SourceOptions())


@pytest.mark.usefixtures("onnx")
def test_only_the_format_of_the_file_can_be_asked_for():
    source = open_onnx_file(MODELS / "lstm-step" / "lstm-step.onnx", SourceOptions())
    with pytest.raises(ConvertError, match="becomes no step as tflite"):
        source.network("step", "tflite")


def test_a_tflite_input_cannot_become_a_constant(tmp_path):
    path = shutil.copy(MODELS / "lstm-step" / "lstm-step.tflite", tmp_path / "step.TFLITE")
    with pytest.raises(ConvertError, match="input 'x' cannot become a constant"):
        open_step_file(path, SourceOptions(constants={"x": np.zeros(1)}))


def tflite_with(custom=b"", builtin=None):
    """A file that holds nothing but the name of an operator."""
    flatbuffers = pytest.importorskip("flatbuffers", reason="needs LiteRT")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs LiteRT")
    code = schema.OperatorCodeT()
    code.customCode = custom
    code.builtinCode = getattr(schema.BuiltinOperator, builtin or "CUSTOM")
    model = schema.ModelT()
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_tflite_files_that_no_device_can_run_are_refused_by_operator():
    with pytest.raises(ConvertError, match=r"m: has no weights in it \(READ_VARIABLE\)"):
        check_builtin(tflite_with(builtin="READ_VARIABLE"), "m")
    with pytest.raises(ConvertError, match="m: needs the operator FlexErf"):
        check_builtin(tflite_with(b"FlexErf"), "m")
    with pytest.raises(ConvertError, match="m: needs the operator MFCC"):
        check_builtin(tflite_with(b"MFCC"), "m")
    check_builtin(tflite_with(b"TFLite_Detection_PostProcess"), "m")
    check_builtin(tflite_with(builtin="FULLY_CONNECTED"), "m")


def test_a_tflite_file_cannot_be_judged_without_litert(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtra, match="m: ai-edge-litert is not installed; pip install"):
        check_builtin(b"", "m")


@TFLITE
@pytest.mark.parametrize("size", [0, 7, 100])
def test_a_damaged_tflite_file_is_one_line(tmp_path, size):
    path = tmp_path / "step.tflite"
    path.write_bytes((MODELS / "lstm-step" / "lstm-step.tflite").read_bytes()[:size])
    with pytest.raises(ConvertError, match=r"step\.tflite: is no TFLite file or a damaged one"):
        open_step_file(path, SourceOptions())
    with pytest.raises(ConvertError, match="cannot be read, No such file"):
        open_step_file(tmp_path / "none.tflite", SourceOptions())
