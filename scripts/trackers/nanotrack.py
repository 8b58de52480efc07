"""NanoTrack v2 as a follower: its two networks in ONNX Runtime, its crops and rules here.

It follows the published tracker (HonglinChu/SiamTrackers, NanoTrack, Apache-2.0) to the rounding of
its crops; OpenCV's TrackerNano is a variant (another search size, colour order and penalty).
"""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge.follower import Followed
from edge.types import Box, Floats, Image

BACKBONE = "nanotrackv2_nanotrack_backbone_sim.onnx"
HEAD = "nanotrackv2_nanotrack_head_sim.onnx"
_TEMPLATE_PX, _SEARCH_PX = 127, 255
_CELLS, _STRIDE_PX = 16, 16
_PENALTY, _WINDOW, _RATE = 0.138, 0.455, 0.348
_SMALLEST_PX = 10.0


class NanoTrack:
    """Keeps the features of the first picture; the box follows the best cell of each search."""

    name = "NanoTrack v2"

    def __init__(self, folder: Path) -> None:
        """Load both networks; the backbone twice, for it declares the size of its picture."""
        self._template_net = _session(_resized(folder / BACKBONE, _TEMPLATE_PX, 8))
        self._search_net = _session((folder / BACKBONE).read_bytes())
        self._head = _session((folder / HEAD).read_bytes())
        hann = np.hanning(_CELLS)
        self._window = np.outer(hann, hann).ravel()
        cells = (np.arange(_CELLS) - _CELLS // 2) * _STRIDE_PX
        self._points = np.stack(np.meshgrid(cells, cells)).reshape(2, -1)  # (2, cells^2) x, y

    def start(self, image: Image, box: Box, captured_at: float) -> None:  # noqa: ARG002
        """Take the template."""
        left, top, right, bottom = box
        self._size = np.array([right - left, bottom - top])
        self._centre = np.array([left + right - 1, top + bottom - 1]) / 2  # pixel centres are whole
        self._around = image.mean(axis=(0, 1)).astype(np.uint8)
        crop = self._crop(image, round(_context(self._size)), _TEMPLATE_PX)
        self._template = self._template_net.run(None, {"input": crop})[0]  # (1, 48, 8, 8)

    anchor = start

    def step(self, image: Image, captured_at: float) -> Followed:  # noqa: ARG002
        """Search around the last box."""
        side = _context(self._size)
        scale = _TEMPLATE_PX / side
        crop = self._crop(image, round(side * _SEARCH_PX / _TEMPLATE_PX), _SEARCH_PX)
        features = self._search_net.run(None, {"input": crop})[0]  # (1, 48, 16, 16)
        feed = {"input1": self._template, "input2": features}
        classes, distances = self._head.run(None, feed)  # (1, 2, 16, 16), (1, 4, 16, 16)
        score = _softmax(classes.reshape(2, -1))  # (256,)
        low = self._points - distances.reshape(4, -1)[:2]  # (2, 256)
        high = self._points + distances.reshape(4, -1)[2:]  # (2, 256)
        penalty = self._penalty(high - low, self._size * scale)  # (256,)
        best = int(np.argmax(penalty * score * (1 - _WINDOW) + self._window * _WINDOW))
        rate = penalty[best] * score[best] * _RATE
        found = (high[:, best] - low[:, best]) / scale
        limits = np.array([image.shape[1], image.shape[0]], np.float64)
        self._centre = self._centre + (low[:, best] + high[:, best]) / 2 / scale
        self._centre = np.clip(self._centre, 0, limits)
        self._size = np.clip(self._size * (1 - rate) + found * rate, _SMALLEST_PX, limits)
        left, top = map(float, self._centre - self._size / 2)
        right, bottom = map(float, self._centre + self._size / 2)
        return Followed((left, top, right, bottom), float(score[best]))

    def _penalty(self, size: Floats, before: Floats) -> Floats:
        """Return what each cell (2, 256) keeps of its score for changing size and shape."""
        area = _change(_context(size) / _context(before))
        shape = _change((before[0] / before[1]) / (size[0] / size[1]))
        return np.exp(-(shape * area - 1) * _PENALTY)

    def _crop(self, image: Image, side: int, pixels: int) -> NDArray[np.float32]:
        """Return (1, 3, pixels, pixels) BGR 0..255 around the centre; the mean lies around it."""
        left, top = np.floor(self._centre - (side + 1) / 2 + 0.5).astype(int)
        height, width = image.shape[:2]
        inside = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
        above, below = max(-top, 0), max(top + side - height, 0)
        ahead, behind = max(-left, 0), max(left + side - width, 0)
        patch = cv2.copyMakeBorder(
            inside, above, below, ahead, behind, cv2.BORDER_CONSTANT, value=self._around.tolist()
        )
        patch = cv2.resize(patch, (pixels, pixels))
        return np.ascontiguousarray(patch[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)


def _context(size: Floats) -> Floats:
    """Return the side of the square that holds a target and half of its mean side around it."""
    margin = (size[0] + size[1]) / 2
    return np.sqrt((size[0] + margin) * (size[1] + margin))


def _change(ratio: Floats) -> Floats:
    return np.maximum(ratio, 1 / ratio)


def _softmax(classes: Floats) -> Floats:
    """Return the share of the second of two classes (2, n)."""
    return 1 / (1 + np.exp(classes[0] - classes[1]))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _resized(path: Path, pixels: int, cells: int) -> bytes:
    """Return the backbone for another picture; it is convolutions, so only the header says 255."""
    model = onnx.load(path)
    for tensor, size in ((model.graph.input[0], pixels), (model.graph.output[0], cells)):
        for axis in tensor.type.tensor_type.shape.dim[2:]:
            axis.dim_value = size
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())
