"""The motion LSTM: how a box moved so far -> where it is and where it will be, with uncertainty.

It sees a target's steps, not its pictures: seconds passed, displacement in sizes of the target,
change of log width and of log height. The size of a target is the root of its area.
"""

import torch
from torch import Tensor, nn

HORIZONS_S = (0.0, 1 / 30, 1 / 10, 1 / 3, 1.0)
UNITS = 64
MOVES = 5  # features that every step has: dt, dx / s, dy / s, change of log width, of log height
_FINEST = 30.0  # a thirtieth of a size is where displacements begin to be compressed
_SHORTEST_S = 1 / 60  # rates are not taken over less
_REACH = (0.03, 0.1, 0.2, 0.4, 0.8)  # sizes that targets typically move in a horizon


class MotionLSTM(nn.Module):
    """One step of an LSTM over the moves of N targets; their memory is given and returned.

    The first MOVES features are those of every step, in that order; the others, if any, are taken
    as they are, and should be near -1..1.
    """

    def __init__(self, features: int = MOVES + 1) -> None:
        super().__init__()
        self.features = features
        self.gates = nn.Linear(2 * MOVES + features - MOVES + UNITS, 4 * UNITS)
        self.read = nn.Linear(UNITS, 6 * len(HORIZONS_S))
        self.pace = nn.Linear(UNITS, 2 * len(HORIZONS_S))  # how much the last rate goes on
        self.register_buffer("reach", torch.tensor(_REACH)[:, None], persistent=False)
        self.register_buffer("ahead", torch.tensor(HORIZONS_S)[:, None], persistent=False)
        with torch.no_grad():
            self.gates.bias[UNITS : 2 * UNITS] = 1.0  # remember, until taught to forget
            self.read.weight.mul_(0.1)
            self.read.bias.zero_()
            self.pace.weight.mul_(0.1)
            self.pace.bias.fill_(-2.0)  # hardly

    def forward(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        """Take one step.

        Args:
            features: (N, F); dt in seconds, since the target was last seen, comes first.
            hidden: (N, UNITS), zeros at first.
            cell: (N, UNITS), zeros at first.

        Returns:
            forecast (N, 5, 6), rows at HORIZONS_S, columns dx / s, dy / s, change of log width, of
            log height, log of the Laplace scale of the centre in sizes, of that of the log sizes;
            next hidden and cell (N, UNITS).
        """
        gates = self.gates(torch.cat([self.told(features), hidden], 1))  # (N, 4 * UNITS)
        write, keep, value, show = gates.split(UNITS, 1)  # (N, UNITS) each
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(value)  # (N, UNITS)
        hidden = torch.sigmoid(show) * torch.tanh(cell)  # (N, UNITS)
        return self.foreseen(features, hidden), hidden, cell

    def unrolled(self, features: Tensor) -> Tensor:
        """Return the forecasts (N, T, 5, 6) along T steps from an empty memory.

        Args:
            features: (N, T, F).
        """
        known = self.told(features)  # (N, T, K)
        weight, bias = self.gates.weight, self.gates.bias
        parts = [weight[:, :-UNITS], weight[:, -UNITS:], bias, torch.zeros_like(bias)]
        empty = known.new_zeros(1, known.shape[0], UNITS)  # (1, N, UNITS)
        # The order of gates is PyTorch's own, whose loop takes half the time of one in Python.
        hidden, _, _ = torch.lstm(
            known, (empty, empty), parts, True, 1, 0.0, self.training, False, True
        )
        return self.foreseen(features, hidden)  # hidden (N, T, UNITS)

    def told(self, features: Tensor) -> Tensor:
        """Return features (..., F) as the LSTM takes them, (..., 2 * MOVES + F - MOVES)."""
        return torch.cat([_seen(features[..., :MOVES]), features[..., MOVES:]], -1)

    def foreseen(self, features: Tensor, hidden: Tensor) -> Tensor:
        """Return forecasts (..., 5, 6) from steps (..., F) and what is remembered (..., UNITS)."""
        said = self.read(hidden).unflatten(-1, (len(HORIZONS_S), 6))  # (..., 5, 6)
        moves = said[..., :4] * self.reach + self._going_on(features, hidden)  # (..., 5, 4)
        scales = said[..., 4:] + self.reach.log()  # (..., 5, 2)
        return torch.cat([moves, scales], -1)

    def _going_on(self, features: Tensor, hidden: Tensor) -> Tensor:
        """Return where the last step's rate leads, as far as it is believed to last, (..., 5, 4).

        It is the one way in which a forecast grows in proportion to what is measured, so that very
        fast targets are followed too.
        """
        rate = features[..., 1:MOVES] / features[..., :1].clamp(_SHORTEST_S, 3600.0)  # (..., 4)
        lasts = torch.sigmoid(self.pace(hidden)).unflatten(-1, (len(HORIZONS_S), 2))  # (..., 5, 2)
        way = rate.unsqueeze(-2) * self.ahead  # (..., 5, 4)
        return torch.cat([way[..., :2] * lasts[..., :1], way[..., 2:] * lasts[..., 1:]], -1)


def _seen(moves: Tensor) -> Tensor:
    """Return moves (..., MOVES) as distances and as rates, both compressed, (..., 2 * MOVES)."""
    dt, distance = moves[..., :1], moves[..., 1:]  # (..., 1), (..., 4)
    lapse = dt.clamp(_SHORTEST_S, 3600.0)  # (..., 1)
    times = [lapse.log() + 2.0, dt.clamp(0.0, 1.0)]
    return torch.cat([*times, _squash(distance * _FINEST), _squash(distance / lapse)], -1)


def _squash(x: Tensor) -> Tensor:
    """Return the signed logarithm, straight around 0; plain operations that every runtime has."""
    return torch.log(1 + torch.relu(x)) - torch.log(1 + torch.relu(-x))
