"""A tracker bundle whose answers are known: it finds what is as bright as its template.

A cell of the crop weighs 1 where it is as bright as the template's mean, and nothing where it is
black or twice as bright, so that the edge of a target on black is found within a cell. The box
keeps its size and is centred on the weights; presence is their sum, 1 from half a box on. The
forecast goes on with the speed of the last step, or with the one before where nothing was seen.
`hidden` counts steps; `cell` holds the speed in sizes a second.
"""

import io

import numpy as np
import onnx
from onnx import numpy_helper

from edge.bundle import save
from edge.manifest import (
    Golden,
    ImageInput,
    Manifest,
    StateSpec,
    StateTensor,
    TargetBox,
    TensorInput,
    TensorOutput,
)
from edge.step import StepModel

ENCODER = """<ir_version: 8, opset_import: ["" : 17]>
encoder (uint8[n,96,96,3] image) => (float[n,12,12,64] features, float[n,36,48] template) {
    pixels = Cast <to: int = 1> (image)
    grey = ReduceMean <axes: ints = [3]> (pixels)
    planes = Transpose <perm: ints = [0, 3, 1, 2]> (grey)
    cells = AveragePool <kernel_shape: ints = [8, 8], strides: ints = [8, 8]> (planes)
    bright = Transpose <perm: ints = [0, 2, 3, 1]> (cells)
    features = Tile (bright, to_features)
    middle = Slice (bright, low, high, axes)
    row = Reshape (middle, flat)
    template = Tile (row, to_template)
}"""
STEP = """<ir_version: 8, opset_import: ["" : 17]>
step (float[n,12,12,64] features, float[n,36,48] template, float[n,6] motion,
      float[n,64] hidden, float[n,64] cell)
  => (float[n,4] box, float[n,1] presence, float[n,5,6] forecast,
      float[n,64] next_hidden, float[n,64] next_cell) {
    bright = ReduceMean <axes: ints = [3], keepdims: int = 0> (features)
    wanted = ReduceMean <axes: ints = [1, 2]> (template)
    off = Sub (bright, wanted)
    away = Abs (off)
    known_bright = Max (wanted, one)
    scaled = Div (away, known_bright)
    less = Sub (one, scaled)
    weights = Relu (less)
    row = Reshape (weights, flat)
    sum = ReduceSum <keepdims: int = 1> (row, last)
    share = Div (sum, enough)
    presence = Clip (share, zero, one)
    total = Add (sum, tiny)
    moment = MatMul (row, centres)
    centre = Div (moment, total)

    dt, place, view, shape = Split <axis: int = 1> (motion, parts)
    zoom = Exp (view)
    inside = Mul (centre, zoom)
    moved = Add (place, inside)
    lapse = Max (dt, shortest)
    seen = Div (moved, lapse)
    known = Slice (cell, first, third, last)
    change = Sub (seen, known)
    believed = Mul (presence, change)
    speed = Add (known, believed)
    next_cell = Pad (speed, padding)
    next_hidden = Add (hidden, one)

    bend = Mul (shape, bends)
    lean = Sub (bend, view)
    side = Exp (lean)
    half = Mul (side, point_five)
    middle = Add (centre, point_five)
    low = Sub (middle, half)
    high = Add (middle, half)
    box = Concat <axis: int = 1> (low, high)

    column = Unsqueeze (speed, last)
    ahead = Mul (column, horizons)
    forecast = Pad (ahead, filling)
}"""
HORIZONS_S = (0.0, 1 / 30, 1 / 10, 1 / 3, 1.0)
STEPS = 12


def encoder():
    constants = {"to_features": [1, 1, 1, 64], "low": [3, 3], "high": [9, 9], "axes": [1, 2]}
    return model(ENCODER, {**constants, "flat": [0, 36, 1], "to_template": [1, 1, 48]}, {})


def step(change=lambda text: text):
    middles = (np.arange(12) + 0.5) / 12 - 0.5
    y, x = np.meshgrid(middles, middles, indexing="ij")
    integers = {"flat": [0, 144], "last": [1], "parts": [1, 2, 2, 1], "first": [0], "third": [2]}
    integers |= {"padding": [0, 0, 0, 62], "filling": [0, 0, 0, 0, 0, 4]}
    numbers = {"one": 1.0, "zero": 0.0, "enough": 18.0, "tiny": 1e-6}
    numbers |= {"point_five": 0.5, "shortest": 1e-3, "bends": [[0.5, -0.5]]}
    numbers |= {"centres": np.stack([x.ravel(), y.ravel()], 1)}
    numbers |= {"horizons": np.array(HORIZONS_S)[None, :, None]}
    return model(change(STEP), integers, numbers)


def stateless(text):
    """Do away with the state: the speed is the last step's, seen or not."""
    for old, new in (
        (",\n      float[n,64] hidden, float[n,64] cell)", ")"),
        (",\n      float[n,64] next_hidden, float[n,64] next_cell)", ")"),
        ("known = Slice (cell, first, third, last)", "known = Mul (seen, zero)"),
        ("    next_cell = Pad (speed, padding)\n    next_hidden = Add (hidden, one)\n", ""),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def model(text, integers, numbers):
    parsed = onnx.parser.parse_model(text)
    values = {name: np.array(value, np.int64) for name, value in integers.items()}
    values |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    parsed.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
    onnx.checker.check_model(parsed)
    return parsed.SerializeToString()


def manifest(**changes):
    crop = ImageInput(name="image", size=(96, 96), dtype="uint8", fit="crop", context=2, square=0.4)
    states = [
        StateTensor(name=name, input=name, output=f"next_{name}", shape=(-1, 64))
        for name in ("hidden", "cell")
    ]
    known = {
        "name": "bright",
        "version": "1",
        "licence": "Apache-2.0",
        "origin": "made by tests/tracker_models.py, weights set by hand",
        "kind": "tracker",
        "input": crop,
        "inputs": {
            "template": TensorInput(shape=(-1, 36, 48)),
            "motion": TensorInput(shape=(-1, 6)),
        },
        "networks": {"encoder": {"onnx": "encoder.onnx"}, "step": {"onnx": "step.onnx"}},
        "state": StateSpec(scope="per_track", tensors=tuple(states)),
        "outputs": {
            "box": TensorOutput(shape=(-1, 4)),
            "presence": TensorOutput(shape=(-1, 1)),
            "forecast": TensorOutput(shape=(-1, 5, 6)),
        },
        "decode": TargetBox(box="box", presence="presence"),
    }
    return Manifest(**(known | changes))


def write(folder, change=lambda text: text, **changes):
    """Write the bundle, `change` done to the text of its step, and other manifest keys."""
    files = {"encoder.onnx": encoder(), "step.onnx": step(change)}
    return save(manifest(**changes), files, folder)


def write_recorded(folder, change=lambda text: text):
    """Write the bundle with a recording of what it gives on noise."""
    plain = StepModel(write(folder.with_name(f"{folder.name}-plain"), change))
    random, state = np.random.default_rng(0), plain.initial_state()
    inputs = {
        "image": random.integers(0, 256, (STEPS, 1, 96, 96, 3)).astype(np.uint8),
        "template": random.uniform(100, 150, (STEPS, 1, 36, 48)).astype(np.float32),
        "motion": random.uniform(0.1, 1, (STEPS, 1, 6)).astype(np.float32),
    }
    answers = []
    for number in range(STEPS):
        outputs, state = plain.step({name: v[number] for name, v in inputs.items()}, state)
        answers.append(outputs)
    arrays = {f"inputs/{name}": value for name, value in inputs.items()}
    arrays |= {f"outputs/{n}": np.stack([a[n] for a in answers]) for n in answers[0]}
    arrays |= {f"states/{name}": value for name, value in state.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    files = {"encoder.onnx": encoder(), "step.onnx": step(change), "golden.npz": file.getvalue()}
    golden = Golden(file="golden.npz", steps=STEPS, tolerance=1e-4)
    return save(manifest(golden=golden), files, folder)
