"""A tracker's tensors: what its two networks take and give, by name, and what that means.

The encoder looks at crops around where targets should be, and once at a target's own crop, whose
template is then kept with the target. The step compares the two and carries the state on. Whatever
the step takes beside these three is a state: `hidden` enters, `next_hidden` leaves.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from edge.manifest import ImageInput, TargetBox, TensorInput, TensorOutput
from edge.types import TensorSpec

IMAGE, FEATURES, TEMPLATE, MOTION = "image", "features", "template", "motion"
TARGET = "target"
"""In samples: the crop of the confirmed box itself, which the template is made of."""
ENCODED = (FEATURES, TEMPLATE)
"""What the encoder gives, in order."""
STEPPED = (FEATURES, TEMPLATE, MOTION)
"""What the step takes before its states, in order."""
SEEN = ("box", "presence", "forecast")
"""What the step gives before its states, in order."""
DECODE = TargetBox(box="box", presence="presence")
SHAPES: Mapping[str, tuple[int, ...]] = {
    IMAGE: (96, 96, 3),
    MOTION: (6,),
    "hidden": (64,),
    "cell": (64,),
}
"""Of one target, where nothing else is said."""

_EXPLAINED = {
    TEMPLATE: {
        "meaning": "what the encoder gives as `template` for the crop of the confirmed box itself, "
        "kept with the target"
    },
    MOTION: {
        "meaning": "dt in seconds since the last step; crop centre minus centre of the last box, x "
        "and y, in sizes; log of the crop's width and height in sizes; log of the box's width over "
        "its height; a size is the root of width * height of the last box"
    },
    "box": {
        "meaning": "the target: left, top, right, bottom",
        "units": "shares of the crop",
        "coding": "0..1 from edge to edge, may reach beyond",
    },
    "presence": {"meaning": "whether the target is in view", "units": "share", "coding": "0..1"},
    "forecast": {
        "meaning": "the box now and after 1/30, 1/10, 1/3 and 1 second, a row each, from `box`: "
        "centre x and y; log of width and height; log of the mean absolute deviation of the "
        "centre, and of the log sizes",
        "units": "sizes; log; log",
        "coding": "a size is the root of width * height of `box`",
    },
}
Tensor = TypeVar("Tensor", TensorInput, TensorOutput)


def explained(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a tracker's tensors with what each of them means."""
    replace = msgspec.structs.replace
    return {name: replace(tensor, **_EXPLAINED[name]) for name, tensor in tensors.items()}


def crop_input(image: TensorSpec, context: float, square: float) -> ImageInput:
    """Return how a target's crop becomes the encoder's input: pixels as they are."""
    height, width = image.shape[1:3]
    return ImageInput(
        name=IMAGE,
        size=(height, width),
        dtype="uint8",
        fit="crop",
        context=context,
        square=square,
    )


def sampled(inputs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Return what samples hold: the crop of the target in place of its template."""
    image = inputs[IMAGE]
    return {IMAGE: image, TARGET: TensorSpec(TARGET, image.shape, image.dtype)} | {
        name: spec for name, spec in inputs.items() if name not in (IMAGE, TEMPLATE)
    }
