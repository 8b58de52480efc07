"""ONNX models of whole sequences, built here or by the ONNX project, as steps."""

import numpy as np
import pytest

from convert.errors import ConvertError
from convert.model import SourceOptions
from convert.onnx import open_onnx, open_onnx_file
from edge.backends import available

build = pytest.importorskip("tests.onnx_models", reason="needs onnx")
pytestmark = pytest.mark.skipif("onnx" not in available(), reason="needs onnxruntime")


def node_tests():
    # On import they compute what is right with numpy, whose BLAS now and then reports a floating
    # point error that an earlier caller left behind; the values are compared below.
    with np.errstate(all="ignore"):
        from onnx.backend.test.case.node import _NodeTestCases, gru, lstm, rnn  # noqa: F401

    return {case.name: case for case in _NodeTestCases}


def opened_node_test(tmp_path, case):
    """The source, the recorded frames (steps, batch, inputs) and the recorded outputs by name."""
    recorded = dict(
        zip([v.name for v in case.model.graph.input], case.data_sets[0][0], strict=True)
    )
    outputs = dict(
        zip([v.name for v in case.model.graph.output], case.data_sets[0][1], strict=True)
    )
    path = tmp_path / f"{case.name}.onnx"
    build.onnx.save(case.model, path)
    entering = ("X", "initial_h", "initial_c")
    baked = {name: value for name, value in recorded.items() if name not in entering}
    return open_onnx(path, SourceOptions(constants=baked)), recorded["X"], outputs


@pytest.mark.parametrize(
    "name",
    [
        *(f"test_{op}_{kind}" for op in ("lstm", "gru") for kind in ("defaults", "batchwise")),
        *(f"test_{op}_with_initial_bias" for op in ("lstm", "gru", "simple_rnn")),
        *("test_lstm_with_peepholes", "test_gru_seq_length", "test_rnn_seq_length"),
        *("test_simple_rnn_defaults", "test_simple_rnn_batchwise"),
    ],
)
def test_stepping_gives_what_the_onnx_project_recorded(tmp_path, name):
    source, x, recorded = opened_node_test(tmp_path, node_tests()[name])
    batchwise = name.endswith("batchwise")
    frames = np.swapaxes(x, 0, 1) if batchwise else x
    found = build.stream(source, {"X": frames})
    last = found[source.states[0].output][-1]  # (1, batch, units)
    wanted = recorded["Y_h"]
    np.testing.assert_allclose(last, np.swapaxes(wanted, 0, 1) if batchwise else wanted, atol=1e-5)
    if "Y" in recorded:
        over_time = np.moveaxis(recorded["Y"], 1, 0) if batchwise else recorded["Y"]
        np.testing.assert_allclose(found["Y"], over_time, atol=1e-5)


@pytest.mark.parametrize("op", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_what_reads_a_sequence_from_its_end_is_refused(tmp_path, op, direction):
    with pytest.raises(ConvertError, match=f"direction={direction}"):
        opened_node_test(tmp_path, node_tests()[f"test_{op}_{direction}"])


def test_every_node_test_of_the_onnx_project_is_stepped_or_refused_here():
    assert len(node_tests()) == 18


@pytest.mark.parametrize("op", build.GATES)
@pytest.mark.parametrize("layout", [0, 1])
def test_an_operator_steps_as_it_runs_over_the_sequence(tmp_path, op, layout):
    if layout:
        node = build.helper.make_node(
            op, ["X", "W", "R", "B"], ["Y"], hidden_size=build.UNITS, layout=1
        )
        inputs, outputs = (
            [build.tensor("X", [2, "t", 6])],
            [build.tensor("Y", [2, "t", 1, build.UNITS])],
        )
        path = build.save(tmp_path, [node], inputs, outputs, build.weights(op))
    else:
        path = build.recurrent(tmp_path, op)
    build.assert_steps_equal_the_sequence(open_onnx(path, SourceOptions()))


@pytest.mark.parametrize("steps", ["t", 9, 6, 1])
@pytest.mark.parametrize("ends", ["all", "last"])
def test_a_video_model_steps_whether_time_is_free_or_baked_in(tmp_path, steps, ends):
    source = open_onnx_file(build.video_model(tmp_path, steps, ends), SourceOptions())
    assert {n: s.shape for n, s in source.inputs.items()} == {"video": (1, 3, 8, 8)}
    assert source.outputs["y"].shape == (1, 2)
    assert [s.name for s in source.states] == ["lstm_h", "lstm_c"]
    build.assert_steps_equal_the_sequence(source, 12)


@pytest.mark.parametrize("opset", [11, 21])
def test_old_and_new_operator_sets_are_read(tmp_path, opset):
    model = build.onnx.load(build.recurrent(tmp_path))
    model.opset_import[0].version = opset
    build.onnx.save(model, tmp_path / "other.onnx")
    build.assert_steps_equal_the_sequence(open_onnx(tmp_path / "other.onnx", SourceOptions()))


def test_clip_and_other_activations_pass_through(tmp_path):
    path = build.recurrent(tmp_path, "GRU", activations=["HardSigmoid", "Relu"], clip=0.5)
    build.assert_steps_equal_the_sequence(open_onnx(path, SourceOptions()))


def test_what_explain_says_names_units_gates_and_states(tmp_path):
    lstm = open_onnx(build.recurrent(tmp_path), SourceOptions()).layers[0]
    assert lstm.detail == "4 units, gates i, o, f, c, states cell_h, cell_c"
    gru = open_onnx(
        build.recurrent(tmp_path, "GRU", linear_before_reset=1), SourceOptions()
    ).layers[0]
    assert gru.detail == "4 units, gates z, r, h, linear_before_reset=1, states cell_h"


def test_an_input_that_only_begins_a_state_is_the_state(tmp_path):
    begin = build.tensor("h0", [1, "batch", build.UNITS])
    source = open_onnx(build.recurrent(tmp_path, "GRU", ("", "h0"), [begin]), SourceOptions())
    assert list(source.inputs) == ["X"]
    build.assert_steps_equal_the_sequence(source)


def test_a_constant_initial_state_is_where_the_step_begins(tmp_path):
    begin = build.stored("h0", np.full((1, 1, build.UNITS), 0.25, np.float32))
    source = open_onnx(build.recurrent(tmp_path, "GRU", ("", "h0"), [begin]), SourceOptions())
    assert source.states[0].initial == 0.25
    build.assert_steps_equal_the_sequence(source)


def test_final_states_that_stand_beside_other_outputs_are_not_given_twice(tmp_path):
    node = build.helper.make_node("GRU", ["X", "W", "R"], ["Y", "hn"], hidden_size=build.UNITS)
    outputs = [build.tensor("Y", None), build.tensor("hn", None)]
    path = build.save(
        tmp_path, [node], [build.tensor("X", ["t", 1, 6])], outputs, build.weights("GRU")
    )
    assert list(open_onnx(path, SourceOptions()).outputs) == ["Y"]


@pytest.mark.parametrize("steps", ["t", 5, 1])
def test_a_model_that_exposes_its_state_is_a_step_only_where_it_sees_one_frame(tmp_path, steps):
    node = build.helper.make_node(
        "GRU", ["X", "W", "R", "B", "", "h0"], ["Y", "hn"], hidden_size=build.UNITS, name="cell"
    )
    inputs = [build.tensor("X", [steps, 1, build.FEATURES]), build.tensor("h0", [1, 1, 4])]
    outputs = [build.tensor("Y", [steps, 1, 1, 4]), build.tensor("hn", [1, 1, 4])]
    source = open_onnx_file(
        build.save(tmp_path, [node], inputs, outputs, build.weights("GRU")), SourceOptions()
    )
    wanted = ("h", "h0", "hn") if steps == 1 else ("cell_h", "cell_h", "cell_h_next")
    assert [(s.name, s.input, s.output) for s in source.states] == [wanted]
    build.assert_steps_equal_the_sequence(source)


def test_two_sequences_enter_side_by_side_and_layers_of_like_names_keep_states_apart(tmp_path):
    node = build.helper.make_node
    nodes = [
        node("Concat", ["a", "b"], ["X"], axis=2),
        node("GRU", ["X", "W", "R"], ["first"], hidden_size=build.UNITS, name="/gru"),
        node("Squeeze", ["first", "one"], ["second_in"]),
        node("GRU", ["second_in", "W2", "R"], ["Y"], hidden_size=build.UNITS, name="gru"),
    ]
    second = build.weights("GRU", build.UNITS)[0]
    second.name = "W2"
    inputs = [build.tensor("a", ["t", 1, 2]), build.tensor("b", ["t", 1, 4])]
    constants = [*build.weights("GRU"), second, build.stored("one", np.array([1]))]
    path = build.save(tmp_path, nodes, inputs, [build.tensor("Y", None)], constants)
    source = open_onnx(path, SourceOptions())
    assert {n: s.shape for n, s in source.inputs.items()} == {"a": (1, 2), "b": (1, 4)}
    assert [s.name for s in source.states] == ["gru_h", "gru_2_h"]
    build.assert_steps_equal_the_sequence(source)


def test_pictures_without_a_batch_axis_keep_time_in_its_place(tmp_path):
    node = build.helper.make_node
    nodes = [
        node("Conv", ["video", "kernel"], ["maps"], strides=[2, 2]),
        node("GlobalAveragePool", ["maps"], ["pooled"]),
        node("Reshape", ["pooled", "rows"], ["X"]),
        node("LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=build.UNITS),
    ]
    constants = [
        *build.weights("LSTM"),
        build.stored("kernel", np.ones((build.FEATURES, 3, 3, 3), np.float32)),
        build.stored("rows", np.array([-1, 1, build.FEATURES])),
    ]
    inputs = [build.tensor("video", ["t", 3, 8, 8])]
    path = build.save(tmp_path, nodes, inputs, [build.tensor("Y", None)], constants)
    source = open_onnx_file(path, SourceOptions())
    assert source.inputs["video"].shape == (1, 3, 8, 8)
    assert source.outputs["Y"].shape == (1, 1, 1, build.UNITS)
    build.assert_steps_equal_the_sequence(source)
