"""What an ONNX model of sequences cannot have, one line each."""

import sys

import numpy as np
import pytest

from convert.cli import main
from convert.errors import ConvertError, MissingExtra
from convert.model import SourceOptions
from convert.onnx import open_onnx, open_onnx_file
from edge.backends import available

build = pytest.importorskip("tests.onnx_models", reason="needs onnx")
pytestmark = pytest.mark.skipif("onnx" not in available(), reason="needs onnxruntime")


def test_an_initial_state_that_varies_by_element_is_refused(tmp_path):
    begin = build.stored("h0", np.arange(build.UNITS, dtype=np.float32).reshape(1, 1, build.UNITS))
    with pytest.raises(ConvertError, match="GRU 'cell': its initial state 'h0' differs"):
        open_onnx(build.recurrent(tmp_path, "GRU", ("", "h0"), [begin]), SourceOptions())


def test_an_initial_state_computed_from_the_sequence_is_refused(tmp_path):
    nodes = [
        build.helper.make_node(
            "GRU", ["X", "W", "R"], ["", "mind"], hidden_size=build.UNITS, name="reader"
        ),
        build.helper.make_node(
            "GRU", ["X", "W", "R", "", "", "mind"], ["Y"], hidden_size=build.UNITS, name="writer"
        ),
    ]
    path = build.save(
        tmp_path,
        nodes,
        [build.tensor("X", ["t", 1, 6])],
        [build.tensor("Y", None)],
        build.weights("GRU"),
    )
    with pytest.raises(ConvertError, match="'writer': its initial state is computed from"):
        open_onnx(path, SourceOptions())


def test_a_length_that_is_all_of_the_sequence_leaves_and_any_other_is_refused(tmp_path):
    node = build.helper.make_node(
        "GRU", ["X", "W", "R", "B", "lens"], ["Y"], hidden_size=build.UNITS
    )
    inputs = [
        build.tensor("X", [5, 1, build.FEATURES]),
        build.tensor("lens", [1], build.onnx.TensorProto.INT32),
    ]
    path = build.save(tmp_path, [node], inputs, [build.tensor("Y", None)], build.weights("GRU"))
    source = open_onnx(path, SourceOptions(constants={"lens": np.array([5])}))
    build.assert_steps_equal_the_sequence(source)
    for constants in ({"lens": np.array([3])}, {}):
        with pytest.raises(ConvertError, match="sequence_lens makes the length vary"):
            open_onnx(path, SourceOptions(constants=constants))


def test_a_convolution_over_time_is_refused_by_name(tmp_path):
    turn = [1, 2, 0]
    path = build.over_time(
        tmp_path,
        build.helper.make_node("Transpose", ["X"], ["a"], perm=turn),
        build.helper.make_node("Conv", ["a", "kernel"], ["b"], pads=[1, 1], name="smooth"),
        build.helper.make_node("Transpose", ["b"], ["Z"], perm=[2, 0, 1]),
        constants=[build.stored("kernel", build.RANDOM.normal(size=(6, 6, 3)).astype(np.float32))],
    )
    with pytest.raises(ConvertError, match="Conv 'smooth': mixes or counts the steps"):
        open_onnx(path, SourceOptions())


def test_attention_over_the_sequence_is_refused_by_name(tmp_path):
    path = build.over_time(
        tmp_path, build.helper.make_node("Softmax", ["X"], ["Z"], axis=0, name="attention")
    )
    with pytest.raises(ConvertError, match="Softmax 'attention': mixes or counts the steps"):
        open_onnx(path, SourceOptions())


def test_a_stride_over_time_is_refused(tmp_path):
    ends = [
        build.stored("start", [0]),
        build.stored("end", [1000]),
        build.stored("axis", [0]),
        build.stored("step", [2]),
    ]
    every_second = build.helper.make_node("Slice", ["X", "start", "end", "axis", "step"], ["Z"])
    with pytest.raises(ConvertError, match="GRU 'gru': gets 4 steps where 7 enter"):
        open_onnx(build.over_time(tmp_path, every_second, constants=ends), SourceOptions())


def test_an_input_that_time_does_not_enter_by_is_refused(tmp_path):
    shape = build.stored("shape", np.array([3, 1, build.FEATURES]))
    path = build.over_time(
        tmp_path,
        build.helper.make_node("ReduceMean", ["X"], ["a"], axes=[0]),
        build.helper.make_node("Expand", ["a", "shape"], ["Z"]),
        constants=[shape],
    )
    with pytest.raises(ConvertError, match="time does not reach it from the inputs X"):
        open_onnx(path, SourceOptions())


@pytest.mark.parametrize("op", ["Scan", "Loop", "AttnLSTM"])
def test_an_operator_without_a_rule_is_answered_with_those_that_have_one(tmp_path, op):
    node = build.helper.make_node(
        op, ["X"], ["Y"], name="odd", domain="test" if op[0] == "A" else ""
    )
    path = build.save(
        tmp_path, [node], [build.tensor("X", ["t", 1, 6])], [build.tensor("Y", None)], []
    )
    with pytest.raises(ConvertError, match=rf"{op} 'odd': .* for GRU, LSTM, RNN; .*/rules.py"):
        open_onnx_file(path, SourceOptions())


def test_a_second_rule_for_an_operator_is_refused():
    from convert.onnx.rules import Carried, Rule, register

    with pytest.raises(ValueError, match="GRU: has a rule already"):
        register(Rule("GRU", (Carried("h", 5, 1),), gates=""))


def test_a_decided_branch_is_taken_and_an_open_one_with_a_state_refused(tmp_path):
    cell = build.helper.make_node(
        "GRU", ["X", "W", "R", "B"], ["inner"], hidden_size=build.UNITS, name="gru"
    )
    zero = build.helper.make_node("Identity", ["X"], ["inner"])
    branches = [
        build.helper.make_graph([n], "b", [], [build.tensor("inner", None)]) for n in (cell, zero)
    ]
    node = build.helper.make_node(
        "If", ["live"], ["Y"], then_branch=branches[0], else_branch=branches[1]
    )
    inputs = [
        build.tensor("X", ["t", 1, build.FEATURES]),
        build.tensor("live", [], build.onnx.TensorProto.BOOL),
    ]
    path = build.save(tmp_path, [node], inputs, [build.tensor("Y", None)], build.weights("GRU"))
    source = open_onnx_file(path, SourceOptions(constants={"live": np.array(True)}))
    build.assert_steps_equal_the_sequence(source)
    with pytest.raises(ConvertError, match="GRU 'gru': stands inside a branch"):
        open_onnx_file(path, SourceOptions())


def test_weights_that_hold_nan_are_refused_by_name(tmp_path):
    begin = build.stored("h0", np.full((1, 1, build.UNITS), np.nan, np.float32))
    with pytest.raises(ConvertError, match="weight 'h0' holds NaN"):
        open_onnx(build.recurrent(tmp_path, "GRU", ("", "h0"), [begin]), SourceOptions())


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07garbage\xff\xff"])
def test_a_file_that_is_no_model_is_one_line(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ConvertError, match=r"model\.onnx: .*; export it again") as refusal:
        open_onnx_file(path, SourceOptions())
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_cut_short_or_not_there_is_one_line(tmp_path):
    path = build.recurrent(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConvertError, match="damaged one"):
        open_onnx_file(path, SourceOptions())
    with pytest.raises(ConvertError, match="cannot be read, No such file"):
        open_onnx_file(tmp_path / "none.onnx", SourceOptions())


def test_frames_of_no_fixed_shape_are_asked_for(tmp_path):
    model = build.onnx.load(build.video_model(tmp_path, "t"))
    for place in (3, 4):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = "side"
    path = tmp_path / "free.onnx"
    build.onnx.save(model, path)
    with pytest.raises(ConvertError, match="--shape video=3,N,N"):
        open_onnx(path, SourceOptions())
    source = open_onnx(path, SourceOptions(shapes={"video": (3, 8, 8)}))
    assert source.inputs["video"].shape == (1, 3, 8, 8)
    with pytest.raises(ConvertError, match=r"a frame of \[1, 8, 8\] does not fit"):
        open_onnx(path, SourceOptions(shapes={"video": (1, 8, 8)}))


def test_constants_must_be_inputs_and_of_their_shape(tmp_path):
    path = build.recurrent(tmp_path)
    with pytest.raises(ConvertError, match=r"has no input 'sr' that could .*; it has X"):
        open_onnx(path, SourceOptions(constants={"sr": np.array(1)}))
    with pytest.raises(ConvertError, match=r"constant 'X' has shape \[1\], the input is \[steps"):
        open_onnx(path, SourceOptions(constants={"X": np.zeros(1)}))


def test_a_model_without_memory_is_refused(tmp_path):
    node = build.helper.make_node("Relu", ["x"], ["y"])
    path = build.save(
        tmp_path, [node], [build.tensor("x", [1, 3])], [build.tensor("y", [1, 3])], []
    )
    with pytest.raises(ConvertError, match="no recurrent layer and exposes no state; give --state"):
        open_onnx_file(path, SourceOptions())


def test_a_missing_onnx_package_names_the_extras(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'edgetrack\[convert-torch\]'"):
        open_onnx_file(tmp_path / "model.onnx", SourceOptions())


def test_only_an_onnx_step_can_be_asked_for(tmp_path):
    source = open_onnx(build.recurrent(tmp_path), SourceOptions())
    with pytest.raises(ConvertError, match="becomes no step as tflite"):
        source.network("step", "tflite")


def test_numbers_that_onnx_cannot_hold_are_refused(tmp_path, capsys):
    path = build.recurrent(tmp_path, "GRU")
    words = [str(path), "--out", str(tmp_path / "out"), "--quantise", "int16x8"]
    assert main(words) == 2
    assert "--quantise int16x8: makes tflite only" in capsys.readouterr().err
