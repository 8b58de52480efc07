"""Targets followed by their pictures: crop -> encoder -> recurrent step, all in one batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge import bundle as bundles
from edge.backends import Backend
from edge.bundle import Bundle, check_tensors
from edge.crops import Crops
from edge.errors import BundleError
from edge.follower import Followed
from edge.forecast import HORIZONS_S, N_VALUES, moved, read
from edge.manifest import ImageInput, TargetBox
from edge.step import StepModel
from edge.types import Array, Box, Floats, Image, Ints, State, TensorSpec

N_MOTION = 6
SMALLEST_PX = 4.0
"""No side of a box is looked for that is smaller."""
LARGEST = 2.0
"""Nor one that is larger, in sides of the frame."""
_WILDEST = 20.0
"""A forecast of a larger number, be it a distance in sizes or a logarithm, is none."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What is known of n targets: rows belong together, and no array is changed in place."""

    boxes: Floats
    """(n, 4) left, top, right, bottom in frame pixels: as last stepped to or confirmed, before
    the forecast; see `at`."""
    templates: Array
    """(n, ...) what each looks like, as the encoder gave it when the target was last confirmed."""
    state: State
    """(n, ...) each."""
    seen_at: Floats
    """(n,) seconds: of the frame that `boxes` are of."""
    presence: Floats
    """(n,) the belief that it is in view, 0..1."""
    forecast: Floats
    """(n, 5, 6) from `boxes` on; see `edge.forecast`."""

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Array) -> "Targets":
        state = {name: value[rows] for name, value in self.state.items()}
        return Targets(
            self.boxes[rows],
            self.templates[rows],
            state,
            self.seen_at[rows],
            self.presence[rows],
            self.forecast[rows],
        )

    def at(self, time: float) -> Floats:
        """Return where the targets are at a time in seconds, (n, 4) left, top, right, bottom.

        At `seen_at`, or before, that is where they were seen.
        """
        return moved(self.boxes, read(self.forecast, time - self.seen_at)[0])


class RecurrentTracker:
    """A tracker bundle at work: shared and immutable but for its buffer; targets are values."""

    kind = "tracker"

    def __init__(self, bundle: Bundle, backend: Backend = "auto", threads: int = 1) -> None:
        """Open the networks and check them.

        Args:
            bundle: Of kind `tracker`.
            backend: Which interpreter.
            threads: Of the interpreter.

        Raises:
            BundleError: It is another bundle than that, or contradicts itself.
            BackendError: No interpreter for it is installed.
        """
        picture, decode = _picture(bundle), bundle.manifest.decode
        if not isinstance(decode, TargetBox):
            raise BundleError(f"{bundle.folder}: has no decode of family target_box; convert again")
        self.name, self.labels = bundle.manifest.name, bundle.manifest.labels
        self._model = StepModel(bundle, backend, threads)
        self.backend = self._model.backend
        self._image, self._box, self._presence = picture.name, decode.box, decode.presence
        self._check(bundle.folder)
        self._crops = Crops(picture)
        self._template = self._model.inputs["template"]

    def none(self, n: int = 0) -> Targets:
        """Return n targets of which nothing is known: they stand still, and nowhere."""
        return Targets(
            np.zeros((n, 4)),
            np.zeros((n, *self._template.shape[1:]), self._template.dtype),
            self._model.initial_state(n),
            np.zeros(n),
            np.zeros(n),
            np.zeros((n, len(HORIZONS_S), N_VALUES)),
        )

    def start(self, image: Image, boxes: Floats, captured_at: float) -> Targets:
        """Begin with targets that stand at boxes (n, 4) left, top, right, bottom of this frame."""
        new, rows = self.none(len(boxes)), np.arange(len(boxes))
        return self.anchor(image, new, rows, boxes, captured_at)

    def step(self, image: Image, targets: Targets, captured_at: float) -> Targets:
        """Find the targets in the next frame; a time before their last one counts as that one."""
        if not len(targets):
            return targets
        reference = _within(targets.at(captured_at), image)
        crops, views = self._crops.fill(image, reference)
        dt = np.maximum(captured_at - targets.seen_at, 0.0)
        inputs = {
            self._image: crops,
            "template": targets.templates,
            "motion": _motion(dt, targets.boxes, views),
        }
        outputs, state = self._model.step(inputs, targets.state)
        extent = views[:, 2:] - views[:, :2]
        shares = outputs[self._box].astype(np.float64).reshape(-1, 2, 2)  # (n, 2 corners, 2)
        boxes = (views[:, None, :2] + shares * extent[:, None]).reshape(-1, 4)
        presence = outputs[self._presence].astype(np.float64)[:, 0].clip(0.0, 1.0)
        forecast = outputs["forecast"].astype(np.float64)
        found = Targets(boxes, targets.templates, state, targets.seen_at + dt, presence, forecast)
        return self._restarted(found, reference)

    def anchor(
        self,
        image: Image,
        targets: Targets,
        rows: Ints,
        boxes: Floats,
        captured_at: float,
        fresh: Array | bool = True,
    ) -> Targets:
        """Take confirmed boxes of this frame for some targets, and see anew what they look like.

        Args:
            image: The frame that the targets were stepped to.
            targets: Before.
            rows: (m,) of those that are confirmed.
            boxes: (m, 4) left, top, right, bottom in frame pixels; each has an area.
            captured_at: Of the frame, seconds.
            fresh: (m,) True: forget all that was before; False: only the box is corrected, what
                the state knows and the forecast stay, the latter from the new box on.
        """
        if not len(rows):
            return targets
        crops, _ = self._crops.fill(image, boxes)
        new = self.none(len(targets))
        forget = np.zeros(len(targets), bool)
        forget[rows] = fresh
        forecast = targets.forecast.copy()
        forecast[rows, :, :4] -= forecast[rows, :1, :4]
        templates = targets.templates.copy()
        templates[rows] = self._model.encode({self._image: crops})["template"]
        known = replace(targets, templates=templates, forecast=forecast)
        merged = _chosen(forget, replace(new, templates=templates), known)
        return replace(
            merged,
            boxes=_put(targets.boxes, rows, boxes),
            seen_at=_put(targets.seen_at, rows, captured_at),
            presence=_put(targets.presence, rows, 1.0),
        )

    def _restarted(self, found: Targets, reference: Floats) -> Targets:
        """Let targets for which the networks gave no box begin anew where they were looked for."""
        thin = found.boxes[:, 2:] - found.boxes[:, :2]  # (n, 2)
        wild = np.abs(found.forecast)  # (n, 5, 6)
        # At little cost: whatever is not finite shows in a sum, and NaN fails every comparison.
        whole = math.isfinite(thin.sum() + found.presence.sum())
        if whole and thin.min() > 0 and wild.max() < _WILDEST:
            return found
        sound = (thin > 0).all(axis=1) & (wild < _WILDEST).all(axis=(1, 2))
        sound &= np.isfinite(found.presence) & np.isfinite(found.boxes).all(axis=1)
        new = replace(
            self.none(len(found)),
            boxes=reference,
            templates=found.templates,
            seen_at=found.seen_at,
        )
        return _chosen(~sound, new, found)

    def _check(self, folder: Path) -> None:
        """Refuse networks that take or give something else than a tracker's do."""
        inputs, outputs = self._model.inputs, self._model.outputs
        template = inputs["template"].shape if "template" in inputs else ()
        wanted = {
            self._image: inputs[self._image],
            "template": TensorSpec("template", template, "float32"),
            "motion": TensorSpec("motion", (-1, N_MOTION), "float32"),
        }
        check_tensors(folder, "input", wanted, inputs.values())
        shapes = {
            self._box: (-1, 4),
            self._presence: (-1, 1),
            "forecast": (-1, len(HORIZONS_S), N_VALUES),
        }
        given = {name: TensorSpec(name, shape, "float32") for name, shape in shapes.items()}
        check_tensors(folder, "output", given, outputs.values())


class TargetFollower:
    """Follows one target with a tracker bundle; a `Follower`."""

    def __init__(self, tracker: RecurrentTracker) -> None:
        self.name = tracker.name
        self._tracker = tracker
        self._targets = tracker.none()

    def start(self, image: Image, box: Box, captured_at: float) -> None:
        """Forget everything and begin with this box of this frame."""
        self._targets = self._tracker.start(image, np.array([box]), captured_at)

    def anchor(self, image: Image, box: Box, captured_at: float) -> None:
        """Take a confirmed box of the frame just stepped, memory kept."""
        rows = np.zeros(1, np.int64)
        self._targets = self._tracker.anchor(
            image, self._targets, rows, np.array([box]), captured_at, fresh=False
        )

    def step(self, image: Image, captured_at: float) -> Followed:
        """Find the target in the next frame."""
        found = self._targets = self._tracker.step(image, self._targets, captured_at)
        (now,) = found.seen_at

        def forecast(seconds: float) -> Box:
            return _box(found.at(now + seconds))

        return Followed(_box(found.at(now)), float(found.presence[0]), forecast)


def open_follower(name: str | Path, backend: Backend = "auto", threads: int = 1) -> TargetFollower:
    """Load a tracker bundle by its folder or installed name, to follow one target.

    Raises:
        BundleError: It is missing, damaged or no tracker.
        BackendError: No interpreter for it is installed.
    """
    bundle = bundles.load(bundles.find(str(name)))
    return TargetFollower(RecurrentTracker(bundle, backend, threads))


def joined(parts: Sequence[Targets]) -> Targets:
    """Return several sets of targets, of one tracker, as one; there is at least one set."""
    columns = ("boxes", "templates", "seen_at", "presence", "forecast")
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    state = {n: np.concatenate([part.state[n] for part in parts]) for n in parts[0].state}
    return Targets(state=state, **whole)


def _picture(bundle: Bundle) -> ImageInput:
    """Return how crops go into a bundle.

    Raises:
        BundleError: It is no tracker, or crops of bytes alone do not make its input.
    """
    manifest, spec = bundle.manifest, bundle.manifest.input
    if manifest.kind != "tracker" or spec is None:
        raise BundleError(f"{bundle.folder}: is a {manifest.kind}, not a tracker; name another")
    if (spec.dtype, spec.colour, spec.layout) != ("uint8", "RGB", "NHWC"):
        raise BundleError(
            f"{bundle.folder}: takes {spec.dtype} {spec.colour} {spec.layout} crops, a tracker's "
            "are uint8 RGB NHWC; let the encoder itself normalise them and convert again"
        )
    return spec


def _motion(dt: Floats, boxes: Floats, views: Floats) -> Array:
    """Return what the step is told of time and place, (n, 6) float32.

    Args:
        dt: (n,) seconds since the boxes.
        boxes: (n, 4) where targets were.
        views: (n, 4) what is looked at now.

    Returns:
        dt; how far the view's centre is from the box's, x and y in sizes of the box (the root of
        its area); the logs of the view's width and height in that size; the log of the box's
        width / height.
    """
    extent, view = boxes[:, 2:] - boxes[:, :2], views[:, 2:] - views[:, :2]  # (n, 2), (n, 2)
    size = np.sqrt(extent.prod(axis=1))[:, None]  # (n, 1)
    motion = np.empty((len(dt), N_MOTION), np.float32)
    motion[:, 0] = dt
    motion[:, 1:3] = (views[:, :2] + views[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / (2 * size)
    motion[:, 3:5] = np.log(view / size)
    motion[:, 5] = np.log(extent[:, 0] / extent[:, 1])
    return motion


def _within(boxes: Floats, image: Image) -> Floats:
    """Return boxes (n, 4) to look at: their centres in the frame, their sides of its scale."""
    limits = np.array((image.shape[1], image.shape[0]), np.float64)
    centre = np.minimum(np.maximum((boxes[:, :2] + boxes[:, 2:]) / 2, 0.0), limits)  # (n, 2)
    side = np.minimum(boxes[:, 2:] - boxes[:, :2], LARGEST * limits)  # (n, 2)
    half = np.maximum(side, SMALLEST_PX) / 2  # (n, 2)
    return np.concatenate((centre - half, centre + half), axis=1)


def _chosen(mask: Array, these: Targets, others: Targets) -> Targets:
    """Return the targets `these` where a mask (n,) is set, the others elsewhere."""
    both = joined((these, others))
    rows = np.arange(len(mask))
    return both[np.where(mask, rows, rows + len(mask))]


def _put(values: Floats, rows: Ints, new: Floats | float) -> Floats:
    changed = values.copy()
    changed[rows] = new
    return changed


def _box(boxes: Floats) -> Box:
    left, top, right, bottom = boxes[0].tolist()
    return left, top, right, bottom
