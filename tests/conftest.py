"""What several tests need: models, private data where there is any, detectors without a network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge.backends import available
from edge.detector import Detector
from edge.types import Detections, Frame

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests" / "models"
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    """Real video and models that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("needs the development data beside the checkout")
    return SHARED


@pytest.fixture
def needs_onnx() -> None:
    if "onnx" not in available():
        pytest.skip("needs onnxruntime")


class ScriptedDetector(Detector):
    """Says of each frame in turn what it was told to say; remembers what it was shown."""

    def __init__(self, script: Sequence[Detections], labels: tuple[str, ...] = ("thing",)) -> None:
        self.labels, self.close_up, self.score_threshold = labels, None, 0.5
        self._script = iter(script)
        self.shown: list[int] = []

    def detect(self, image, region=None):
        if region is not None:
            return Detections.none()
        self.shown.append(int(image[0, 0, 0]))
        return next(self._script)


@pytest.fixture
def one_box():
    return Detections(np.array([[10.0, 10.0, 30.0, 30.0]]), np.array([0.9]), np.array([0]))


def plain_frame(index: int, at: float, value: int = 100) -> Frame:
    """A 64x48 picture of one value, but for a pixel that tells frames apart."""
    image = np.full((48, 64, 3), value, np.uint8)
    image[0, 0] = index % 256
    image[::16, ::16] = (index * 7 + 50) % 256
    image[0, 0] = index % 256
    return Frame(image, index, at, "nominal", at)
