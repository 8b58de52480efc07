"""TensorFlow's side of `convert.cells.Ops`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from convert.cells import Tensor
from edge.types import Array


class TfOps:
    """The operations of the cells, traced into a TensorFlow graph."""

    def linear(self, value: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Return value @ kernel + bias."""
        product = tf.matmul(value, kernel)
        return product if bias is None else product + bias

    def split(self, value: Tensor, parts: int) -> Sequence[Tensor]:
        """Cut the last axis into equal parts."""
        return list(tf.split(value, parts, -1))

    def concat(self, values: Sequence[Tensor], axis: int) -> Tensor:
        """Join along one axis."""
        return tf.concat(values, axis)

    def matmul(self, left: Tensor, right: Tensor, transpose_right: bool = False) -> Tensor:
        """Multiply the matrices in the last two axes."""
        return tf.matmul(left, right, transpose_b=transpose_right)

    def softmax(self, value: Tensor) -> Tensor:
        """Normalise over the last axis."""
        return tf.nn.softmax(value, -1)

    def sigmoid(self, value: Tensor) -> Tensor:
        """Return the logistic function."""
        return tf.sigmoid(value)

    def tanh(self, value: Tensor) -> Tensor:
        """Return the hyperbolic tangent."""
        return tf.tanh(value)

    def reshape(self, value: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the same elements in another shape."""
        return tf.reshape(value, shape)


def constant(variable: Any) -> Array:
    """Return what a Keras variable holds now; traced, it becomes a constant of the graph."""
    return np.asarray(variable)
