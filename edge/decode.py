"""From a network's raw outputs to detections: one function per head family, then suppression.

Boxes leave this module in input pixels. Every function first drops what is under the score
threshold and only then computes boxes, so that an empty frame costs next to nothing.
"""

import math
from collections.abc import Callable, Mapping
from typing import assert_never

import cv2
import numpy as np

from edge.errors import BundleError
from edge.manifest import Blazeface, Classes, Decode, Ssd, TargetBox, Values, Yolox, Yunet
from edge.types import Array, Detections, Floats, TensorSpec

_MOST_CANDIDATES = 400  # before suppression; a crowd has fewer, a broken network has thousands
_EXP_LIMIT = 20.0  # larger codes come from broken networks only; exp() of them stays finite

Outputs = Mapping[str, Array]
Head = Callable[[Outputs], Detections]


def head(spec: Decode, size: tuple[int, int], threshold: float) -> Head:
    """Return the function that decodes one bundle's outputs; anchors are computed here, once.

    Args:
        spec: The manifest's decode part.
        size: Height and width of the network's input in pixels.
        threshold: Detections under this score are dropped.

    Returns:
        Real-valued outputs by name, batch of one, to detections in input pixels.

    Raises:
        BundleError: It is the head of no detector.
    """
    match spec:
        case Blazeface():
            anchors = blazeface_anchors(spec.layers, size)
            return lambda outputs: blazeface(outputs, spec, anchors, threshold)
        case Yunet():
            return lambda outputs: yunet(outputs, spec, size, threshold)
        case Yolox():
            grid = yolox_grid(spec.strides, size)
            return lambda outputs: yolox(outputs, spec, grid, threshold)
        case Ssd():
            anchors = ssd_anchors(spec, size)
            return lambda outputs: ssd(outputs, spec, anchors, threshold)
        case Classes() | Values() | TargetBox():
            family = type(spec).__name__.lower()
            raise BundleError(
                f"decode {family}: gives no detections; use the bundle as a step model"
            )
        case _:
            assert_never(spec)


def head_outputs(spec: Decode, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the outputs a head needs, name to shape; -1 is any number."""
    match spec:
        case Blazeface():
            rows = sum(cells * cells * anchors for cells, anchors in spec.layers)
            return {spec.boxes: (1, rows, 16), spec.scores: (1, rows, 1)}
        case Yunet():
            cells = {s: (size[0] // s) * (size[1] // s) for s in spec.strides}
            parts = {"cls": 1, "obj": 1, "bbox": 4}
            return {f"{p}_{s}": (1, n, c) for s, n in cells.items() for p, c in parts.items()}
        case Yolox():
            return {
                spec.output: (1, sum((size[0] // s) * (size[1] // s) for s in spec.strides), -1)
            }
        case Ssd(layers=()):
            return {spec.boxes: (1, -1, 4), spec.scores: (1, -1), spec.classes: (1, -1)}
        case Ssd():
            rows = sum(y.cells[0] * y.cells[1] * len(y.sizes) for y in spec.layers)
            return {spec.boxes: (1, rows, 4), spec.scores: (1, rows, -1)}
        case _:
            return {}


def real(value: Array, spec: TensorSpec) -> Array:
    """Return the real values of a stored tensor; one that holds real values comes back as it is."""
    if not spec.scale:
        return value
    return (value.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)


def blazeface(outputs: Outputs, spec: Blazeface, anchors: Floats, threshold: float) -> Detections:
    """Decode MediaPipe's BlazeFace (tflite_tensors_to_detections_calculator.cc).

    Args:
        outputs: Boxes (1, n, 16): centre, size, then six key points; scores (1, n, 1) logits.
        spec: Names of the outputs.
        anchors: (n, 2) cell centres in input pixels.
        threshold: Of the score.
    """
    logits = outputs[spec.scores].reshape(-1)
    rows = (logits > _logit(threshold)).nonzero()[0]
    codes = outputs[spec.boxes].reshape(len(logits), -1).take(rows, axis=0)
    boxes = _corners(codes[:, :2] + anchors.take(rows, axis=0), codes[:, 2:4])
    labels = np.zeros(len(rows), np.int64)
    return Detections(boxes, _sigmoid(logits.take(rows)), labels)


def yunet(outputs: Outputs, spec: Yunet, size: tuple[int, int], threshold: float) -> Detections:
    """Decode YuNet (OpenCV's FaceDetectorYN).

    Args:
        outputs: For every stride s: cls_s and obj_s (1, n, 1) in 0..1, bbox_s (1, n, 4).
        spec: The strides.
        size: Height and width of the input.
        threshold: Of the score, the geometric mean of cls and obj.
    """
    boxes, scores = [], []
    for stride in spec.strides:
        shares = outputs[f"cls_{stride}"].clip(0, 1) * outputs[f"obj_{stride}"].clip(0, 1)
        shares = shares.reshape(-1)
        rows = np.flatnonzero(shares > threshold * threshold)
        cells = np.stack([rows % (size[1] // stride), rows // (size[1] // stride)], axis=1)
        codes = outputs[f"bbox_{stride}"].reshape(-1, 4)[rows].astype(np.float64)
        boxes.append(_corners((cells + codes[:, :2]) * stride, _exp(codes[:, 2:]) * stride))
        scores.append(np.sqrt(shares[rows]).astype(np.float64))
    score = np.concatenate(scores)
    return Detections(np.concatenate(boxes), score, np.zeros(len(score), np.int64))


def yolox(outputs: Outputs, spec: Yolox, grid: Floats, threshold: float) -> Detections:
    """Decode YOLOX (Ge et al. 2021, arXiv 2107.08430).

    Args:
        outputs: One (1, n, 5 + classes): centre, size, objectness, class scores.
        spec: The name of the output.
        grid: (n, 3) column, row and stride of every cell.
        threshold: Of objectness times class score.
    """
    rows = outputs[spec.output].reshape(len(grid), -1)
    likely = np.flatnonzero(rows[:, 4] > threshold)  # the product cannot be larger
    labels = rows[likely, 5:].argmax(axis=1)
    scores = rows[likely, 4] * rows[likely, 5 + labels]
    keep = scores > threshold
    codes, cells = rows[likely[keep], :4].astype(np.float64), grid[likely[keep]]
    stride = cells[:, 2:]
    boxes = _corners((codes[:, :2] + cells[:, :2]) * stride, _exp(codes[:, 2:]) * stride)
    return Detections(boxes, scores[keep].astype(np.float64), labels[keep].astype(np.int64))


def ssd(outputs: Outputs, spec: Ssd, anchors: Floats, threshold: float) -> Detections:
    """Decode SSD (Liu et al. 2016, arXiv 1512.02325), raw or decoded inside the network.

    Args:
        outputs: Boxes (1, n, 4) and scores (1, n, classes), or what
            TFLite_Detection_PostProcess gives.
        spec: Names and codings.
        anchors: (n, 4) centre x, centre y, width, height in input pixels; where the network
            decodes, one row with the input's width and height.
        threshold: Of the best class score.
    """
    if not spec.layers:
        return _ssd_decoded(outputs, spec, anchors[0, 2:], threshold)
    classes = outputs[spec.scores].reshape(len(anchors), -1)[:, int(spec.background) :]
    best = classes.argmax(axis=1)
    scores = classes[np.arange(len(best)), best]
    limit = _logit(threshold) if spec.score_coding == "logit" else threshold
    rows = np.flatnonzero(scores > limit)
    order = [1, 0, 3, 2] if spec.box_order == "yxhw" else [0, 1, 2, 3]
    codes = outputs[spec.boxes].reshape(len(anchors), 4)[rows] / np.array(spec.box_scale)
    codes, anchor = codes[:, order], anchors[rows]
    centre = codes[:, :2] * anchor[:, 2:] + anchor[:, :2]
    boxes = _corners(centre, _exp(codes[:, 2:]) * anchor[:, 2:])
    share = _sigmoid(scores[rows]) if spec.score_coding == "logit" else scores[rows]
    return Detections(boxes, share.astype(np.float64), best[rows].astype(np.int64))


def _ssd_decoded(outputs: Outputs, spec: Ssd, size: Floats, threshold: float) -> Detections:
    scores = outputs[spec.scores].reshape(-1)
    count = int(outputs[spec.count].reshape(-1)[0]) if spec.count else len(scores)
    rows = np.flatnonzero(scores[:count] > threshold)
    shares = outputs[spec.boxes].reshape(-1, 4)[rows][:, [1, 0, 3, 2]].astype(np.float64)
    labels = outputs[spec.classes].reshape(-1)[rows].astype(np.int64)
    return Detections(shares * np.tile(size, 2), scores[rows].astype(np.float64), labels)


def suppress(detections: Detections, iou: float) -> Detections:
    """Keep the best of overlapping detections of one label, best first.

    Args:
        detections: In any order.
        iou: Overlap beyond which the lower score goes.
    """
    sound = np.isfinite(detections.boxes), np.isfinite(detections.scores)
    if not (sound[0].all() and sound[1].all()):
        detections = detections[sound[0].all(axis=1) & sound[1]]
    if len(detections) < 2:
        return detections
    boxes = detections.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]
    scores, labels = detections.scores.tolist(), detections.labels.tolist()
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores, labels, 0.0, iou, top_k=_MOST_CANDIDATES)
    return detections[np.array(kept, np.int64)]


def blazeface_anchors(layers: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Floats:
    """Return cell centres (n, 2) x, y in input pixels, rows as the network orders them."""
    return np.concatenate(
        [np.repeat(_centres((cells, cells), size), anchors, axis=0) for cells, anchors in layers]
    )


def yolox_grid(strides: tuple[int, ...], size: tuple[int, int]) -> Floats:
    """Return column, row and stride (n, 3) of every cell, rows as the network orders them."""
    parts = []
    for stride in strides:
        rows, columns = np.indices((size[0] // stride, size[1] // stride))
        parts.append(np.stack([columns, rows, np.full_like(rows, stride)], axis=-1).reshape(-1, 3))
    return np.concatenate(parts).astype(np.float64)


def ssd_anchors(spec: Ssd, size: tuple[int, int]) -> Floats:
    """Return anchors (n, 4) centre x, centre y, width, height in input pixels."""
    width_height = np.array([size[1], size[0]], np.float64)
    if not spec.layers:
        return np.array([[0, 0, *width_height]])
    parts = []
    for layer in spec.layers:
        centres = np.repeat(_centres(layer.cells, size), len(layer.sizes), axis=0)
        cells = layer.cells[0] * layer.cells[1]
        sizes = np.tile(np.array(layer.sizes) * width_height, (cells, 1))
        parts.append(np.concatenate([centres, sizes], axis=1))
    return np.concatenate(parts)


def _centres(cells: tuple[int, int], size: tuple[int, int]) -> Floats:
    rows, columns = np.indices(cells)
    x = (columns + 0.5) / cells[1] * size[1]
    y = (rows + 0.5) / cells[0] * size[0]
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def _corners(centre: Floats, size: Floats) -> Floats:
    half = size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _exp(codes: Floats) -> Floats:
    return np.exp(np.minimum(codes, _EXP_LIMIT))


def _logit(share: float) -> float:
    share = min(max(share, 1e-9), 1 - 1e-9)
    return math.log(share / (1 - share))


def _sigmoid(logits: Array) -> Floats:
    """Return shares of logits that are greater than some `_logit`, so that exp() stays finite."""
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
