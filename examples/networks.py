"""The networks, each as its article lists it; what sees one frame stands in TimeDistributed."""

import keras
from keras import layers

from examples.clips import SIDE

UNITS = 50


def regressor() -> keras.Model:
    """Return the image-sequence regressor: one number for the frames so far."""
    return keras.Sequential(
        [
            _frames(),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(UNITS),
            layers.Dropout(0.2),
            layers.Dense(1, name="velocity"),
        ]
    )


def video() -> keras.Model:
    """Return the video network: convolution before memory, one number for the frames so far.

    A bare Conv2D, as listed, has no place for the time axis and cannot be built.
    """
    return keras.Sequential(
        [
            _frames(),
            layers.TimeDistributed(layers.Conv2D(8, 3, activation="relu")),
            layers.TimeDistributed(layers.MaxPooling2D()),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(UNITS),
            layers.Dropout(0.2),
            layers.Dense(1, name="velocity"),
        ]
    )


def rnn() -> keras.Model:
    """Return h_t = tanh(W x_t + R h_t-1 + b), y_t = sigmoid(V h_t + c), for every frame."""
    return keras.Sequential(
        [
            _frames(),
            layers.TimeDistributed(layers.Flatten()),
            layers.SimpleRNN(UNITS, activation="tanh", return_sequences=True),
            layers.Dense(1, activation="sigmoid", name="right"),
        ]
    )


def gru() -> keras.Model:
    """Return the same with gates: a GRU in place of the plain recurrence."""
    return keras.Sequential(
        [
            _frames(),
            layers.TimeDistributed(layers.Flatten()),
            layers.GRU(UNITS, return_sequences=True),
            layers.Dense(1, activation="sigmoid", name="right"),
        ]
    )


def behaviour() -> keras.Model:
    """Return shares of left, still and right, for every frame."""
    return keras.Sequential(
        [
            _frames(),
            layers.TimeDistributed(layers.Conv2D(8, 3, activation="relu")),
            layers.TimeDistributed(layers.MaxPooling2D()),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(UNITS, return_sequences=True),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax", name="doing"),
        ]
    )


def _frames() -> keras.KerasTensor:
    return keras.Input((None, SIDE, SIDE, 3), name="frames")
