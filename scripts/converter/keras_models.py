"""Keras models with every rule, with biases as training leaves them: none is zero."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from convert.keras.layers import WindowAttention

WIDTH, UNITS = 16, 50
"""Of x and of h."""


def shaken(model: Any) -> Any:
    """Give every bias of a built Keras model random values, and return it."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "bias" in weight.path:
            weight.assign(weight + random.normal(0, 0.2, weight.shape))
    return model


def one_layer(layer: Any, frame: tuple[int, ...] = (WIDTH,)) -> Any:
    """Return a model of one recurrent layer, its input x (batch, time, *frame)."""
    return shaken(keras.Sequential([keras.Input((None, *frame), name="x"), layer]))


def video_model(*, small: bool) -> Any:
    """Return MobileNetV2-0.35, or two convolutions, on 96x96 pixels, LSTM(256) and a head."""
    encoder = _two_convolutions() if small else _mobilenet()
    layers = [
        keras.Input((None, 96, 96, 3), name="frames"),
        keras.layers.TimeDistributed(encoder, name="encoder"),
        keras.layers.LSTM(256, return_sequences=True, name="lstm"),
        keras.layers.Dense(4, name="box"),
    ]
    return shaken(keras.Sequential(layers))


def _mobilenet() -> Any:
    return keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.35, weights=None, include_top=False, pooling="avg"
    )


def _two_convolutions() -> Any:
    layers = [keras.Input((96, 96, 3))]
    layers += [keras.layers.Conv2D(16, 3, 4, activation="relu") for _ in range(2)]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])


def _stack() -> Any:
    cells = [keras.layers.LSTMCell(UNITS), keras.layers.GRUCell(UNITS)]
    return keras.layers.RNN(keras.layers.StackedRNNCells(cells), return_sequences=True)


_ALL: dict[str, Any] = {"return_sequences": True}
RULES: Mapping[str, Callable[[], Any]] = {
    "LSTM": lambda: one_layer(keras.layers.LSTM(UNITS, **_ALL)),
    "GRU, reset after": lambda: one_layer(keras.layers.GRU(UNITS, **_ALL)),
    "GRU, reset before": lambda: one_layer(keras.layers.GRU(UNITS, reset_after=False, **_ALL)),
    "SimpleRNN": lambda: one_layer(keras.layers.SimpleRNN(UNITS, **_ALL)),
    "ConvLSTM2D": lambda: one_layer(
        keras.layers.ConvLSTM2D(4, 3, padding="same", **_ALL), frame=(8, 8, 3)
    ),
    "RNN of StackedRNNCells": lambda: one_layer(_stack()),
    "WindowAttention": lambda: one_layer(WindowAttention(heads=4, size=8, window=30)),
}
"""Name to what builds the model."""
