"""A recurrent motion model in place of the Kalman filter, on a stand-in whose answers are known."""

import numpy as np
import pytest

from edge.backends import available
from edge.bundle import save
from edge.config import TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.errors import BundleError
from edge.manifest import Manifest, StateSpec, StateTensor, TensorInput, TensorOutput
from edge.motion_lstm import MotionLSTM, open_motion
from edge.step import load_step
from tests.conftest import ENVIRONMENT, refusal

pytest.importorskip("onnx", reason="needs onnx")
if "onnx" not in available():
    pytest.skip("needs onnxruntime", allow_module_level=True)

from tests.tracker_models import HORIZONS_S, model

# The speed is the mean of the last step's and of what was known; the box goes on with it.
STEP = """<ir_version: 8, opset_import: ["" : 17]>
step (float[n,6] motion, float[n,2] speed) => (float[n,5,6] forecast, float[n,2] next_speed) {
    dt, move, rest = Split <axis: int = 1> (motion, parts)
    lapse = Max (dt, shortest)
    fresh = Div (move, lapse)
    both = Add (fresh, speed)
    next_speed = Mul (both, half)
    column = Unsqueeze (next_speed, one)
    ahead = Mul (column, horizons)
    sized = Pad (ahead, two_more)
    forecast = Pad (sized, two_more, sure)
}"""
FPS = 10.0


@pytest.fixture
def bundle(tmp_path):
    integers = {"parts": [1, 2, 3], "one": [1], "two_more": [0, 0, 0, 0, 0, 2]}
    numbers = {"shortest": 1e-3, "half": 0.5, "horizons": np.array(HORIZONS_S)[None, :, None]}
    network = model(STEP, integers, numbers | {"sure": -2.0})
    speed = StateTensor(name="speed", input="speed", output="next_speed", shape=(-1, 2))
    manifest = Manifest(
        name="motion",
        version="1",
        licence="Apache-2.0",
        origin="a test",
        kind="sequence",
        inputs={"motion": TensorInput(shape=(-1, 6))},
        networks={"step": {"onnx": "step.onnx"}},
        state=StateSpec(scope="per_track", tensors=(speed,)),
        outputs={"forecast": TensorOutput(shape=(-1, 5, 6))},
    )
    save(manifest, {"step.onnx": network}, tmp_path / "motion")
    return tmp_path / "motion"


@pytest.fixture
def lstm(bundle, monkeypatch):
    """Settings that carry tracks with the stand-in, installed under its name."""
    monkeypatch.setenv("EDGETRACK_MODELS", str(bundle.parent))
    return TrackingSettings(motion="lstm")


def box(frame, speed=120.0, top=40.0):
    left = 10.0 + speed * frame / FPS
    return (left, top, left + 40.0, top + 40.0)


def run(tracker, frames, boxes):
    return [tracker.update(boxes(frame), captured_at=frame / FPS) for frame in frames]


def test_a_track_keeps_its_id_and_its_way_through_a_gap(lstm):
    tracker = DetectionTracker(lstm)
    run(tracker, range(12), lambda f: [box(f)])
    lost = run(tracker, range(12, 16), lambda _: [])
    left, _, right, _ = lost[-1][0].box
    assert (left + right) / 2 == pytest.approx(
        10 + 120 * 1.5 + 20, abs=13
    )  # the last horizon but one
    [[found]] = run(tracker, [16], lambda f: [box(f)])
    assert (found.id, found.status) == (1, "confirmed")


def test_velocity_and_the_box_at_emission_come_from_the_forecast(lstm):
    tracker = DetectionTracker(lstm)
    [track] = run(tracker, range(20), lambda f: [box(f)])[-1]
    assert track.velocity[0] == pytest.approx(120, rel=0.01)
    [later] = tracker.emit(1.9 + 0.1)
    assert later.box_now[0] - later.box[0] == pytest.approx(12, abs=0.2)


def test_two_trackers_on_one_model_do_not_share_a_memory(lstm):
    alone = run(DetectionTracker(lstm), range(8), lambda f: [box(f)])
    one, other = DetectionTracker(lstm), DetectionTracker(lstm)
    for frame in range(8):
        mixed = one.update([box(frame)], captured_at=frame / FPS)
        other.update([box(frame, -60.0)], captured_at=frame / FPS)
        assert mixed == alone[frame]


def test_tracks_are_stepped_together_as_each_alone(lstm):
    both = run(DetectionTracker(lstm), range(8), lambda f: [box(f), box(f, 60.0, 200.0)])
    alone = run(DetectionTracker(lstm), range(8), lambda f: [box(f, 60.0, 200.0)])
    assert both[-1][1].box == pytest.approx(alone[-1][0].box, abs=1e-3)


def test_time_that_stands_still_moves_nothing(lstm):
    tracker = DetectionTracker(lstm)
    run(tracker, range(6), lambda f: [box(f)])
    [track] = tracker.update([box(5)], captured_at=0.5)
    assert np.isfinite(track.box).all()


def test_a_bundle_that_is_none_is_one_line(tmp_path, monkeypatch):
    detections = tmp_path / "det.txt"
    detections.write_text("1,-1,10,10,40,40,0.9\n")
    (tmp_path / "motion").mkdir()  # the user's own, before the one that ships
    (tmp_path / "motion" / "manifest.json").write_text("{}")
    monkeypatch.setitem(ENVIRONMENT, "EDGETRACK_MODELS", str(tmp_path))
    words = ("associate", detections, "--fps", "10", "--motion", "lstm", "--out", tmp_path / "o")
    code, _, line = refusal(*words)
    assert code == BundleError.exit_code
    assert "format is None" in line
    with pytest.raises(BundleError, match="nowhere: no such model"):
        open_motion("nowhere")


def test_a_model_of_something_else_is_refused():
    with pytest.raises(BundleError, match="a model of motion from"):
        MotionLSTM(load_step("face"))
