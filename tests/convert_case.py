"""What the converter's tests share: a source's networks stepped by plain sessions."""

from pathlib import Path

import numpy as np

from edge.backends import available, open_session

INTERPRETERS = [name for name in available() if name != "tflite-runtime"]


def stepped(source, sequence, backend, folder):
    """Outputs over time, (steps, 1, ...), of the written networks in one interpreter."""
    fmt = "onnx" if backend == "onnx" else "tflite"
    sessions = []
    for role in source.roles:
        path = Path(folder) / f"{role}-{id(source)}.{fmt}"
        path.write_bytes(source.network(role, fmt))
        sessions.append(open_session({fmt: path}, backend))
        path.unlink()
    state = {s.input: np.full(s.shape, s.initial, s.dtype) for s in source.states}
    found = {name: [] for name in source.outputs}
    for step in range(len(next(iter(sequence.values())))):
        values = {name: array[step] for name, array in sequence.items()} | state
        for session in sessions:
            values |= session.run(values)
        state = {s.input: values[s.output] for s in source.states}
        for name, steps in found.items():
            steps.append(values[name])
    return {name: np.array(values) for name, values in found.items()}
