"""A sequence bundle at work on one camera: frame -> image tensor -> step -> value.

A value is plain data, ready for a record: of classes `{"label": "wave", "score": 0.93, "scores":
{"wave": 0.93, "none": 0.07}}`, of numbers `{"pan": 0.1, "tilt": -2.0}` where each has a label, else
`[0.1, -2.0]`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edge.backends import Backend
from edge.bundle import Bundle
from edge.decode import real
from edge.errors import BundleError
from edge.manifest import Classes, ImageInput, Values
from edge.preprocess import ImageTensor
from edge.step import StepModel
from edge.types import Array, Floats, Frame, TensorSpec

Value = dict[str, Any] | list[float]


class SequenceModel:
    """Steps a recurrent model from frame to frame and says what it gives.

    Invariant: a frame that is frozen, black or a repetition never reaches the state.
    """

    kind = "sequence"

    def __init__(self, bundle: Bundle, backend: Backend = "auto", threads: int = 1) -> None:
        """Open the networks and begin with a fresh state.

        Args:
            bundle: Of kind `sequence`, fed with pictures alone, its state per stream.
            backend: Which interpreter.
            threads: Of the interpreter.

        Raises:
            BundleError: It is another bundle than that, or contradicts itself.
            BackendError: No interpreter for it is installed.
        """
        image, decode = _picture(bundle), _decode(bundle)
        manifest = bundle.manifest
        self.name = manifest.name
        self._model = StepModel(bundle, backend, threads)
        self.backend = self._model.backend
        self._input, self._output = image.name, decode.output
        self._tensor = ImageTensor(image, self._model.inputs[image.name])
        self._spec = self._model.outputs[decode.output]
        self.labels = _names(bundle, decode, self._spec)
        self._read = _reader(decode, self.labels)
        reset_s = manifest.state.reset_after_gap_s if manifest.state else 0.0
        self._most_gap_s = reset_s or math.inf
        self._state = self._model.initial_state()
        self._stepped_at = -math.inf
        self._value: Value | None = None

    def update(self, frame: Frame) -> Value | None:
        """Take the next frame and return its value.

        The state starts anew where the last frame that reached it is longer ago than the bundle's
        `reset_after_gap_s`, and where the clock went back.

        Returns:
            The value before for a frame that shows nothing new; None where there was none yet.
        """
        if frame.condition == "good":
            self._value = self._step(frame)
        return self._value

    def _step(self, frame: Frame) -> Value:
        if not 0 <= frame.captured_at - self._stepped_at <= self._most_gap_s:
            self._state = self._model.initial_state()
        self._stepped_at = frame.captured_at
        tensor, _ = self._tensor.fill(frame.image)
        outputs, self._state = self._model.step({self._input: tensor}, self._state)
        return self._read(real(outputs[self._output], self._spec).astype(np.float64).ravel())


def softmax(logits: Floats) -> Floats:
    """Return shares (n,) that add up to 1 of logits (n,); NaN where a logit is not finite."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max())
        shares: Floats = powers / powers.sum()
    return shares


def sigmoid(logit: Floats) -> Floats:
    """Return the share (1,) of one logit (1,): a class against its absence."""
    return softmax(np.append(logit, 0.0))[:1]


def _picture(bundle: Bundle) -> ImageInput:
    """Return how frames go into a bundle.

    Raises:
        BundleError: Frames alone cannot run it.
    """
    manifest = bundle.manifest
    if manifest.kind != "sequence":
        raise _unfit(bundle, f"is a {manifest.kind}, not a sequence")
    if manifest.input is None:
        raise _unfit(bundle, f"takes {', '.join(manifest.inputs) or 'nothing'} and no picture")
    if manifest.inputs:
        names = ", ".join(manifest.inputs)
        raise _unfit(bundle, f"takes {names} beside the picture, which no frame gives")
    if manifest.state and manifest.state.scope == "per_track":
        raise _unfit(bundle, "its state is per_track, one for every target, a frame is one stream")
    return manifest.input


def _decode(bundle: Bundle) -> Classes | Values:
    """Return how values come out of a bundle.

    Raises:
        BundleError: What comes out is no value of a frame.
    """
    decode, outputs = bundle.manifest.decode, bundle.manifest.outputs
    if not isinstance(decode, Classes | Values):
        found = type(decode).__name__.lower() if decode else "missing"
        raise _unfit(bundle, f"its decode is {found}, not classes or values")
    if decode.output not in outputs:
        raise _unfit(bundle, f"decodes {decode.output!r}, its outputs are {', '.join(outputs)}")
    return decode


def _unfit(bundle: Bundle, reason: str) -> BundleError:
    return BundleError(f"{bundle.folder}: {reason}; step it with edge.load_step")


def _names(bundle: Bundle, decode: Classes | Values, output: TensorSpec) -> tuple[str, ...]:
    """Return the name of every number of the output; none where numbers stay a list.

    Raises:
        BundleError: The bundle's labels are not those of its classes.
    """
    labels = bundle.manifest.labels
    size = math.prod(abs(side) for side in output.shape)  # a free side, -1, is the batch of one
    fit = len(labels) == size == len(set(labels))
    if isinstance(decode, Values):
        return labels if fit else ()
    if labels and not fit:
        raise BundleError(
            f"{bundle.folder}: output {output.name!r} gives {size} classes, the labels are "
            f"{', '.join(labels)}; name each class once, or convert it again without labels"
        )
    return labels or tuple(map(str, range(size)))


def _reader(decode: Classes | Values, names: tuple[str, ...]) -> Callable[[Floats], Value]:
    """Return the function from an output's real values (n,) to the value."""
    if isinstance(decode, Values):
        return lambda numbers: _named(numbers, names) if names else numbers.tolist()
    if decode.score_coding == "share":
        return lambda scores: _classes(scores, names)
    shares = sigmoid if len(names) == 1 else softmax
    return lambda logits: _classes(shares(logits), names)


def _classes(scores: Floats, names: tuple[str, ...]) -> Value:
    top = int(scores.argmax())
    return {"label": names[top], "score": float(scores[top]), "scores": _named(scores, names)}


def _named(numbers: Array, names: tuple[str, ...]) -> dict[str, float]:
    return dict(zip(names, numbers.tolist(), strict=True))
