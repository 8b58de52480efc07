"""Keras layers of ours that a model may be trained with, and that the converter has a rule for."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="edgetrack")
class WindowAttention(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Causal self-attention over the last `window` steps, this one included.

    One step of it costs the same at frame 10 and at frame 100,000. Shapes: (batch, time, width) to
    the same. Heads as in Vaswani et al. 2017, without positions: the window is the only order.
    """

    def __init__(self, heads: int, size: int, window: int, **kwargs: Any) -> None:
        """Prepare the projections.

        Args:
            heads: How many.
            size: Of a key and a value, a head.
            window: Steps that are looked at.
            kwargs: Of any Keras layer, such as `name`.
        """
        super().__init__(**kwargs)
        self.heads, self.size, self.window = heads, size, window
        self.query = keras.layers.Dense(heads * size, name="query")
        self.key = keras.layers.Dense(heads * size, name="key")
        self.value = keras.layers.Dense(heads * size, name="value")
        self.supports_masking = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for inputs (batch, time, width)."""
        width = input_shape[-1]
        for layer in (self.query, self.key, self.value):
            layer.build(input_shape)
        self.out = keras.layers.Dense(width, name="out")
        self.out.build((*input_shape[:-1], self.heads * self.size))

    def call(self, inputs: Any) -> Any:
        """Return what every step finds in its window: (batch, time, width)."""
        query = self._by_head(self.query(inputs)) / self.size**0.5  # (B, H, T, D)
        key, value = self._by_head(self.key(inputs)), self._by_head(self.value(inputs))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # (B, H, T, T)
        steps = ops.arange(ops.shape(inputs)[1])
        age = steps[:, None] - steps[None, :]
        seen = ops.logical_and(age >= 0, age < self.window)
        shares = ops.softmax(ops.where(seen, scores, -1e9), axis=-1)
        found = ops.transpose(ops.matmul(shares, value), (0, 2, 1, 3))  # (B, T, H, D)
        shape = ops.shape(inputs)
        return self.out(ops.reshape(found, (shape[0], shape[1], self.heads * self.size)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's own shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what makes this layer again."""
        own = {"heads": self.heads, "size": self.size, "window": self.window}
        return super().get_config() | own

    def _by_head(self, value: Any) -> Any:
        shape = ops.shape(value)
        parts = ops.reshape(value, (shape[0], shape[1], self.heads, self.size))
        return ops.transpose(parts, (0, 2, 1, 3))
