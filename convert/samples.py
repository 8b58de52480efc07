"""What the converted model is tried on, and what integer ranges are measured on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import msgspec
import numpy as np

from convert.errors import ConvertError
from convert.model import Sequences
from convert.tracker import IMAGE, TARGET
from convert.verify import stored_as
from edge.config import SourceSettings
from edge.manifest import ImageInput
from edge.preprocess import ImageTensor, normalise
from edge.sources import open_source
from edge.types import Array, Image, TensorSpec

_MADE = "made: smoothed noise, seed 0"
_KEPT = 0.9  # of the step before, in made samples: real streams change slowly


@dataclass(frozen=True)
class Samples:
    """Sequences for a model's inputs."""

    sequences: tuple[Sequences, ...]
    """Each starts from a fresh state; every array in the type of its input."""
    description: str
    """Where they come from, for the manifest."""
    given: bool
    """By the user; else made here."""
    pixels: Array | None = None
    """The first sequence's pictures, (steps, 1, ...) uint8 in the input's layout, if it has any."""

    def stretched(self, steps: int) -> "Samples":
        """Return the first sequence alone, run forth and back until it has so many steps."""
        length = len(next(iter(self.sequences[0].values())))
        there = np.arange(length)
        order = np.resize(np.concatenate([there, there[::-1]]), max(steps, length))[:steps]
        first = {name: values[order] for name, values in self.sequences[0].items()}
        pixels = None if self.pixels is None else self.pixels[order]
        return Samples((first,), self.description, self.given, pixels)


def read_samples(
    path: Path, inputs: Mapping[str, TensorSpec], image: ImageInput | None, most: int
) -> Samples:
    """Read a video, a folder of images, or `.npy` / `.npz` sequences.

    Args:
        path: `.npy`: (steps, ...) or (sequences, steps, ...) for the one input; `.npz`: the same
            by input name; a folder may hold several of them. Pictures as uint8 are pixels.
        inputs: Of one step, (1, ...).
        image: How pictures become the one input; None where the model sees none.
        most: Steps that are read of a video.

    Raises:
        ConvertError: They are not there, or of another shape than the model's input.
        EdgeError: The video or a picture cannot be read.
    """
    if not path.exists():
        raise ConvertError(f"{path}: there are no such samples; name a video, a folder or a .npy")
    arrays = sorted([*path.glob("*.npy"), *path.glob("*.npz")]) if path.is_dir() else [path]
    if arrays and arrays[0].suffix in (".npy", ".npz"):
        sequences = tuple(s for file in arrays for s in _read_arrays(file, inputs, image))
        return Samples(sequences, path.name, given=True)
    if image is None or len(inputs) != 1:
        wanted = ", ".join(f"{n} {list(s.shape[1:])}" for n, s in inputs.items())
        raise ConvertError(
            f"{path}: holds pictures, and the model takes {wanted}; give .npy or .npz sequences"
        )
    frames = list(_frames(path, image, most))
    return _pictures(frames, image, inputs[image.name], path.name)


def made_samples(inputs: Mapping[str, TensorSpec], image: ImageInput | None, steps: int) -> Samples:
    """Make a sequence where the user has none: noise that changes slowly, always the same."""
    random = np.random.default_rng(0)
    if image is not None:
        low = random.normal(size=(1, 8, 8, 3))
        frames = []
        for _ in range(steps):
            low = _KEPT * low + (1 - _KEPT**2) ** 0.5 * random.normal(size=low.shape)
            smooth = cv2.resize(low[0], image.size[::-1], interpolation=cv2.INTER_CUBIC)
            frames.append(np.clip(smooth * 50 + 128, 0, 255).astype(np.uint8))
        return _pictures(frames, image, inputs[image.name], _MADE)
    sequence = {}
    for name, spec in inputs.items():
        values = random.normal(size=(steps, *spec.shape))
        for step in range(1, steps):
            values[step] = _KEPT * values[step - 1] + (1 - _KEPT**2) ** 0.5 * values[step]
        sequence[name] = values.astype(spec.dtype)
    return Samples((sequence,), _MADE, given=False)


def made_targets(inputs: Mapping[str, TensorSpec], image: ImageInput, steps: int) -> Samples:
    """Make what a tracker sees, where the user has none: one target, and crops of noise.

    Args:
        inputs: `image`, `target` and `motion`, of one step.
        image: How crops become the image.
        steps: How many.
    """
    seen = made_samples(inputs, image, steps)
    rest = {n: s for n, s in inputs.items() if n not in (IMAGE, TARGET)}
    moved = made_samples(rest, None, steps).sequences[0]
    crops = seen.sequences[0][IMAGE]
    sequence = {IMAGE: crops, TARGET: np.repeat(crops[:1], steps, axis=0), **moved}
    return Samples((sequence,), _MADE, given=False, pixels=crops)


def _pictures(frames: Sequence[Image], image: ImageInput, spec: TensorSpec, name: str) -> Samples:
    stacked = np.stack(frames)[:, None]  # (steps, 1, h, w, 3) RGB
    if image.colour == "BGR":
        stacked = stacked[..., ::-1]
    elif image.colour == "GREY":
        grey = np.array([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames], np.uint8)
        stacked = grey[:, None, :, :, None]
    if image.layout == "NCHW":
        stacked = stacked.transpose(0, 1, 4, 2, 3)
    pixels = np.ascontiguousarray(stacked)
    values = np.stack([stored_as(normalise(picture, image), spec) for picture in pixels])
    return Samples(({image.name: values},), name, given=name != _MADE, pixels=pixels)


def _frames(path: Path, image: ImageInput, most: int) -> Iterator[Image]:
    """Yield pictures fitted into the input, (h, w, 3) RGB, before they are normalised."""
    plain = msgspec.structs.replace(
        image, layout="NHWC", colour="RGB", mean=(0.0,) * 3, scale=(1.0,) * 3
    )
    tensor = ImageTensor(plain, TensorSpec(image.name, (1, *plain.shape), "float32"))
    source = open_source(str(path), SourceSettings())
    try:
        for _ in range(most):
            if (frame := source.read()) is None:
                return
            yield tensor.fill(frame.image)[0][0].astype(np.uint8)
    finally:
        source.close()


def _read_arrays(
    file: Path, inputs: Mapping[str, TensorSpec], image: ImageInput | None
) -> Iterator[Sequences]:
    named = _load(file, inputs)
    if missing := inputs.keys() - named.keys():
        raise ConvertError(
            f"{file}: has no input {min(missing)!r}, only {', '.join(named)}; add it"
        )
    if image and image.dtype == "float32" and named[image.name].dtype == np.uint8:
        named[image.name] = normalise(named[image.name], image)  # pixels, as a camera gives them
    batches = {name: _sequences(file, named[name], spec) for name, spec in inputs.items()}
    if len({values.shape[:2] for values in batches.values()}) > 1:
        found = ", ".join(f"{name} {list(v.shape[:2])}" for name, v in batches.items())
        raise ConvertError(
            f"{file}: the inputs have different [sequences, steps], {found}; give all as many"
        )
    for parts in zip(*batches.values(), strict=True):
        yield dict(zip(batches, parts, strict=True))


def _load(file: Path, inputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """Return a file's arrays by input name."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ConvertError(
            f"{file}: is no numpy file, {error}; write it with numpy.save"
        ) from error
    if len(inputs) != 1:
        raise ConvertError(
            f"{file}: is one array, the model has the inputs {', '.join(inputs)}; "
            "give them by name in a .npz"
        )
    return dict.fromkeys(inputs, loaded)


def _sequences(file: Path, values: Array, spec: TensorSpec) -> Array:
    """Return (sequences, steps, 1, ...) of what a file holds for one input."""
    frame = spec.shape[1:]
    if values.shape[1:] in (frame, (1, *frame)):
        values = values[None]
    fits = values.ndim >= 2 and values.shape[2:] in (frame, (1, *frame)) and values.size
    if not fits:
        raise ConvertError(
            f"{file}: is {list(values.shape)}, input {spec.name!r} wants [steps, "
            f"{', '.join(map(str, frame))}] or several such sequences; save it in that shape"
        )
    if values.dtype.kind not in "fiub":
        raise ConvertError(f"{file}: holds {values.dtype}, no real numbers; save numbers")
    with np.errstate(over="ignore"):
        values = values.reshape(*values.shape[:2], *spec.shape).astype(spec.dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ConvertError(f"{file}: holds NaN, or values beyond {spec.dtype}; clean it")
    return values
