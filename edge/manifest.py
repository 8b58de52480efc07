"""What a model bundle says of itself: the typed form of `manifest.json`, format 1."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

Kind = Literal["detector", "tracker", "sequence"]
Scope = Literal["per_track", "per_stream"]
Role = Literal["detector", "encoder", "step"]
NetworkFormat = Literal["tflite", "onnx"]
NAME = "[a-z0-9][a-z0-9._-]{0,63}"
"""What a bundle may be called: a plain folder name everywhere."""
VERSION = "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
"""What a version may be called, to be installed: it is part of a folder's name."""
QuantisationMode = Literal["none", "float16", "dynamic", "int8", "int16x8"]
Accepted = Literal["dead-state", "drift"]
"""What the converter can be told to let pass."""
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a manifest: an unknown key is an error, so that a typing mistake is found."""


class ImageInput(_Part, frozen=True, kw_only=True):
    """How a picture becomes the network's image tensor: value = (pixel - mean) * scale."""

    name: str
    size: tuple[int, int]
    """Height and width in pixels."""
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    colour: Literal["RGB", "BGR", "GREY"] = "RGB"
    """GREY is one channel, 0.299 R + 0.587 G + 0.114 B."""
    dtype: Literal["float32", "uint8", "int8"] = "float32"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Per channel, in the order of `colour`, in units of pixels (0..255); of GREY the first."""
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Literal["letterbox", "stretch", "crop"] = "letterbox"
    place: Literal["centre", "top-left"] = "centre"
    """Where a letterboxed picture stands."""
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    """The pixel value around a letterboxed picture."""
    context: float = 1.0
    """With `crop`: how many times the target's box, the root of the ratio of their areas."""
    square: Share = 0.0
    """With `crop`: 0 cuts a region of the box's shape, 1 a square, and a share between them: the
    region is as wide as context * w ** (1 - square) * s ** square, s the root of w * h, and as high
    likewise. In any case the network sees it in its own `size`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture's tensor without the batch: (h, w, channels) or (channels, h, w)."""
        channels = 1 if self.colour == "GREY" else 3
        return (*self.size, channels) if self.layout == "NHWC" else (channels, *self.size)


class TensorInput(_Part, frozen=True, kw_only=True):
    """An input that is no picture and no state: a template, motion."""

    shape: tuple[int, ...]
    """A dimension of -1 is free."""
    dtype: str = "float32"
    meaning: str = ""


class TensorOutput(_Part, frozen=True, kw_only=True):
    """An output that is no state."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    meaning: str = ""
    units: str = ""
    coding: str = ""


class StateTensor(_Part, frozen=True, kw_only=True):
    """One state tensor of the step network, bound by its two names."""

    name: str
    input: str
    output: str
    shape: tuple[int, ...]
    """With -1 where rows of several tracks are batched."""
    dtype: str = "float32"
    initial: float = 0.0
    """The real value that every element starts with."""


class StateSpec(_Part, frozen=True, kw_only=True):
    """The state of a step model: to whom it belongs and when it starts anew."""

    scope: Scope
    tensors: tuple[StateTensor, ...]
    reset_after_gap_s: float = 0.0
    """A gap in capture longer than this starts a new state; 0 never does."""


class _Detections(_Part, frozen=True, kw_only=True):
    score_threshold: Share = 0.5
    nms_iou: Share = 0.3


class Blazeface(_Detections, frozen=True, kw_only=True, tag_field="family", tag="blazeface"):
    """MediaPipe BlazeFace: offsets to unit anchors, in pixels of the input; logits."""

    boxes: str = "regressors"
    scores: str = "classificators"
    layers: tuple[tuple[int, int], ...]
    """(cells a side, anchors a cell), in the order of the output's rows."""


class Yunet(_Detections, frozen=True, kw_only=True, tag_field="family", tag="yunet"):
    """YuNet (2022 and later): outputs cls_S, obj_S, bbox_S for every stride S, scores in 0..1."""

    strides: tuple[int, ...] = (8, 16, 32)


class Yolox(_Detections, frozen=True, kw_only=True, tag_field="family", tag="yolox"):
    """YOLOX without its decode: rows cx, cy, w, h, objectness, classes; scores in 0..1."""

    output: str = "output"
    strides: tuple[int, ...] = (8, 16, 32)


class AnchorLayer(_Part, frozen=True, kw_only=True):
    """One feature map of an SSD network."""

    cells: tuple[int, int]
    """Rows and columns."""
    sizes: tuple[tuple[float, float], ...]
    """Width and height of every anchor of a cell, as shares of the input."""


class Ssd(_Detections, frozen=True, kw_only=True, tag_field="family", tag="ssd"):
    """SSD: either raw box codes over anchors, or boxes decoded inside the network.

    Without `layers` the network ends in TFLite_Detection_PostProcess: boxes are top, left,
    bottom, right in 0..1, `classes` and `count` stand beside the scores.
    """

    boxes: str
    scores: str
    classes: str = ""
    count: str = ""
    layers: tuple[AnchorLayer, ...] = ()
    box_order: Literal["yxhw", "xywh"] = "yxhw"
    box_scale: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """In `box_order`: centre = code / scale * anchor size + anchor centre,
    size = exp(code / scale) * anchor size."""
    score_coding: Literal["logit", "share"] = "logit"
    background: bool = False
    """True where class 0 means: nothing here."""


class Classes(_Part, frozen=True, kw_only=True, tag_field="family", tag="classes"):
    """One score a class and step (kind `sequence`)."""

    output: str
    score_coding: Literal["logit", "share"] = "share"


class Values(_Part, frozen=True, kw_only=True, tag_field="family", tag="values"):
    """Plain numbers each step (kind `sequence`)."""

    output: str


class TargetBox(_Part, frozen=True, kw_only=True, tag_field="family", tag="target_box"):
    """A box and a presence per target (kind `tracker`), in shares of its crop."""

    box: str
    """Left, top, right, bottom, 0..1 from edge to edge of the crop; it may reach beyond."""
    presence: str
    """0..1: whether the target is in view."""


Decode = Blazeface | Yunet | Yolox | Ssd | Classes | Values | TargetBox


class Quantisation(_Part, frozen=True, kw_only=True):
    """What was done to the numbers."""

    mode: QuantisationMode = "none"
    samples: str = ""
    """What the integer ranges were measured on."""


class Parity(_Part, frozen=True, kw_only=True):
    """How far one converted network is from its source, over `steps` steps."""

    steps: int
    max_error: float
    rms_error: float
    samples: str
    versions: dict[str, str] = {}


class Golden(_Part, frozen=True, kw_only=True):
    """A recording that a device replays to prove its own interpreter.

    The file is a numpy .npz: `inputs/NAME` and `outputs/NAME`, each (steps, ...), and `states/NAME`
    after the last step. A picture may be recorded as uint8 pixels in the input's layout; it is
    then normalised as the manifest says.
    """

    file: str
    steps: int
    tolerance: float
    """Largest absolute difference of any output or state."""


class Manifest(_Part, frozen=True, kw_only=True):
    """`manifest.json`, format 1."""

    format: Literal[1] = 1
    name: Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
    version: str
    licence: Annotated[str, msgspec.Meta(min_length=1)]
    origin: str
    kind: Kind
    labels: tuple[str, ...] = ()
    input: ImageInput | None = None
    inputs: dict[str, TensorInput] = {}
    networks: dict[Role, dict[NetworkFormat, str]]
    state: StateSpec | None = None
    outputs: dict[str, TensorOutput]
    decode: Decode | None = None
    close_up: str = ""
    """The bundle that looks closer at a region where this detector is unsure; empty: none."""
    quantisation: Quantisation = Quantisation()
    parity: dict[NetworkFormat, Parity] = {}
    accepted: tuple[Accepted, ...] = ()
    """What the converter was told to let pass."""
    golden: Golden | None = None
    sha256: dict[str, str] = {}

    @property
    def free_batch(self) -> bool:
        """Whether tensors hold a row for each of any number of tracks."""
        per_track = self.state is not None and self.state.scope == "per_track"
        return per_track or self.kind == "tracker"

    def files(self) -> Iterator[str]:
        """Yield the name of every file of the bundle but the manifest."""
        for formats in self.networks.values():
            yield from formats.values()
        if self.golden:
            yield self.golden.file
