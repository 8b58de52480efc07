import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "mot"


def box(x, y=100.0, width=40.0, height=80.0):
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def follow(tracker, path, fps, start=0.0):
    """Update with the boxes `path(seconds)` for 2 s; return each frame's tracks."""
    times = [start + k / fps for k in range(2 * fps + 1)]
    return [tracker.update(path(t - start), captured_at=t) for t in times]


def test_a_detection_becomes_a_track_with_all_its_fields():
    tracker = DetectionTracker(label_names=["face"])
    (track,) = tracker.update([[10, 20, 50, 100]], [0.95], [0], 5.0)
    assert (track.id, track.label, track.status) == (1, "face", "confirmed")
    assert track.box == track.box_now == (10.0, 20.0, 50.0, 100.0)
    assert (track.score, track.presence, track.velocity) == (0.95, 0.95, (0.0, 0.0))
    assert [(e.type, e.id) for e in tracker.events] == [("new", 1)]


@pytest.mark.parametrize("fps", [7, 10, 30])
def test_one_trajectory_keeps_one_id_at_any_frame_rate(fps):
    frames = follow(DetectionTracker(), lambda t: [box(50 + 150 * t)], fps)
    assert {t.id for tracks in frames for t in tracks} == {1}
    assert frames[-1][0].velocity == pytest.approx((150.0, 0.0), abs=5.0)


def test_two_targets_that_cross_keep_their_ids():
    frames = follow(
        DetectionTracker(), lambda t: [box(50 + 100 * t), box(250 - 100 * t, 110.0)], 25
    )
    assert {t.id for tracks in frames for t in tracks} == {1, 2}
    assert frames[0][0].box[0] < frames[0][1].box[0]
    assert frames[-1][0].box[0] > frames[-1][1].box[0]


@pytest.mark.parametrize("fps", [10, 30])
def test_a_target_missing_for_half_a_second_comes_back_under_its_id(fps):
    tracker = DetectionTracker()
    frames = follow(tracker, lambda t: [] if 1.0 < t < 1.5 else [box(50 + 100 * t)], fps)
    assert {t.id for tracks in frames for t in tracks} == {1}
    assert [t.status for t in frames[round(1.25 * fps)]] == ["lost"]
    assert [t.status for t in frames[-1]] == ["confirmed"]


def test_events_tell_of_loss_and_return_once():
    tracker, seen = DetectionTracker(), []
    for k in range(30):
        tracker.update([] if 10 <= k < 15 else [box(100)], captured_at=k / 10)
        seen += [(e.type, k) for e in tracker.events]
    assert seen == [("new", 0), ("lost", 10), ("found", 15)]


def test_an_hour_without_frames_ends_all_tracks():
    tracker = DetectionTracker()
    tracker.update([box(100)], captured_at=0.0)
    (track,) = tracker.update([box(100)], captured_at=3600.0)
    assert [(e.type, e.id) for e in tracker.events] == [("end", 1), ("new", 2)]
    assert track.id == 2


@pytest.mark.parametrize("step", [0.0, -0.5, -3600.0])
def test_time_that_does_not_advance_is_no_time_passed(step):
    tracker = DetectionTracker()
    for k in range(5):
        tracker.update([box(100 + 4 * k)], captured_at=10 + k / 25)
    (track,) = tracker.update([box(118)], captured_at=10 + 4 / 25 + step)
    assert track.id == 1
    assert np.isfinite(track.box).all()
    assert track.box[0] == pytest.approx(97.0, abs=2.0)


def test_a_track_takes_only_detections_of_its_own_label():
    tracker = DetectionTracker(label_names=["person", "car"])
    tracker.update([box(100)], [0.95], [0], 0.0)
    tracks = tracker.update([box(100)], [0.95], [1], 0.1)
    assert [(t.id, t.label, t.status) for t in tracks] == [
        (1, "person", "lost"),
        (2, "car", "confirmed"),
    ]


def test_a_label_without_a_name_is_called_by_its_number():
    (track,) = DetectionTracker(label_names=["face"]).update([box(100)], None, [7], 0.0)
    assert track.label == "7"


def test_a_low_score_continues_a_track_but_begins_none():
    tracker = DetectionTracker()
    tracker.update([box(100)], [0.95], None, 0.0)
    tracks = tracker.update([box(101), box(300)], [0.2, 0.2], None, 0.1)
    assert [(t.id, t.status, t.score) for t in tracks] == [(1, "confirmed", 0.2)]


def test_a_low_score_takes_no_track_from_a_high_one():
    tracker = DetectionTracker()
    tracker.update([box(100)], [0.95], None, 0.0)
    (track,) = tracker.update([box(100), box(108)], [0.2, 0.9], None, 0.1)
    assert track.score == 0.9


@pytest.mark.parametrize(
    "bad",
    [
        [np.nan, 0, 10, 10],
        [0, 0, np.inf, 10],
        [-np.inf, 0, 10, 10],
        [10, 0, 0, 10],
        [5, 5, 5, 50],
        [np.inf, 0, np.inf, 10],
        [0, 0, 1e300, 1e300],
        [-1.7e308, 0, 1.7e308, 10],
    ],
)
def test_a_broken_box_is_dropped_and_counted(bad):
    tracker = DetectionTracker()
    (track,) = tracker.update([bad, box(100), bad], [0.9, 0.95, 0.9], None, 0.0)
    assert track.box == tuple(box(100))
    assert tracker.rejected == 2


def test_a_score_that_is_no_number_is_dropped_and_one_over_1_counts_as_1():
    tracker = DetectionTracker()
    (track,) = tracker.update([box(100), box(300)], [np.nan, 57.0], None, 0.0)
    assert (track.score, track.presence, tracker.rejected) == (1.0, 1.0, 1)


def test_a_box_outside_the_frame_is_tracked_like_any_other():
    (track,) = DetectionTracker().update([[-50, -60, -10, -20]], captured_at=0.0)
    assert track.box == (-50.0, -60.0, -10.0, -20.0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([box(1)], [0.5, 0.5]), r"detections: 1 boxes, scores of shape \(2,\)"),
        (([box(1)], None, [0, 1]), r"detections: 1 boxes.* labels of shape \(2,\) do not fit"),
        (([[0, 0, 5]],), r"boxes: the shape is \(1, 3\); give \(n, 4\)"),
        (([box(1), [1, 2]],), r"boxes: .* inhomogeneous .*; give \(n, 4\)"),
        (([1, 2, 3, 4],), r"boxes: the shape is \(4,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_one_clear_line(arrays, message):
    with pytest.raises(UsageError, match=message):
        DetectionTracker().update(*arrays, captured_at=0.0)


@pytest.mark.parametrize("time", [None, np.nan, np.inf])
def test_a_missing_time_is_one_clear_line(time):
    with pytest.raises(UsageError, match=r"captured_at: .* is no time"):
        DetectionTracker().update([], captured_at=time)


def test_nothing_for_hours_leaves_nothing_behind():
    tracker = DetectionTracker()
    tracker.update([box(100)], captured_at=0.0)
    for k in range(1, 5000):
        assert len(tracker.update([], captured_at=k * 3.0)) == 0
    assert len(tracker._table) == 0


def test_coasting_carries_confirmed_tracks_along_their_way():
    tracker = DetectionTracker()
    for k in range(20):
        tracker.update([box(100 + 10 * k)], captured_at=k / 10)
    (track,) = tracker.coast(2.0)
    assert (track.status, track.id) == ("confirmed", 1)
    assert track.box == pytest.approx(box(300), abs=2.0)
    assert track.presence < track.score


def test_box_now_is_carried_to_the_moment_of_emission():
    tracker = DetectionTracker()
    for k in range(20):
        tracker.update([box(100 + 10 * k)], captured_at=k / 10)
    (track,) = tracker.emit(at=2.1)
    assert track.box == pytest.approx(box(290), abs=1.0)
    assert track.box_now == pytest.approx(box(310), abs=2.0)


def test_a_label_without_a_threshold_is_one_clear_line():
    tracker = DetectionTracker(thresholds=[0.5])
    for label in (1, -1):
        with pytest.raises(UsageError, match=r"labels: from .* thresholds are given for 1"):
            tracker.update([box(100)], [0.9], [label], captured_at=0.0)


def settled(x=300.0, others=()):
    """A tracker whose track 1 stands at x, and one more track for each of `others`."""
    tracker = DetectionTracker()
    for k in range(5):
        tracker.update([box(x), *map(box, others)], captured_at=k / 30)
    return tracker


def test_a_lone_target_that_jumps_keeps_its_id():
    (track,) = settled().update([box(390)], captured_at=5 / 30)
    assert (track.id, track.status) == (1, "confirmed")
    assert track.box[0] == pytest.approx(370, abs=5)


def test_a_target_with_company_does_not_jump():
    tracks = settled(others=[380]).update([box(210), box(380)], captured_at=5 / 30)
    assert [(t.id, t.status) for t in tracks] == [
        (1, "lost"),
        (2, "confirmed"),
        (3, "confirmed"),
    ]


@pytest.mark.parametrize(
    ("found", "score", "at"),
    [(box(440), 0.9, 5 / 30), (box(390), 0.6, 5 / 30), (box(390), 0.9, 1.0),
     (box(390, width=100, height=200), 0.9, 5 / 30)],
    ids=["too far", "unsure", "too late", "another size"],
)  # fmt: skip
def test_what_cannot_be_the_lone_target_is_no_jump_of_it(found, score, at):
    tracks = settled().update([found], [score], captured_at=at)
    assert tracks[0].status == "lost"


def test_a_target_that_darts_is_followed_at_once():
    tracker = settled()
    (track,) = tracker.update([box(320)], captured_at=5 / 30)
    assert track.box[0] == pytest.approx(300, abs=2)


def test_scores_are_read_against_each_detectors_own_threshold():
    tracker = DetectionTracker(label_names=["timid", "bold"], thresholds=[0.3, 0.9])
    scores = [0.35, 0.25, 0.85, 0.95]
    boxes = [box(x) for x in (100, 300, 500, 700)]
    tracks = tracker.update(boxes, scores, [0, 0, 1, 1], captured_at=0.0)
    assert [(t.label, t.score) for t in tracks] == [("timid", 0.35), ("bold", 0.95)]


def test_a_second_look_takes_back_the_loss():
    tracker = DetectionTracker()
    for k in range(5):
        tracker.update([box(100 + 10 * k), box(400)], captured_at=k / 10)
    tracker.update([box(400)], captured_at=0.5)
    assert [e.type for e in tracker.events] == ["lost"]
    where = tracker.missed()
    assert where.boxes.tolist()[0] == pytest.approx(box(150), abs=3.0)
    tracks = tracker.look_again([box(150), box(400), box(700)], [0.3, 0.9, 0.9])
    assert [(t.id, t.status, t.score) for t in tracks] == [
        (1, "confirmed", 0.3),
        (2, "confirmed", 1.0),
    ]
    assert tracker.events == []


def test_a_second_look_finds_a_track_that_was_lost_before():
    tracker = DetectionTracker()
    tracker.update([box(100)], captured_at=0.0)
    tracker.update([], captured_at=0.1)
    tracker.update([], captured_at=0.2)
    tracker.look_again([box(100)])
    assert [(e.type, e.id) for e in tracker.events] == [("found", 1)]
    assert len(tracker.missed()) == 0


def test_settings_are_followed():
    tracker = DetectionTracker(TrackingSettings(birth_score=0.3, confirm_score=0.3))
    (track,) = tracker.update([box(100)], [0.4], None, 0.0)
    assert track.status == "confirmed"


numbers = st.floats(width=32) | st.floats(-2000, 2000)
frames = st.lists(
    st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers), max_size=6), max_size=12
)


@given(frames, st.lists(st.floats(-1, 4), min_size=12, max_size=12))
@settings(deadline=None, max_examples=80)
def test_no_input_makes_a_number_that_is_not_finite_or_an_id_twice(sequence, steps):
    tracker, now, ended = DetectionTracker(), 0.0, set()
    for rows, step in zip(sequence, steps, strict=False):
        now += step
        array = np.array(rows, float).reshape(-1, 5)
        tracks = tracker.update(array[:, :4], array[:, 4], None, now)
        ids = [t.id for t in tracks]
        assert len(set(ids)) == len(ids)
        assert ids == sorted(ids)
        assert not ended & set(ids)
        ended |= {e.id for e in tracker.events if e.type == "end"}
        for t in tracks:
            assert np.isfinite([*t.box, *t.box_now, *t.velocity, t.score]).all()
            assert 0 <= t.presence <= 1
            assert t.box[0] < t.box[2]
            assert t.box[1] < t.box[3]


def wandering(seed):
    random = np.random.default_rng(seed)
    at = random.uniform(100, 900, (6, 2))
    speed = random.normal(0, 80, (6, 2))
    for k in range(20):
        centre = at + speed * k / 20 + random.normal(0, 1, (6, 2))
        seen = random.random(6) < 0.85
        yield np.c_[centre - 25, centre + 25][seen], random.uniform(0.5, 1, 6)[seen]


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_the_order_of_detections_does_not_change_the_boxes(seed):
    straight, shuffled = DetectionTracker(), DetectionTracker()
    random = np.random.default_rng(seed)
    for k, (boxes, scores) in enumerate(wandering(seed)):
        order = random.permutation(len(boxes))
        a = straight.update(boxes, scores, None, k / 20)
        b = shuffled.update(boxes[order], scores[order], None, k / 20)
        first = np.array(sorted(t.box for t in a))
        assert first == pytest.approx(np.array(sorted(t.box for t in b)), abs=0.01)


def test_equal_input_gives_equal_output():
    first, second = DetectionTracker(), DetectionTracker()
    for k, frame in enumerate(wandering(3)):
        assert first.update(*frame, None, k / 20) == second.update(*frame, None, k / 20)


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not here")
@pytest.mark.skipif(importlib.util.find_spec("trackeval") is None, reason="needs trackeval")
def test_pedestrians_are_tracked_better_than_by_the_best_peer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    mot_eval = importlib.import_module("mot_eval")
    results = []
    for sequence in mot_eval.load_set(DATA, "tud"):
        tracker = DetectionTracker()
        found = [
            tracker.update(rows[:, :4], rows[:, 4], None, k / sequence.fps)
            for k, rows in enumerate(sequence.detections)
        ]
        confirmed = [[(t.id, *t.box) for t in f if t.status == "confirmed"] for f in found]
        results.append((sequence, confirmed))
    assert mot_eval.hota(results)["HOTA"] > 53.8
