"""PyTorch models that the tests convert, each a factory: `open_torch` runs this file itself."""

import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[convert-torch]")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from convert.torch.layers import WindowAttention  # noqa: E402


class Sequence(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class TimeFirst(Sequence):
    def forward(self, x):
        return self.layer(x.transpose(0, 1))[0].transpose(0, 1)


class Loop(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state, found = None, []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, 1)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = WindowAttention(6, heads=2, window=5)

    def forward(self, x):
        return {"y": self.attention(x)}


class Video(nn.Module):
    """A CNN, a stack, a second input, states in and out, and outputs of four kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.2)
        )
        self.lstm = nn.LSTM(9, 16, num_layers=2, batch_first=True, dropout=0.3)
        self.head, self.dense = nn.Linear(16, 4), nn.Linear(8, 1)

    def forward(self, image, dt, h, c):
        batch, steps = image.shape[:2]
        features = self.conv(image.flatten(0, 1)).mean((2, 3)).view(batch, steps, -1)
        y, (h, c) = self.lstm(torch.cat([features, dt], -1), (h, c))
        quality = self.dense(features).sigmoid()
        return {"boxes": self.head(y), "quality": quality, "last": self.head(h[-1])}, h, c


class Learned(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.start = nn.Parameter(start)
        self.gru = nn.GRU(6, 8, batch_first=True)

    def forward(self, x):
        return self.gru(x, self.start)[0]


class Computed(Learned):
    def forward(self, x):
        return self.gru(x, self.start * x[:, -1:].mean())[0]


class Placed(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 50, 6))
        self.lstm = nn.LSTM(6, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(x + self.place[:, : x.shape[1]])[0]


class OneFrameOnly(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(6, 8)

    def forward(self, x, h, c):
        if x.shape[1] != 1:
            raise ValueError("one frame, please")
        return self.cell(x[:, 0], (h, c))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)

    def forward(self, x):
        return self.gru(self.gru(x)[0])[0]


class NeedsArguments(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.lstm = nn.LSTM(6, hidden)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True)

    def forward(self, x, gain):
        return self.gru(x * gain)[0]


class Around(nn.Module):
    """An LSTM and something done before or after it."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)
        self.lstm = nn.LSTM(6, 8, batch_first=True)

    def forward(self, x):
        return self.function(self, x)


def _packed(self, x):
    lengths = torch.full((1,), x.shape[1])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


def _make(build):
    def factory():
        torch.manual_seed(0)
        return build()

    return factory


def _around(function, *layers):
    return _make(lambda: Around(function, *(layer() for layer in layers)))


first = {"batch_first": True}
lstm = _make(lambda: Sequence(nn.LSTM(6, 8, **first)))
gru = _make(lambda: Sequence(nn.GRU(6, 8, **first)))
rnn_tanh = _make(lambda: Sequence(nn.RNN(6, 8, **first)))
rnn_relu = _make(lambda: Sequence(nn.RNN(6, 8, nonlinearity="relu", **first)))
lstm_stack = _make(lambda: Sequence(nn.LSTM(6, 8, 2, dropout=0.3, **first)))
gru_stack = _make(lambda: Sequence(nn.GRU(6, 8, 2, **first)))
lstm_without_bias = _make(lambda: Sequence(nn.LSTM(6, 8, bias=False, **first)))
gru_without_bias = _make(lambda: Sequence(nn.GRU(6, 8, bias=False, **first)))
lstm_time_first = _make(lambda: TimeFirst(nn.LSTM(6, 8)))
lstm_cell = _make(lambda: Loop(nn.LSTMCell(6, 8)))
gru_cell = _make(lambda: Loop(nn.GRUCell(6, 8)))
rnn_cell = _make(lambda: Loop(nn.RNNCell(6, 8)))
rnn_cell_relu = _make(lambda: Loop(nn.RNNCell(6, 8, nonlinearity="relu")))
attention = _make(Attending)
video = _make(Video)
half = _make(lambda: Learned(torch.full((1, 1, 8), 0.5)))
twice = _make(Twice)
scaled = _make(Scaled)
bare = _make(lambda: nn.LSTM(6, 8, **first))

bidirectional = _make(lambda: Sequence(nn.LSTM(6, 8, bidirectional=True, **first)))
projected = _make(lambda: Sequence(nn.LSTM(6, 8, proj_size=3, **first)))
bare_time_first = _make(lambda: nn.LSTM(6, 8))
learned = _make(lambda: Learned(torch.randn(1, 1, 8)))
computed = _make(lambda: Computed(torch.ones(1, 1, 8)))
without_memory = _make(lambda: nn.Sequential(nn.Linear(6, 2)))
packed = _around(_packed)
conv1d = _around(
    lambda m, x: m.lstm(m.layers[0](x.mT).mT)[0], lambda: nn.Conv1d(6, 6, 3, padding=1)
)
conv3d = _around(
    lambda m, x: m.lstm(m.layers[0](x[:, None, :, :, None])[:, 0, ..., 0])[0],
    lambda: nn.Conv3d(1, 1, 3, padding=1),
)
pool = _around(lambda m, x: m.layers[0](m.lstm(x)[0].mT).mT, lambda: nn.AvgPool1d(3, 1, 1))
mean = _around(lambda m, x: m.lstm(x)[0].mean(1))
largest = _around(lambda m, x: m.lstm(x)[0].max(1)[0])
heads = _around(
    lambda m, x: m.layers[0](*[m.lstm(x)[0]] * 3)[0],
    lambda: nn.MultiheadAttention(8, 2, batch_first=True),
)
attends = _around(lambda m, x: functional.scaled_dot_product_attention(*[m.lstm(x)[0]] * 3))
flip = _around(lambda m, x: m.lstm(x.flip(1))[0])
running_sum = _around(lambda m, x: m.lstm(x.cumsum(1))[0])
difference = _around(lambda m, x: m.lstm(functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0)))[0])
first_step = _around(lambda m, x: m.lstm(x)[0][:, 0])
last_step = _around(lambda m, x: m.lstm(x)[0][:, -1])
dropout = _around(lambda m, x: functional.dropout(m.lstm(x)[0], 0.5))
noise = _around(lambda m, x: m.lstm(x + torch.randn_like(x))[0])


def number():
    return 3


def faulty():
    raise OSError("no camera")
