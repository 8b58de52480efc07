"""The motion bundle that ships: it forecasts what targets do, whatever it is given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import bundle as bundles
from edge.config import TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.motion_lstm import GATE, open_motion
from edge.step import StepModel, replay_golden
from tests.conftest import call

SURE = np.array([0.9])


@pytest.fixture
def motion():
    return open_motion()


def at(x, y=100.0, width=40.0, height=80.0):
    """One box as a column: centre x, centre y, width, height."""
    return np.array([[x], [y], [width], [height]])


def seen(motion, xs, dt):
    """The state after a target was measured at every `dt` seconds."""
    state = motion.start(at(xs[0]), SURE)
    for x in xs[1:]:
        motion.predict(state, dt)
        motion.correct(state, at(x), None, SURE)
    return state


@pytest.mark.parametrize("fps", [5, 10, 30])
def test_a_target_at_an_even_pace_is_expected_where_it_will_be(motion, fps):
    state = seen(motion, 100 + 60 * np.arange(2 * fps) / fps, 1 / fps)  # about a size a second
    here = state[0, 0]
    motion.predict(state, 0.2)
    assert state[0, 0] - here == pytest.approx(12.0, abs=2.5)  # pixels; the target is 57 in size
    assert state[1:4, 0] == pytest.approx((100.0, 40.0, 80.0), rel=0.05)
    assert state[4:6, 0] == pytest.approx((60.0, 0.0), abs=12.0)


def test_jitter_is_not_taken_for_speed(motion):
    xs = 100 + np.random.default_rng(0).normal(0, 2, 60)
    state = seen(motion, xs, 1 / 30)
    motion.predict(state, 1 / 3)
    assert state[:4, 0] == pytest.approx((100.0, 100.0, 40.0, 80.0), rel=0.03)


def test_what_is_unseen_for_longer_is_less_certain(motion):
    state = seen(motion, np.full(10, 100.0), 0.1)
    reaches = []
    for _ in range(20):
        motion.predict(state, 0.1)
        reaches.append(float(motion.reach(state, np.array([0.0]))[0]))
    assert reaches == sorted(reaches)
    assert 0 < reaches[0] < reaches[-1] < 2 * GATE


def test_a_restless_target_is_less_certain_than_one_at_rest(motion):
    restless = seen(motion, 100 + 40 * np.random.default_rng(1).normal(size=30), 1 / 30)
    calm = seen(motion, np.full(30, 100.0), 1 / 30)
    for state in (restless, calm):
        motion.predict(state, 0.1)
    assert motion.reach(restless, SURE)[0] > 3 * motion.reach(calm, SURE)[0]


@pytest.mark.parametrize("count", [3, 70])
def test_many_tracks_in_one_batch_go_as_each_would_alone(motion, count):
    random = np.random.default_rng(2)
    boxes = random.uniform(20, 400, (4, count))
    scores = random.uniform(0.2, 1, count)
    state = motion.start(boxes, scores)
    alone = [motion.start(boxes[:, k : k + 1], scores[k : k + 1]) for k in range(count)]
    for step in range(1, 4):
        measured = boxes + step * random.uniform(-3, 3, boxes.shape)
        motion.predict(state, 0.05)
        motion.correct(state, measured, None, scores)
        for k, one in enumerate(alone):
            motion.predict(one, 0.05)
            motion.correct(one, measured[:, k : k + 1], None, scores[k : k + 1])
    np.testing.assert_allclose(state, np.concatenate(alone, axis=1), rtol=1e-4, atol=1e-3)


def test_only_what_was_seen_is_stepped(motion):
    state = motion.start(np.concatenate([at(100), at(300)], axis=1), np.array([0.9, 0.9]))
    motion.predict(state, 0.1)
    before = state.copy()
    measured = np.concatenate([at(110), at(999)], axis=1)
    motion.correct(state, measured, np.array([True, False]), np.array([0.9, 0.9]))
    assert np.array_equal(state[:, 1], before[:, 1])
    assert not np.array_equal(state[:, 0], before[:, 0])


def test_a_tracker_keeps_ids_through_a_crossing_and_a_gap():
    tracker, ids = DetectionTracker(TrackingSettings(motion="lstm")), set()
    for k in range(60):
        left, right = 50 + 4 * k, 290 - 4 * k
        boxes = [[left - 20, 60, left + 20, 140], [right - 20, 80, right + 20, 160]]
        kept = boxes if not 40 < k < 52 else boxes[:1]
        tracks = tracker.update(kept, captured_at=k / 25)
        ids |= {track.id for track in tracks}
    assert ids == {1, 2}
    assert [track.status for track in tracks] == ["confirmed", "confirmed"]
    assert tracks[0].box[0] > tracks[1].box[0]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6), st.floats(0.02, 1e6), st.floats(0.02, 1e6), st.floats(1e-9, 2.0)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_no_boxes_however_wild_make_a_state_that_is_not_finite(steps):
    motion = open_motion()
    state = motion.start(at(0.0), SURE)
    for x, width, height, dt in steps:
        motion.predict(state, dt)
        motion.correct(state, at(x, -x, width, height), None, SURE)
        assert np.isfinite(state).all()
        assert (state[2:4] > 0).all()


def test_the_bundle_that_ships_proves_itself():
    model = StepModel(bundles.load(bundles.find("motion")))
    manifest = model.manifest
    assert (manifest.kind, manifest.licence) == ("sequence", "Apache-2.0")
    assert manifest.state.scope == "per_track"
    assert replay_golden(model) <= manifest.golden.tolerance


@pytest.mark.parametrize("motion", ["lstm", "kalman"])
def test_associate_takes_either(tmp_path, motion):
    lines = [f"{k},-1,{100 + 5 * k},50,40,80,0.9,-1,-1,-1" for k in range(1, 11)]
    (tmp_path / "det.txt").write_text("\n".join(lines))
    code, out, _ = call("associate", tmp_path / "det.txt", "--fps", 10, "--motion", motion)
    rows = [line.split(",") for line in out.splitlines()]
    assert code == 0
    assert [row[1] for row in rows] == ["1"] * 10
    assert float(rows[-1][2]) == pytest.approx(150.0, abs=4.0)
