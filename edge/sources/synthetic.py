"""Made pictures whose truth is known: a virtual camera moves over a photograph with two faces."""

import math
import threading
from pathlib import Path
from urllib.parse import parse_qsl

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.sources.images import read_image
from edge.types import Box, Floats, Frame, Image

_PORTRAIT = Path(__file__).with_name("portrait.jpg")
_FACE = (225.0, 126.0, 104.0, 104.0)  # centre x, centre y, width, height in the photograph
_SCENE = (1000, 640)  # width, height
_FACES = {  # name -> centre x, centre y in the scene, scale, mirrored
    "left": (380.0, 250.0, 1.25, False),
    "right": (695.0, 300.0, 1.0, True),
}
_FEATHER = 0.18
_VIEW = (640, 480)  # width, height
_PERIOD_S = 10.0


class SyntheticPortrait:
    """640x480 pictures at 30 fps of two faces, each a pure function of index and seed.

    The camera pans, zooms, rolls and meets changing light; it returns to where it began every
    10 s. From about 5 s to 7 s the face `right` is out of view.
    """

    live = False
    fps = 30.0

    def __init__(self, frames: int = 300, seed: int = 0) -> None:
        """Make a source of so many frames; 0 never ends."""
        self.description = f"synthetic:portrait: RGB {_VIEW[0]}x{_VIEW[1]} at {self.fps:g} fps"
        self._frames = frames
        self._phases = np.random.default_rng(seed).uniform(0.0, math.tau, 5)  # (5,)
        self._scene = _paint_scene()
        self._index = 0
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end."""
        if self._closed.is_set() or (self._frames and self._index == self._frames):
            return None
        at = self._index / self.fps
        frame = Frame(self.image(self._index), self._index, at, "nominal", at)
        self._index += 1
        return frame

    def close(self) -> None:
        """End the source."""
        self._closed.set()

    def image(self, index: int) -> Image:
        """Paint the picture of one index."""
        seconds = index / self.fps
        view = cv2.warpAffine(
            self._scene, self._camera(seconds), _VIEW, borderMode=cv2.BORDER_REPLICATE
        )
        light = 0.9 + 0.15 * self._swing(4, seconds, 2)
        return np.asarray(cv2.convertScaleAbs(view, dst=view, alpha=light), np.uint8)

    def truth(self, index: int) -> list[tuple[str, Box]]:
        """Return name and box of each face of which at least half is in view.

        Boxes are as BlazeFace marks faces, brows to chin; they may reach beyond the picture.
        """
        camera = self._camera(index / self.fps)
        boxes = [(name, _seen_box(camera, name)) for name in _FACES]
        return [(name, box) for name, box in boxes if _visible_share(box) >= 0.5]

    def _camera(self, seconds: float) -> Floats:
        """Return the affine map (2, 3) from scene to picture."""
        away = math.exp(-((((seconds % _PERIOD_S) - 6.0) / 0.9) ** 4))
        zoom = 1.12 + 0.10 * self._swing(0, seconds, 1) + 0.04 * away
        roll = 4.0 * self._swing(1, seconds, 2)  # degrees
        x = 520.0 + 35.0 * self._swing(2, seconds, 3)
        x += (325.0 - x) * away
        y = 285.0 + 25.0 * self._swing(3, seconds, 2)
        camera = np.asarray(cv2.getRotationMatrix2D((x, y), roll, zoom), np.float64)
        camera[:, 2] += (_VIEW[0] / 2 - x, _VIEW[1] / 2 - y)
        return camera

    def _swing(self, which: int, seconds: float, times: int) -> float:
        """Swing between -1 and 1, so many times a period."""
        return math.sin(math.tau * times * seconds / _PERIOD_S + self._phases[which])


def open_synthetic(uri: str) -> SyntheticPortrait:
    """Open `synthetic:portrait`, with `?frames=N&seed=S` where wanted.

    Raises:
        UsageError: The name or an option is unknown, or a value is no number.
    """
    name, _, query = uri.removeprefix("synthetic:").partition("?")
    if name != "portrait":
        raise UsageError(f"{uri}: there is no synthetic source {name!r}; use synthetic:portrait")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for key, value in options.items():
        if key not in {"frames", "seed"} or not value.isdecimal():
            raise UsageError(f"{uri}: {key}={value} is no option here; use frames=N and seed=S")
    return SyntheticPortrait(int(options.get("frames", 300)), int(options.get("seed", 0)))


def _paint_scene() -> Image:
    """Lay the portrait and a mirrored copy on a blurred background, with soft edges."""
    photo = read_image(_PORTRAIT)
    mask = _soft_mask(photo.shape[0])
    scene = cv2.GaussianBlur(cv2.resize(photo, _SCENE), (0, 0), 25.0)
    for name in _FACES:
        placed = cv2.warpAffine(photo, _placement(name), _SCENE)
        share = cv2.warpAffine(mask, _placement(name), _SCENE)
        scene = cv2.blendLinear(placed, scene, share, 1.0 - share)
    return np.asarray(scene, np.uint8)


def _soft_mask(size: int) -> NDArray[np.float32]:
    """Return a square mask (size, size), 1 inside and fading to 0 at the edges."""
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]) / (_FEATHER * size)
    ramp = np.clip(ramp, 0.0, 1.0).astype(np.float32)
    return np.minimum.outer(ramp, ramp)


def _placement(name: str) -> Floats:
    """Return the affine map (2, 3) from the photograph to the scene."""
    x, y, scale, mirrored = _FACES[name]
    across = -scale if mirrored else scale
    return np.array([[across, 0.0, x - across * _FACE[0]], [0.0, scale, y - scale * _FACE[1]]])


def _seen_box(camera: Floats, name: str) -> Box:
    """Return a face's box in the picture; a roll turns the face but leaves its box upright."""
    x, y, scale, _ = _FACES[name]
    centre = camera @ (x, y, 1.0)
    zoom = math.hypot(camera[0, 0], camera[1, 0])
    half_width, half_height = zoom * scale * _FACE[2] / 2, zoom * scale * _FACE[3] / 2
    left, top = float(centre[0] - half_width), float(centre[1] - half_height)
    return left, top, left + 2 * half_width, top + 2 * half_height


def _visible_share(box: Box) -> float:
    left, top, right, bottom = box
    width = min(right, _VIEW[0]) - max(left, 0.0)
    height = min(bottom, _VIEW[1]) - max(top, 0.0)
    return max(width, 0.0) * max(height, 0.0) / ((right - left) * (bottom - top))
