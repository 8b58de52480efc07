"""What several tests need: models, private data where there is any, detectors without a network."""

import json
import os
import shutil
import subprocess
import sys
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


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
ENTRY = """import sys
for name in {!r}: sys.modules[name] = None
import edge.cli
sys.exit(edge.cli.main())"""


def start(*words, without=(), env=None, entry=ENTRY, **options):
    """Start a command, as if the packages `without` were not installed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    code = [sys.executable, "-c", entry.format(without)]
    return subprocess.Popen([*code, *map(str, words)], env=ENVIRONMENT | (env or {}), **pipes)


def call(*words, **options):
    process = start(*words, **options)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def refusal(*words, **options):
    """The exit code, what was printed before, and the one line of a refusal."""
    code, out, err = call(*words, **options)
    lines = [line for line in err.splitlines() if line.startswith("edgetrack: ")]
    assert len(lines) == 1
    return code, out, lines[0]


def changed(tmp_path, name, change):
    """A copy of one of the bundles for tests with another manifest."""
    folder = shutil.copytree(MODELS / name, tmp_path / "model", dirs_exist_ok=True)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return folder


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


@pytest.fixture
def mounted(tmp_path):
    """Mounts a tmpfs of 64 kB; the test may ask for other options."""
    places = []

    def mount(options="size=64k"):
        place = tmp_path / f"mount{len(places)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a file system needs root and the right to mount")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def service(tmp_path):
    """A live run with all that a service manager gives it; the test starts it."""
    from tests.process_case import Service

    service = Service(tmp_path)
    yield service
    service.end()


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
