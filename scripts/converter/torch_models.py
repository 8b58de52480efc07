"""PyTorch models with every rule; the converter is given `path/to/this/file.py:name`.

PyTorch draws biases at random, so none is zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convert.torch.layers import WindowAttention

WIDTH, UNITS = 16, 50


class Layer(nn.Module):
    """One recurrent layer over (batch, time, width)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, units)."""
        return self.layer(x)[0]


class Loop(nn.Module):
    """One cell, called in a loop over time."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, units)."""
        state, found = None, []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, 1)


class Attending(nn.Module):
    """Attention over the last 30 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = WindowAttention(WIDTH, heads=4, window=30)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, width)."""
        return self.attention(x)


def _seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def factory() -> nn.Module:
        torch.manual_seed(0)
        return build().eval()

    return factory


rnn_tanh = _seeded(lambda: Layer(nn.RNN(WIDTH, UNITS, batch_first=True)))
rnn_relu = _seeded(lambda: Layer(nn.RNN(WIDTH, UNITS, nonlinearity="relu", batch_first=True)))
lstm = _seeded(lambda: Layer(nn.LSTM(WIDTH, UNITS, batch_first=True)))
gru = _seeded(lambda: Layer(nn.GRU(WIDTH, UNITS, batch_first=True)))
lstm_stack = _seeded(lambda: Layer(nn.LSTM(WIDTH, UNITS, num_layers=2, batch_first=True)))
lstm_cell = _seeded(lambda: Loop(nn.LSTMCell(WIDTH, UNITS)))
gru_cell = _seeded(lambda: Loop(nn.GRUCell(WIDTH, UNITS)))
rnn_cell = _seeded(lambda: Loop(nn.RNNCell(WIDTH, UNITS)))
attention = _seeded(Attending)

RULES = {
    "RNN, tanh": "rnn_tanh",
    "RNN, relu": "rnn_relu",
    "LSTM": "lstm",
    "GRU": "gru",
    "LSTM, 2 layers": "lstm_stack",
    "LSTMCell": "lstm_cell",
    "GRUCell": "gru_cell",
    "RNNCell": "rnn_cell",
    "WindowAttention": "attention",
}
"""Name to factory above."""
