"""Keras models become step models: every rule, every file format, every refusal."""

import warnings
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the converter's environment (tensorflow, keras)")

from convert.errors import ConvertError  # noqa: E402
from convert.keras.layers import WindowAttention  # noqa: E402
from convert.keras.loading import open_keras  # noqa: E402
from convert.keras.rules import rule  # noqa: E402
from convert.keras.source import KerasSource  # noqa: E402
from convert.model import SourceOptions  # noqa: E402
from convert.samples import made_samples  # noqa: E402
from tests.convert_case import INTERPRETERS, stepped  # noqa: E402

L = keras.layers
STEPS = 300


def sequential(*layers, frame=(6,)):
    return randomised(keras.Sequential([keras.Input((None, *frame)), *layers, L.Dense(2)]))


def randomised(model):
    """A freshly made model has zero biases, which would hide a bias that is lost or summed."""
    random = np.random.default_rng(0)
    for variable in model.variables:
        if "bias" in variable.path:
            variable.assign(random.normal(0, 0.3, variable.shape))
    return model


def video():
    frames = keras.Input((None, 12, 12, 3), name="frames")
    x = L.TimeDistributed(L.Conv2D(4, 3, activation="relu"))(frames)
    x = L.TimeDistributed(L.MaxPooling2D())(x)
    x = L.TimeDistributed(L.Flatten())(x)
    x = L.Dropout(0.3)(L.LSTM(9)(x))
    return randomised(keras.Model(frames, L.Dense(1)(x)))


def cells():
    inner = L.StackedRNNCells([L.SimpleRNNCell(4), L.LSTMCell(3)])
    return L.RNN(L.StackedRNNCells([L.LSTMCell(5), L.GRUCell(4), inner]), return_sequences=True)


def last_step():
    frames = keras.Input((None, 6))
    x = L.LSTM(5, return_sequences=True)(frames)
    return randomised(keras.Model(frames, L.Dense(2)(L.Concatenate()([x[:, -1], frames[:, -1]]))))


def operators():
    frames = keras.Input((None, 6))
    x = L.GRU(5, return_sequences=True)(keras.ops.silu(frames * 2 - 1))
    return randomised(keras.Model(frames, L.Dense(2, activation="celu")(keras.ops.gelu(x))))


def odd_names():
    """What collides once it is plain, with states too, and what TensorFlow cannot trace."""
    frames = keras.Input((None, 6), name="y 1")
    x = L.LSTM(4, name="m")(L.Dense(4, name="m_h")(frames))
    x = L.Dense(3, name="m_h_next")(x)
    outputs = [L.Dense(2, name=name)(x) for name in ("y-1", "y_1", "Ü ber", "_private")]
    return randomised(keras.Model(frames, outputs))


def by_name():
    first, second = keras.Input((None, 6), name="b"), keras.Input((None, 3), name="a")
    x = L.GRU(4)(L.Concatenate()([first, L.Dense(2)(second)]))
    outputs = {"z": L.Dense(2, name="one")(x), "c": L.Dense(3, name="two")(x)}
    return randomised(keras.Model({"b": first, "a": second}, outputs))


def longer_than_the_samples():
    frames = keras.Input((STEPS + 50, 4, 4, 2))
    x = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Conv2D(3, 2))(frames))
    return randomised(keras.Model(frames, L.Dense(2)(L.GRU(4)(x))))


def stateful(**kwargs):
    layers = [L.LSTM(4, stateful=True, **kwargs), L.Dense(2)]
    return randomised(keras.Sequential([keras.Input(batch_shape=(3, 10, 6)), *layers]))


MODELS = {
    "SimpleRNN": lambda: sequential(L.SimpleRNN(9)),
    "SimpleRNN relu": lambda: sequential(L.SimpleRNN(9, activation="relu", use_bias=False)),
    "LSTM": lambda: sequential(L.LSTM(9)),
    "LSTM hard": lambda: sequential(
        L.LSTM(9, activation="softsign", recurrent_activation="hard_sigmoid", use_bias=False)
    ),
    "GRU": lambda: sequential(L.GRU(9)),
    "GRU reset before": lambda: sequential(L.GRU(9, reset_after=False)),
    "GRU no bias": lambda: sequential(L.GRU(9, use_bias=False)),
    "ConvLSTM2D": lambda: sequential(
        L.ConvLSTM2D(3, 3, padding="same"), L.Flatten(), frame=(6, 6, 2)
    ),
    "stacked cells": lambda: sequential(cells()),
    "two layers": lambda: sequential(
        L.Dense(7, activation="relu"),
        L.LSTM(5, return_sequences=True),
        L.LayerNormalization(),
        L.BatchNormalization(),
        L.GRU(4),
    ),
    "WindowAttention": lambda: sequential(L.Dense(8), WindowAttention(2, 4, 16)),
    "video": video,
    "last step": last_step,
    "operators": operators,
    "odd names": odd_names,
    "inputs by name": by_name,
    "longer than the samples": longer_than_the_samples,
    "stateful": stateful,
    "stateful sequences": lambda: stateful(return_sequences=True),
    "Normalization": lambda: sequential(L.Normalization(mean=0.5, variance=2.0), L.LSTM(4)),
}


@pytest.fixture(scope="module", params=MODELS)
def source(request):
    return KerasSource(MODELS[request.param]())


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_stepping_equals_keras_over_the_whole_sequence(source, backend, tmp_path):
    sequence = made_samples(source.inputs, None, STEPS).sequences[0]
    wanted = source.forward(sequence)
    found = stepped(source, sequence, backend, tmp_path)
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        assert values.std() > 0.01
        assert np.abs(found[name] - values).max() < 1e-5


def test_every_step_equals_what_the_model_gives_for_the_sequence_up_to_there():
    model = video()
    source = KerasSource(model)
    frames = np.random.default_rng(1).random((12, 1, 12, 12, 3)).astype(np.float32)
    answer = one_answer(source, frames)
    for steps in (1, 5, 12):
        # Not `predict`: after a first call with one frame, Keras 3.15 cuts longer ones to one.
        whole = model(frames[:steps, 0][None], training=False).numpy()
        assert np.abs(answer[steps - 1] - whole).max() < 1e-6


def test_encoder_and_step_are_two_networks_or_fused_into_one():
    model = video()
    assert KerasSource(model).roles == ("encoder", "step")
    assert KerasSource(model, fuse=True).roles == ("step",)


def test_a_fused_network_gives_what_the_two_give(tmp_path):
    model = video()
    apart, fused = KerasSource(model), KerasSource(model, fuse=True)
    sequence = made_samples(apart.inputs, None, 20).sequences[0]
    (one,) = stepped(apart, sequence, INTERPRETERS[0], tmp_path).values()
    (other,) = stepped(fused, sequence, INTERPRETERS[0], tmp_path).values()
    assert np.abs(one - other).max() < 1e-6


def test_states_are_named_after_their_layers_and_next_states_likewise():
    source = KerasSource(sequential(L.LSTM(9, name="memory")))
    assert [(s.input, s.output, s.shape) for s in source.states] == [
        ("memory_h", "memory_h_next", (1, 9)),
        ("memory_c", "memory_c_next", (1, 9)),
    ]


def test_what_the_step_takes_of_an_input_does_not_go_through_the_encoder(tmp_path):
    frames = inputs(6)
    seen = L.Dense(4, activation="relu", name="seen")(frames)
    both = L.Concatenate()([L.LSTM(3, return_sequences=True)(seen), frames])
    source = KerasSource(randomised(keras.Model(frames, L.GRU(4)(both))))
    sequence = made_samples(source.inputs, None, 50).sequences[0]
    (found,) = stepped(source, sequence, INTERPRETERS[0], tmp_path).values()
    assert source.roles == ("encoder", "step")
    assert np.abs(found - one_answer(source, *sequence.values())).max() < 1e-5


def test_a_layer_that_is_used_twice_has_two_states():
    shared, frames = L.LSTM(3, return_sequences=True, name="twice"), keras.Input((None, 3))
    source = KerasSource(keras.Model(frames, shared(shared(frames))))
    assert [s.name for s in source.states] == [
        "twice_h",
        "twice_c",
        "twice_call2_h",
        "twice_call2_c",
    ]


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_saved_model_opens_with_the_weights_it_was_saved_with(name, tmp_path):
    model = sequential(L.LSTM(9))
    save(model, tmp_path / name)
    frames = np.random.default_rng(0).normal(size=(20, 1, 6)).astype(np.float32)
    found = one_answer(open_keras(tmp_path / name, SourceOptions()), frames)
    assert np.array_equal(found, one_answer(KerasSource(model), frames))


def test_models_of_keras_2_open_from_every_kind_of_file(tmp_path):
    old = pytest.importorskip("tf_keras", reason="needs tf_keras")
    layers = old.layers
    encoder = [layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.Flatten()]
    frames = [layers.Input((None, 6, 6, 2)), *map(layers.TimeDistributed, encoder)]
    model = old.Sequential([*frames, layers.GRU(5), layers.Dense(2)])
    frames = np.random.default_rng(0).normal(size=(20, 1, 6, 6, 2)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "folder", save_format="tf")
        model.save(tmp_path / "model.h5")
        model.save(tmp_path / "model.keras")
        predicted = model.predict(frames[:, 0][None], verbose=0)
    for name in ("folder", "model.h5", "model.keras"):
        answer = one_answer(open_keras(tmp_path / name, SourceOptions()), frames)
        assert np.abs(answer[-1] - predicted).max() < 1e-6


def save(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras finds HDF5 old, numpy finds TensorFlow old
        model.save(path)


def one_answer(source, frames):
    return next(iter(source.forward({next(iter(source.inputs)): frames}).values()))


def inputs(*frame):
    return keras.Input((None, *frame))


def two_outputs():
    frames = inputs(6)
    y = L.LSTM(3, return_sequences=True)(frames)
    return keras.Model(frames, [L.Dense(1)(y), L.LSTM(2, name="short")(y)])


def with_initial_state():
    frames = inputs(6)
    state = L.Dense(3)(L.LSTM(2)(frames))
    return keras.Model(frames, L.GRU(3, name="seeded")(frames, initial_state=state))


def with_state_returned():
    frames = inputs(6)
    y, _, _ = L.LSTM(3, return_state=True, name="open")(frames)
    return keras.Model(frames, L.Dense(1)(y))


def dropout_left_on():
    frames = inputs(6)
    return keras.Model(frames, L.LSTM(3)(L.Dropout(0.5, name="noisy")(frames, training=True)))


def nan_weights():
    model = sequential(L.LSTM(3, name="broken"))
    kernel = model.layers[0].cell.kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    return model


def half_precision():
    return sequential(L.LSTM(3, dtype="mixed_float16", name="half"))


class Homemade(L.Layer):
    """A cell of the user's own."""

    state_size = 3

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x, states):
        h = x @ self.kernel + states[0]
        return h, [h]


class Unruled(L.Layer):
    def call(self, x):
        return x


class Subclassed(keras.Model):
    def call(self, x):
        return x


def concatenated_over_time():
    frames = inputs(6)
    x = L.LSTM(6, return_sequences=True)(frames)
    return keras.Model(frames, L.Dense(2)(L.Concatenate(axis=-2, name="late")([x, frames])))


def one_number_of_frames():
    frames = keras.Input((10, 6))
    places = keras.ops.convert_to_tensor(np.zeros((10, 6), np.float32))
    return keras.Model(frames, L.LSTM(3)(frames + places))


REFUSED = {
    "bidirectional: Bidirectional reads": lambda: sequential(
        L.Bidirectional(L.LSTM(3), name="bidirectional")
    ),
    "back: go_backwards=True": lambda: sequential(L.LSTM(3, go_backwards=True, name="back")),
    "masking: masks frames": lambda: sequential(L.Masking(name="masking"), L.LSTM(3)),
    "conv: Conv1D mixes frames": lambda: sequential(L.Conv1D(3, 3, name="conv"), L.LSTM(3)),
    "conv: Conv3D mixes frames": lambda: keras.Sequential(
        [keras.Input((4, 6, 6, 3)), L.Conv3D(2, 3, padding="same", name="conv")]
    ),
    "pool: GlobalAveragePooling1D mixes": lambda: sequential(
        L.LSTM(3, return_sequences=True), L.GlobalAveragePooling1D(name="pool")
    ),
    "second: its input has no time axis": lambda: sequential(
        L.LSTM(3), L.RepeatVector(4), L.LSTM(2, name="second")
    ),
    "own: Unruled mixes frames over time or has no rule": lambda: sequential(
        Unruled(name="own"), L.LSTM(3)
    ),
    "norm: LayerNormalization works along axis .1.": lambda: keras.Sequential(
        [keras.Input((4, 6)), L.LayerNormalization(axis=1, name="norm"), L.LSTM(3)]
    ),
    "late: Concatenate works along axis -2, over time": concatenated_over_time,
    "norm: LayerNormalization works along axis .*-2": lambda: keras.Sequential(
        [keras.Input((4, 6)), L.LayerNormalization(axis=[-2, -1], name="norm"), L.LSTM(3)]
    ),
    "add: takes one number of frames and no other": one_number_of_frames,
    "has no input shape": lambda: keras.Sequential([L.LSTM(3), L.Dense(2)]),
    "input whole: is int32": lambda: keras.Sequential(
        [keras.Input((None, 6), name="whole", dtype="int32"), L.Rescaling(0.5), L.LSTM(3)]
    ),
    "wrapped: Homemade has no rule": lambda: sequential(L.RNN(Homemade(), name="wrapped")),
    "short: has return_sequences=False while": two_outputs,
    "seeded: starts from a state": with_initial_state,
    "open: return_state=True": with_state_returned,
    "noisy: is called with training=True": dropout_left_on,
    "broken/lstm_cell/kernel: 72 of 72 values are NaN": nan_weights,
    "half: computes in float16": half_precision,
    "holds no recurrent layer": lambda: sequential(L.Dense(3)),
    "a sequence is \\[batch, time": lambda: keras.Sequential([keras.Input((6,)), L.Dense(2)]),
    "is a subclassed Subclassed": Subclassed,
    "free side beside batch and time": lambda: keras.Sequential(
        [keras.Input((None, None)), L.TimeDistributed(L.Rescaling(2.0))]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_a_step_is_refused_by_the_layers_name(message):
    with pytest.raises(ConvertError, match=message):
        KerasSource(REFUSED[message]())


def test_a_layer_that_looks_over_time_in_disguise_is_found_by_running_it():
    frames = inputs(6)
    y = L.LSTM(3, return_sequences=True)(frames)
    total = L.Lambda(lambda v: v + keras.ops.sum(v, axis=1, keepdims=True))(y)
    model = keras.Model(frames, total)
    source = KerasSource(model)
    sequence = made_samples(source.inputs, None, 20).sequences[0]
    step = stepped(source, sequence, INTERPRETERS[0], Path())
    assert np.abs(next(iter(step.values())) - one_answer(source, *sequence.values())).max() > 0.01


def test_a_lambda_is_only_run_when_the_file_is_trusted(tmp_path):
    model = sequential(L.Lambda(lambda v: v * 2), L.LSTM(3))
    for name in ("model.keras", "model.h5"):
        save(model, tmp_path / name)
        with pytest.raises(ConvertError, match=r"holds a Lambda layer.*--trust"):
            open_keras(tmp_path / name, SourceOptions())
        assert open_keras(tmp_path / name, SourceOptions(trusted=True)).states


def test_a_custom_layer_whose_code_is_missing_is_named(tmp_path):
    save(sequential(Unruled(), L.LSTM(3)), tmp_path / "model.keras")
    with pytest.raises(ConvertError, match=r"custom layer 'Unruled'.*--import"):
        open_keras(tmp_path / "model.keras", SourceOptions())


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_damaged_file_is_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"neither zip nor HDF5")
    with pytest.raises(ConvertError, match=r"model\..*: is no"):
        open_keras(tmp_path / name, SourceOptions())


def test_a_folder_without_layers_is_refused(tmp_path):
    with pytest.raises(ConvertError, match="is no SavedModel"):
        open_keras(tmp_path, SourceOptions())
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    with pytest.raises(ConvertError, match="no layers any more"):
        open_keras(tmp_path, SourceOptions())


def test_a_second_rule_for_one_layer_is_refused():
    with pytest.raises(ValueError, match="LSTMCell: has the rule lstm; keep one"):
        rule(L.LSTMCell)(lambda *_: None)
