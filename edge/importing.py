"""A user's own .tflite or .onnx detector becomes a bundle: tensors read from the file itself."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge.backends import Session, open_session
from edge.bundle import Bundle, save
from edge.decode import head_outputs
from edge.errors import BundleError
from edge.manifest import (
    AnchorLayer,
    Blazeface,
    Decode,
    Golden,
    ImageInput,
    Manifest,
    NetworkFormat,
    Ssd,
    TensorOutput,
    Yolox,
    Yunet,
)
from edge.preprocess import normalise
from edge.types import Array, TensorSpec, shapes_fit

Family = Literal["blazeface", "yunet", "yolox", "ssd"]

_GOLDEN_STEPS = 1
_GOLDEN_TOLERANCE = 1e-2
_BLAZEFACE_LAYERS = {896: ((16, 2), (8, 6)), 2304: ((48, 1),)}  # the networks MediaPipe published

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Pixels:
    """How a family's published networks want their pixels."""

    colour: Literal["RGB", "BGR"]
    mean: Channels
    scale: Channels
    fit: Literal["letterbox", "stretch"]
    place: Literal["centre", "top-left"]
    pad: int


_HALF = 127.5
PIXELS: dict[Family, Pixels] = {
    "blazeface": Pixels("RGB", (_HALF,) * 3, (1 / _HALF,) * 3, "letterbox", "centre", 0),
    "yunet": Pixels("BGR", (0.0,) * 3, (1.0,) * 3, "letterbox", "top-left", 0),
    "yolox": Pixels("BGR", (0.0,) * 3, (1.0,) * 3, "letterbox", "top-left", 114),
    "ssd": Pixels("RGB", (_HALF,) * 3, (1 / _HALF,) * 3, "stretch", "centre", 0),
}


@dataclass(frozen=True)
class Request:
    """What a file cannot say of itself."""

    name: str
    version: str
    licence: str
    origin: str
    labels: tuple[str, ...]
    family: Family
    pixels: Pixels
    size: tuple[int, int] | None
    """Height and width; needed only where the network takes any."""
    score_threshold: float
    nms_iou: float


def import_detector(file: Path, request: Request, folder: Path) -> Bundle:
    """Make a detector bundle of a network file and try it once.

    Args:
        file: .tflite or .onnx.
        request: Everything else.
        folder: Where the bundle goes; must not exist yet.

    Raises:
        BundleError: It is no model, or its tensors are not those of the decode family.
        BackendError: No interpreter for it is installed.
    """
    fmt = _format(file)
    session = open_session({fmt: file})
    image = _image_input(file, session, request)
    decode = _decode(file, session, request, image.size)
    _check_labels(file, session, decode, request.labels)
    golden, outputs = _recording(session, image)
    manifest = Manifest(
        name=request.name,
        version=request.version,
        licence=request.licence,
        origin=request.origin,
        kind="detector",
        labels=request.labels,
        input=image,
        networks={"detector": {fmt: file.name}},
        outputs=outputs,
        decode=decode,
        golden=Golden(file="golden.npz", steps=_GOLDEN_STEPS, tolerance=_GOLDEN_TOLERANCE),
    )
    return save(manifest, {file.name: file.read_bytes(), "golden.npz": golden}, folder)


def _format(file: Path) -> NetworkFormat:
    if not file.is_file():
        raise BundleError(f"{file}: there is no such file; name a .tflite or .onnx file")
    match file.suffix.lower():
        case ".tflite":
            return "tflite"
        case ".onnx":
            return "onnx"
        case suffix:
            raise BundleError(f"{file}: ends in {suffix!r}; give a .tflite or .onnx file")


def _image_input(file: Path, session: Session, request: Request) -> ImageInput:
    """Read name, layout, size and type of the network's one input."""
    if len(session.inputs) != 1:
        names = ", ".join(session.inputs)
        raise BundleError(f"{file}: has the inputs {names}; a detector takes one picture")
    (tensor,) = session.inputs.values()
    shape = tensor.shape
    channels_last = len(shape) == 4 and shape[3] == 3
    if len(shape) != 4 or not (channels_last or shape[1] == 3):
        raise BundleError(
            f"{file}: input {tensor.name!r} is {list(shape)}; "
            "a picture is [1, h, w, 3] or [1, 3, h, w]"
        )
    size = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
    if -1 in size:
        if request.size is None:
            raise BundleError(f"{file}: takes pictures of any size; say which with --size HxW")
        size = request.size
    elif request.size not in (None, size):
        raise BundleError(f"{file}: takes {size[0]}x{size[1]} pictures; leave --size out")
    if tensor.dtype not in ("float32", "uint8", "int8"):
        raise BundleError(f"{file}: takes {tensor.dtype} pixels; float32, uint8 or int8 are known")
    pixels = request.pixels
    return ImageInput(
        name=tensor.name,
        size=size,
        layout="NHWC" if channels_last else "NCHW",
        colour=pixels.colour,
        dtype=tensor.dtype,  # type: ignore[arg-type]  # one of three, as checked above
        mean=pixels.mean,
        scale=pixels.scale,
        fit=pixels.fit,
        place=pixels.place,
        pad=pixels.pad,
    )


def _decode(file: Path, session: Session, request: Request, size: tuple[int, int]) -> Decode:
    """Find the family's outputs among the network's and check their shapes."""
    decode = _HEADS[request.family](list(session.outputs.values()), request, size)
    if decode is not None:
        wanted = head_outputs(decode, size)
        if all(
            n in session.outputs and shapes_fit(s, session.outputs[n].shape)
            for n, s in wanted.items()
        ):
            return decode
    outputs = ", ".join(f"{t.name} {list(t.shape)}" for t in session.outputs.values())
    raise BundleError(
        f"{file}: its outputs are {outputs}; {request.family} networks of "
        f"{size[0]}x{size[1]} have others; choose another --decode or --size"
    )


def _blazeface(outputs: list[TensorSpec], request: Request, _: tuple[int, int]) -> Decode | None:
    boxes = [t for t in outputs if t.shape[-1:] == (16,)]
    scores = [t for t in outputs if t.shape[-1:] == (1,)]
    if len(boxes) != 1 or len(scores) != 1 or boxes[0].shape[1] not in _BLAZEFACE_LAYERS:
        return None
    return Blazeface(
        boxes=boxes[0].name,
        scores=scores[0].name,
        layers=_BLAZEFACE_LAYERS[boxes[0].shape[1]],
        score_threshold=request.score_threshold,
        nms_iou=request.nms_iou,
    )


def _yunet(outputs: list[TensorSpec], request: Request, _: tuple[int, int]) -> Decode | None:
    strides = sorted(
        int(t.name[4:]) for t in outputs if t.name.startswith("cls_") and t.name[4:].isdecimal()
    )
    if not strides:
        return None
    return Yunet(
        strides=tuple(strides),
        score_threshold=request.score_threshold,
        nms_iou=request.nms_iou,
    )


def _yolox(outputs: list[TensorSpec], request: Request, _: tuple[int, int]) -> Decode | None:
    if len(outputs) != 1:
        return None
    return Yolox(
        output=outputs[0].name,
        score_threshold=request.score_threshold,
        nms_iou=request.nms_iou,
    )


def _ssd(outputs: list[TensorSpec], request: Request, size: tuple[int, int]) -> Decode | None:
    """Tell decoded boxes (four outputs of TFLite_Detection_PostProcess) from raw codes (two)."""
    boxes = [t for t in outputs if len(t.shape) == 3 and t.shape[2] == 4]
    scores = [t for t in outputs if len(t.shape) == 3 and t.shape[2] != 4]
    if len(outputs) == 4 and len(boxes) == 1:
        # The operator's outputs have an order and no telling names: boxes, classes, scores, count.
        names = [t.name for t in outputs]
        return Ssd(
            boxes=names[0],
            classes=names[1],
            scores=names[2],
            count=names[3],
            score_threshold=request.score_threshold,
            nms_iou=request.nms_iou,
        )
    if len(boxes) != 1 or len(scores) != 1:
        return None
    return Ssd(
        boxes=boxes[0].name,
        scores=scores[0].name,
        layers=ssd_layers(size),
        background=scores[0].shape[2] == len(request.labels) + 1,
        score_threshold=request.score_threshold,
        nms_iou=request.nms_iou,
    )


_HEADS = {"blazeface": _blazeface, "yunet": _yunet, "yolox": _yolox, "ssd": _ssd}


def ssd_layers(
    size: tuple[int, int], lowest: float = 0.2, highest: float = 0.95
) -> tuple[AnchorLayer, ...]:
    """Return the anchors of the SSD MobileNet networks of TensorFlow's Object Detection API.

    Six maps of strides 16 to 512; the first has three anchors a cell, the others six (ratios 1, 2,
    1/2, 3, 1/3, and 1 at a size between this map's and the next's). Source:
    multiple_grid_anchor_generator.py, MediaPipe's ssd_anchors_calculator.cc.

    Args:
        size: Height and width of the input.
        lowest: Anchor size of the first map, as a share of the input.
        highest: Anchor size of the last.
    """
    strides = (16, 32, 64, 128, 256, 512)
    scales = [*np.linspace(lowest, highest, len(strides)), 1.0]
    layers = []
    for index, stride in enumerate(strides):
        scale, between = scales[index], math.sqrt(scales[index] * scales[index + 1])
        ratios = [(scale, 1.0), (scale, 2.0), (scale, 0.5), (scale, 3.0), (scale, 1 / 3)]
        pairs = (
            [(0.1, 1.0), (scale, 2.0), (scale, 0.5)] if index == 0 else [*ratios, (between, 1.0)]
        )
        sizes = tuple((s * math.sqrt(r), s / math.sqrt(r)) for s, r in pairs)
        cells = (math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        layers.append(AnchorLayer(cells=cells, sizes=sizes))
    return tuple(layers)


def _check_labels(file: Path, session: Session, decode: Decode, labels: tuple[str, ...]) -> None:
    match decode:
        case Yolox():
            classes = session.outputs[decode.output].shape[2] - 5
        case Ssd(layers=layers) if layers:
            classes = session.outputs[decode.scores].shape[2] - int(decode.background)
        case _:
            return
    if classes != len(labels):
        raise BundleError(
            f"{file}: knows {classes} classes, {len(labels)} labels are given; give one a class"
        )


def _recording(session: Session, image: ImageInput) -> tuple[bytes, dict[str, TensorOutput]]:
    """Run the network once on a made picture; return the .npz and what the outputs look like."""
    tensor = session.inputs[image.name]
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    smooth = np.asarray(
        cv2.resize(noise, image.size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8
    )
    pixels = smooth[None] if image.layout == "NHWC" else smooth.transpose(2, 0, 1)[None]
    value: Array = (
        normalise(pixels, image) if image.dtype == "float32" else pixels.astype(image.dtype)
    )
    results = session.run({tensor.name: value})
    stored = pixels if image.dtype == "float32" else value
    arrays = {f"inputs/{tensor.name}": stored[None]}
    arrays |= {f"outputs/{name}": result[None].copy() for name, result in results.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stubs forget names as keys
    outputs = {n: TensorOutput(shape=r.shape, dtype=r.dtype.name) for n, r in results.items()}
    return file.getvalue(), outputs
