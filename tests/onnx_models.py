"""ONNX models for tests, and how a step is compared with its sequence."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convert.interpreters import open_content

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(0)
FEATURES, UNITS = 6, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def tensor(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def stored(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def weights(op, features=FEATURES):
    rows = GATES[op] * UNITS
    shapes = {"W": (1, rows, features), "R": (1, rows, UNITS), "B": (1, 2 * rows)}
    return [stored(n, RANDOM.normal(0, 0.5, s).astype(np.float32)) for n, s in shapes.items()]


def save(tmp_path, nodes, inputs, outputs, initializers, opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return path


def recurrent(tmp_path, op="LSTM", entries=("", "", ""), extra=(), **attributes):
    """One operator over (steps, 1, 6); `entries` are sequence_lens, initial_h, initial_c."""
    names = ["X", "W", "R", "B", *entries][: 7 if op == "LSTM" else 6]
    node = helper.make_node(op, names, ["Y"], hidden_size=UNITS, name="cell", **attributes)
    inputs = [tensor("X", ["steps", "batch", FEATURES])]
    inputs += [value for value in extra if isinstance(value, onnx.ValueInfoProto)]
    constants = [value for value in extra if isinstance(value, TensorProto)]
    outputs = [tensor("Y", ["steps", 1, "batch", UNITS])]
    return save(tmp_path, [node], inputs, outputs, [*weights(op), *constants])


def video_model(tmp_path, steps, ends="all"):
    """(1, steps, 3, 8, 8) -> convolution of every frame -> LSTM -> two numbers."""
    fixed = isinstance(steps, int)
    shapes = {
        "frames": [steps if fixed else -1, 3, 8, 8],
        "rows": [1, steps if fixed else -1, FEATURES],
    }
    nodes = [
        helper.make_node("Reshape", ["video", "frames"], ["pictures"]),
        helper.make_node("Conv", ["pictures", "kernel"], ["maps"], strides=[2, 2], name="conv"),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "rows"], ["features"]),
        helper.make_node("Transpose", ["features"], ["X"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=UNITS, name="/lstm"),
        helper.make_node("Squeeze", ["Y", "directions"], ["rows_out"]),
        helper.make_node("Transpose", ["rows_out"], ["batch_first"], perm=[1, 0, 2]),
        helper.make_node("Gather", ["batch_first", "last"], ["final"], axis=1),
        helper.make_node("MatMul", ["batch_first" if ends == "all" else "final", "P"], ["y"]),
    ]
    constants = [
        *weights("LSTM"),
        stored("kernel", RANDOM.normal(size=(FEATURES, 3, 3, 3)).astype(np.float32)),
        stored("P", RANDOM.normal(size=(UNITS, 2)).astype(np.float32)),
        stored("directions", np.array([1])),
        stored("last", np.array(steps - 1 if fixed else -1)),
        *(stored(name, np.array(shape)) for name, shape in shapes.items()),
    ]
    nodes = nodes if ends == "last" else [node for node in nodes if node.op_type != "Gather"]
    shape = [1, steps, 2] if ends == "all" else [1, 2]
    return save(
        tmp_path, nodes, [tensor("video", [1, steps, 3, 8, 8])], [tensor("y", shape)], constants
    )


def noise(source, steps):
    random = np.random.default_rng(1)
    return {
        name: random.normal(size=(steps, *spec.shape)).astype(np.float32)
        for name, spec in source.inputs.items()
    }


def stream(source, sequence):
    """Every output and the states after every step, from the plain interpreter."""
    session = open_content(source.network("step", "onnx"), "onnx", "step")
    state = {s.input: np.full(s.shape, s.initial, s.dtype) for s in source.states}
    answers = []
    for step in range(len(next(iter(sequence.values())))):
        frame = {name: values[step] for name, values in sequence.items()}
        results = {n: v.copy() for n, v in session.run(frame | state).items()}
        state = {s.input: results[s.output] for s in source.states}
        answers.append(results)
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def assert_steps_equal_the_sequence(source, steps=20):
    sequence = noise(source, steps)
    found, wanted = stream(source, sequence), source.forward(sequence)
    for name in source.outputs:
        assert wanted[name].shape == (steps, *source.outputs[name].shape)
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


def over_time(tmp_path, *nodes, constants=()):
    """Something between the input (1, t, 6) and a GRU that reads `Z`."""
    reader = helper.make_node("GRU", ["Z", "W", "R", "B"], ["Y"], hidden_size=UNITS, name="gru")
    inputs, outputs = [tensor("X", ["t", 1, FEATURES])], [tensor("Y", None)]
    return save(tmp_path, [*nodes, reader], inputs, outputs, [*weights("GRU"), *constants])
