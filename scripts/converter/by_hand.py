"""The cells as an engineer would write them for one interpreter, as cheap as they get.

The weights are given, so that every network can be held against another. A cell stands between
an encoder and a head: x (1, inputs) and the states h and, of an LSTM, c go in; y (1, units), h_next
and c_next come out. Of what shape the states are is free.
"""

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

from convert.quiet import quiet
from edge.types import Array

_TEXT = '<ir_version: 8, opset_import: ["" : 17]> step ({inputs}) => ({outputs}) {{ {body} }}'
_ONNX_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "RNN": (0,)}
"""Gates of ONNX by their place in ours: its LSTM wants i, o, f, c."""
_OPERATOR = {
    "LSTM": ", h_next, c_next = LSTM <hidden_size = {units}> ({x}, w, r, b, , h, c)",
    "GRU": ", h_next = GRU <hidden_size = {units}, linear_before_reset = 1> ({x}, w, r, b, , h)",
    "RNN": ", h_next = RNN <hidden_size = {units}> ({x}, w, r, b, , h)",
}
_BETWEEN = "x_alone = Unsqueeze(x, front) {operator} y = Squeeze(h_next, front)"
_PLAIN = {
    "LSTM": """
        gates_x = Gemm(x, w, b)
        gates = Gemm(h, r, gates_x)
        i, f, g, o = Split <axis = 1> (gates)
        i_open = Sigmoid(i)
        f_open = Sigmoid(f)
        g_tanh = Tanh(g)
        o_open = Sigmoid(o)
        kept = Mul(f_open, c)
        new = Mul(i_open, g_tanh)
        c_next = Add(kept, new)
        c_tanh = Tanh(c_next)
        h_next = Mul(o_open, c_tanh)""",
    "GRU": """
        zr_x = Gemm(x, w_zr, b_zr)
        zr_sum = Gemm(h, r_zr, zr_x)
        zr = Sigmoid(zr_sum)
        z, reset = Split <axis = 1> (zr)
        n_x = Gemm(x, w_n, b_n)
        n_h = Gemm(h, r_n, rb_n)
        n_reset = Mul(reset, n_h)
        n_sum = Add(n_x, n_reset)
        n = Tanh(n_sum)
        apart = Sub(h, n)
        kept = Mul(z, apart)
        h_next = Add(n, kept)""",
    "RNN": """
        part = Gemm(x, w, b)
        sum = Gemm(h, r, part)
        h_next = Tanh(sum)""",
}


@dataclass(frozen=True)
class Cell:
    """A trained cell: `LSTM` (gates i, f, g, o), `GRU` (z, r, n, reset after) or `RNN` (tanh)."""

    kind: str
    kernel: Array
    """(inputs, gates * units)."""
    recurrent: Array
    """(units, gates * units)."""
    bias: Array
    """(gates * units,); of a GRU (2, gates * units), the second for the recurrent product."""

    @property
    def units(self) -> int:
        """Width of h."""
        return len(self.recurrent)

    @property
    def inputs(self) -> int:
        """Width of x."""
        return len(self.kernel)

    def named(self, x: Any, state: Any) -> dict[str, Any]:
        """Return what belongs to every input by name."""
        return {"x": x, "h": state} | ({"c": state} if self.kind == "LSTM" else {})

    def named_next(self, state: Any) -> dict[str, Any]:
        """Return what belongs to every next state by name."""
        return {f"{name}_next": state for name in list(self.named(None, None))[1:]}

    def zr_and_n(self) -> dict[str, Array]:
        """Return a GRU's weights cut where r stands between the products of n; z and r need not."""
        cut, (bias, recurrent_bias) = 2 * self.units, self.bias
        return {
            "w_zr": self.kernel[:, :cut],
            "r_zr": self.recurrent[:, :cut],
            "b_zr": (bias + recurrent_bias)[:cut],
            "w_n": self.kernel[:, cut:],
            "r_n": self.recurrent[:, cut:],
            "b_n": bias[cut:],
            "rb_n": recurrent_bias[cut:],
        }


def onnx_operator(cell: Cell) -> bytes:
    """Return ONNX's own LSTM, GRU or RNN over one time step; states are (1, 1, units)."""
    operator = _OPERATOR[cell.kind].format(units=cell.units, x="x_alone")
    weights = _operator_weights(cell) | {"front": np.array([0])}
    states = f"1,1,{cell.units}"
    shapes = cell.named(x=f"1,{cell.inputs}", state=states), cell.named_next(states)
    body = _BETWEEN.format(operator=operator)
    return _onnx(body, shapes[0], {"y": f"1,{cell.units}"} | shapes[1], weights)


def onnx_operator_alone(cell: Cell) -> bytes:
    """Return the same with x (1, 1, inputs) and without y: it would fit no encoder and no head."""
    operator = _OPERATOR[cell.kind].format(units=cell.units, x="x")
    states = f"1,1,{cell.units}"
    inputs = cell.named(x=f"1,1,{cell.inputs}", state=states)
    return _onnx(operator, inputs, cell.named_next(states), _operator_weights(cell))


def onnx_plain(cell: Cell) -> bytes:
    """Return the cell in elementary ONNX operators, the sums of products as a chain of Gemm."""
    whole = {"w": cell.kernel, "r": cell.recurrent, "b": cell.bias}
    weights = cell.zr_and_n() if cell.kind == "GRU" else whole
    states = f"1,{cell.units}"
    inputs = cell.named(x=f"1,{cell.inputs}", state=states)
    body = _PLAIN[cell.kind] + " y = Identity(h_next)"
    return _onnx(body, inputs, {"y": states} | cell.named_next(states), weights)


def tflite_two_products(cell: Cell) -> bytes:
    """Return the cell with one product for x and one for h."""
    return _tflite(cell, joined=False)


def tflite_joined(cell: Cell) -> bytes:
    """Return the cell with x and h side by side, and one product for both where that can be."""
    return _tflite(cell, joined=True)


def _operator_weights(cell: Cell) -> dict[str, Array]:
    def by_gate(value: Array) -> Array:  # (..., gates * units) to the same
        gates = value.reshape(*value.shape[:-1], -1, cell.units)
        return gates[..., list(_ONNX_ORDER[cell.kind]), :].reshape(value.shape)

    both = cell.bias if cell.kind == "GRU" else np.stack([cell.bias, np.zeros_like(cell.bias)])
    kernel, recurrent = by_gate(cell.kernel).T[None], by_gate(cell.recurrent).T[None]
    return {"w": kernel, "r": recurrent, "b": by_gate(both).reshape(1, -1)}


def _onnx(
    body: str, inputs: dict[str, str], outputs: dict[str, str], weights: dict[str, Array]
) -> bytes:
    tensors = [
        ", ".join(f"float[{shape}] {name}" for name, shape in named.items())
        for named in (inputs, outputs)
    ]
    model = onnx.parser.parse_model(_TEXT.format(inputs=tensors[0], outputs=tensors[1], body=body))
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _tflite(cell: Cell, *, joined: bool) -> bytes:
    def run(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        found = _STEPS[cell.kind](cell, tensors, joined)
        return found | {"y": tf.identity(found["h_next"])}

    module = tf.Module()
    widths = cell.named(x=cell.inputs, state=cell.units)
    signature = {n: tf.TensorSpec((1, width), tf.float32, n) for n, width in widths.items()}
    module.step = tf.function(run, autograph=False).get_concrete_function(**signature)
    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(module, folder, {"step": module.step})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"])
        return bytes(converter.convert())


def _products(tensors: dict[str, tf.Tensor], weights: tuple[Array, ...], joined: bool) -> tf.Tensor:
    kernel, recurrent, bias = weights
    if joined:
        both = tf.concat([tensors["x"], tensors["h"]], 1)
        return tf.matmul(both, np.concatenate([kernel, recurrent])) + bias
    return tf.matmul(tensors["x"], kernel) + bias + tf.matmul(tensors["h"], recurrent)


def _rnn(cell: Cell, tensors: dict[str, tf.Tensor], joined: bool) -> dict[str, tf.Tensor]:
    weights = cell.kernel, cell.recurrent, cell.bias
    return {"h_next": tf.tanh(_products(tensors, weights, joined))}


def _lstm(cell: Cell, tensors: dict[str, tf.Tensor], joined: bool) -> dict[str, tf.Tensor]:
    weights = cell.kernel, cell.recurrent, cell.bias
    i, f, g, o = tf.split(_products(tensors, weights, joined), 4, 1)
    c = tf.sigmoid(f) * tensors["c"] + tf.sigmoid(i) * tf.tanh(g)
    return {"h_next": tf.sigmoid(o) * tf.tanh(c), "c_next": c}


def _gru(cell: Cell, tensors: dict[str, tf.Tensor], joined: bool) -> dict[str, tf.Tensor]:
    part, h = cell.zr_and_n(), tensors["h"]
    weights = part["w_zr"], part["r_zr"], part["b_zr"]
    z, r = tf.split(tf.sigmoid(_products(tensors, weights, joined)), 2, 1)
    n_x = tf.matmul(tensors["x"], part["w_n"]) + part["b_n"]
    n = tf.tanh(n_x + r * (tf.matmul(h, part["r_n"]) + part["rb_n"]))
    return {"h_next": n + z * (h - n)}


_STEPS = {"RNN": _rnn, "LSTM": _lstm, "GRU": _gru}
