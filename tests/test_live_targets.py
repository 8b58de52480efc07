"""Tracks that are followed by their pictures: between looks, through doubt, or with no detector."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge import bench
from edge import bundle as bundles
from edge.backends import available
from edge.cli import main
from edge.config import DetectionSettings, TrackingSettings
from edge.errors import UsageError
from edge.live_targets import LiveTargets
from edge.recurrent import RecurrentTracker
from edge.tracker import Tracker
from edge.types import Detections, Frame
from tests.conftest import ScriptedDetector

if "onnx" not in available():
    pytest.skip("needs onnxruntime", allow_module_level=True)

from tests import tracker_models

FPS = 30.0
SIZE = 40


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    return tracker_models.write(tmp_path_factory.mktemp("models") / "bright")


@pytest.fixture
def recurrent(bright):
    return RecurrentTracker(bright)


def box_at(x, y):
    return (x - SIZE / 2, y - SIZE / 2, x + SIZE / 2, y + SIZE / 2)


def frame(number, *targets, at=None, shape=(240, 320)):
    """Squares at (x, y, brightness) on black."""
    image = np.zeros((*shape, 3), np.uint8)
    for x, y, value in targets:
        image[y - SIZE // 2 : y + SIZE // 2, x - SIZE // 2 : x + SIZE // 2] = value
    image[0, 0] = number  # what ScriptedDetector calls the frame
    return Frame(image, number, number / FPS if at is None else at)


def seen(*places, score=0.95):
    boxes = np.array([box_at(*place) for place in places]).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), score), np.zeros(len(boxes), np.int64))


def circle(number):
    """A way that no constant velocity goes: around (160, 120) once a second."""
    angle = 2 * np.pi * number / FPS
    return round(160 + 50 * np.cos(angle)), round(120 + 50 * np.sin(angle))


def given(recurrent, target=(160, 120), **tracking):
    """A tracker told to follow a target, a place or a box, without a detector."""
    tracker = Tracker([], tracking=TrackingSettings(**tracking), recurrent=recurrent)
    tracker.follow(target if len(target) == 4 else box_at(*target))
    return tracker


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def test_between_looks_a_track_goes_where_its_target_goes(recurrent):
    detector = ScriptedDetector([seen(circle(number)) for number in range(0, 40, 10)])
    tracker = Tracker([detector], recurrent=recurrent)
    for number in range(40):
        (track,) = tracker.update(frame(number, (*circle(number), 200)))
        assert (track.id, track.status) == (1, "confirmed")
        assert centre(track.box) == pytest.approx(circle(number), abs=1.5)
    assert detector.shown == [0, 10, 20, 30]


def test_a_given_target_is_followed_without_a_detector(recurrent):
    tracker = given(recurrent, circle(0))
    for number in range(200):
        (track,) = tracker.update(frame(number, (*circle(number), 200)))
    assert (track.id, track.label, track.status) == (1, "target", "confirmed")
    assert centre(track.box) == pytest.approx(circle(199), abs=1.5)


def test_the_box_is_carried_to_the_moment_of_emission_by_the_forecast(recurrent):
    tracker = given(recurrent, (60, 60))
    for number in range(10):
        tracker.update(frame(number, (60 + 4 * number, 60 + 2 * number, 200)))
    (track,) = tracker.emit(9 / FPS + 0.1)
    assert centre(track.box) == pytest.approx((96, 78), abs=0.5)
    assert centre(track.box_now) == pytest.approx((108, 84), abs=1.0)


def statuses(tracker, shades):
    """Show a still target, its brightness frame by frame; return status and events each time."""
    said = []
    for number, shade in enumerate(shades):
        tracks = tracker.update(frame(number, (160, 120, shade)))
        events = [event.type for event in tracker.events]
        said.append((tracks[0].status if tracks else "", *events))
    return said


def test_presence_has_to_fall_far_to_lose_a_track_and_rise_far_to_find_it(recurrent):
    # Presence is twice the brightness, in shares of the template's.
    said = statuses(given(recurrent), [200, 200, 50, 20, 50, 45, 80, 50])
    assert said == [
        ("confirmed", "new"),
        ("confirmed",),
        ("confirmed",),
        ("lost", "lost"),
        ("lost",),
        ("lost",),
        ("confirmed", "found"),
        ("confirmed",),
    ]


def test_the_presence_of_a_record_is_the_model_s(recurrent):
    tracker = given(recurrent)
    tracker.update(frame(0, (160, 120, 200)))
    (track,) = tracker.update(frame(1, (160, 120, 50)))
    assert track.presence == pytest.approx(0.5, abs=0.01)
    assert track.score == 1.0


def test_a_target_that_stays_away_ends_after_max_lost_s(recurrent):
    said = statuses(given(recurrent, max_lost_s=0.2), [200, *[0] * 8])
    assert said[1] == ("lost", "lost")
    assert said[7] == ("", "end")
    assert said[8] == ("",)


def test_a_gap_in_capture_ends_what_was_followed(recurrent):
    tracker = given(recurrent, max_lost_s=2.0)
    tracker.update(frame(0, (160, 120, 200)))
    assert tracker.update(frame(1, (160, 120, 200), at=3600.0)) == []
    assert [event.type for event in tracker.events] == ["end"]
    assert tracker.update(frame(2, (160, 120, 200), at=3600.1)) == []


def test_when_presence_falls_the_detector_looks_at_once_and_often_until_it_rises(recurrent):
    detector = ScriptedDetector([seen((160, 120)), *[seen((290, 30))] * 6])
    tracker = Tracker([detector], recurrent=recurrent)
    for number in range(15):
        place = (160, 120) if number < 4 else (290, 30)  # a scene cut
        tracks = tracker.update(frame(number, (*place, 200)))
    assert detector.shown == [0, 4, 6, 8, 10, 12, 14]
    assert [(track.id, track.status) for track in tracks] == [(1, "lost"), (2, "confirmed")]
    assert centre(tracks[1].box) == pytest.approx((290, 30), abs=0.5)


@pytest.mark.parametrize("every", [1, 2])
def test_doubt_never_makes_the_detector_look_more_rarely(recurrent, every):
    detector = ScriptedDetector([seen((160, 120)), *[Detections.none()] * 11])
    tracker = Tracker([detector], DetectionSettings(every=every), recurrent=recurrent)
    for number in range(12):
        tracker.update(frame(number, (160, 120, 0 if number else 200)))
    assert detector.shown[2:] == list(range(2 if every == 1 else 3, 12, every))


def test_a_track_that_no_detector_confirms_is_trusted_for_a_while_only(recurrent):
    detector = ScriptedDetector([seen((160, 120)), *[Detections.none()] * 20])
    settings = TrackingSettings(trust_s=0.5, max_lost_s=0.2)
    tracker = Tracker([detector], DetectionSettings(every=5), settings, recurrent=recurrent)
    ends = {}
    for number in range(30):
        tracker.update(frame(number, (160, 120, 200)))
        ends |= {event.type: number for event in tracker.events}
    assert ends == {"new": 0, "lost": 16, "end": 22}


def test_only_a_detector_confirms_a_tentative_track(recurrent):
    detector = ScriptedDetector([seen((160, 120), score=0.7), Detections.none()])
    tracker = Tracker([detector], recurrent=recurrent)
    for number in range(10):
        (track,) = tracker.update(frame(number, (160, 120, 200)))
        assert track.status == "tentative"
    assert tracker.update(frame(10, (160, 120, 200))) == []


@pytest.mark.parametrize("condition", ["black", "frozen", "repeated"])
def test_a_frame_that_shows_nothing_new_never_reaches_the_state(recurrent, condition):
    plain, disturbed = given(recurrent, (60, 60)), given(recurrent, (60, 60))
    for number in range(12):
        good = frame(number, (60 + 4 * number, 60, 200))
        if number % 3 != 2:
            plain.update(good)
            tracks = disturbed.update(good)
        else:
            bad = replace(frame(number, (200, 200, 255)), condition=condition)
            (track,) = disturbed.update(bad)
            assert track.status == "confirmed"
    later = 12 / FPS
    assert disturbed.emit(later)[0].box_now == plain.emit(later)[0].box_now
    assert centre(tracks[0].box) == pytest.approx((100, 60), abs=0.5)


def carried_on(live, place, detected=True):
    """Follow a target that moves 4 pixels a frame, and let a detector see it at `place`."""
    live.keep(frame(0, (60, 60, 200)), np.array([1]), np.array([box_at(60, 60)]), np.array([True]))
    for number in range(1, 6):
        last = frame(number, (60 + 4 * number, 60, 200))
        live.step(last)
    live.keep(last, np.array([1]), np.array([box_at(*place)]), np.array([detected]))
    (there,) = live.at(5 / FPS).boxes
    (later,) = live.at(5 / FPS + 0.1).boxes
    return centre(there), later[0] - there[0]


def test_a_near_detection_corrects_the_box_and_a_far_one_begins_anew(recurrent):
    near, way = carried_on(LiveTargets(recurrent), (84, 62))
    assert near == pytest.approx((84, 62))
    assert way == pytest.approx(12, abs=0.5)
    far, way = carried_on(LiveTargets(recurrent), (200, 150))
    assert far == pytest.approx((200, 150))
    assert way == 0
    ignored, _ = carried_on(LiveTargets(recurrent), (200, 150), detected=False)
    assert ignored == pytest.approx((80, 60), abs=0.5)


def stepped_on(recurrent, ids=(1,)):
    """Targets that move 4 pixels a frame, at frame 5, and where they were in frames 3 and 4."""
    live, way = LiveTargets(recurrent), {}
    for number in range(6):
        last = frame(number, (60 + 4 * number, 60, 200))
        if number:
            way[number] = live.step(last)
        else:
            boxes = np.array([box_at(60, 60)] * len(ids))
            live.keep(last, np.array(ids), boxes, np.ones(len(ids), bool))
    return live, frame(3, (72, 60, 200)), way[3], way[4]


def test_a_late_detection_moves_its_target_by_what_it_was_off(recurrent):
    live, picture, then, after = stepped_on(recurrent)
    found = np.array([box_at(72 + 6, 60 - 4)])
    correction = live.correct(picture, then, np.array([1]), found, np.array([True]))
    (there,), (later,) = live.at(5 / FPS).boxes, live.at(5 / FPS + 0.1).boxes
    assert centre(there) == pytest.approx((80 + 6, 60 - 4), abs=0.5)
    assert later[0] - there[0] == pytest.approx(12, abs=0.5)  # what the state knows stays
    between = correction.of(after)
    assert centre(between.boxes[0]) == pytest.approx((76 + 6, 60 - 4), abs=0.5)
    assert between.presence == after.presence


def test_a_late_detection_far_from_its_target_begins_it_in_the_earlier_frame(recurrent):
    live, picture, then, after = stepped_on(recurrent)
    picture.image[130:170, 180:220] = 200
    found = np.array([box_at(200, 150)])
    correction = live.correct(picture, then, np.array([1]), found, np.array([True]))
    assert len(correction.of(after).ids) == 0
    (there,) = live.step(frame(6, (210, 150, 200))).boxes
    assert centre(there) == pytest.approx((210, 150), abs=0.5)


def test_a_late_look_begins_new_targets_and_none_that_has_ended(recurrent):
    live, picture, then, _ = stepped_on(recurrent, ids=(1, 2, 3))
    last = frame(5, (80, 60, 200))
    live.keep(last, np.array([1, 3]), live.at(5 / FPS).boxes[[0, 2]], np.zeros(2, bool))
    picture.image[130:170, 180:220] = 200
    ids, found = np.array([1, 2, 3, 4]), np.array([box_at(72, 60)] * 3 + [box_at(200, 150)])
    live.correct(picture, then, ids, found, np.array([False, True, True, True]))
    carried = live.step(frame(6, (84, 60, 200), (200, 150, 200)))
    assert carried.ids.tolist() == [1, 3, 4]
    assert [centre(box) for box in carried.boxes] == [
        pytest.approx(place, abs=0.5) for place in ((84, 60), (84, 60), (200, 150))
    ]


def test_targets_end_with_their_tracks_and_others_keep_what_they_know(recurrent):
    live, places = LiveTargets(recurrent), [(60, 60), (160, 60), (60, 160)]
    boxes = np.array([box_at(*place) for place in places])
    image = frame(0, *[(*place, 200) for place in places])
    live.keep(image, np.array([1, 2, 3]), boxes, np.ones(3, bool))
    moved = frame(1, *[(x + 4, y, 200) for x, y in places])
    live.step(moved)
    ids, later = np.array([1, 3, 4]), np.concatenate((boxes[[0, 2]], [box_at(260, 200)]))
    live.keep(moved, ids, later, np.array([False, False, True]))
    found = live.at(1 / FPS + 0.1)
    assert found.ids.tolist() == [1, 3, 4]
    np.testing.assert_allclose(found.boxes[:, 0] - later[:, 0], [16, 16, 0], atol=0.5)


def test_64_tracks_on_top_of_each_other_stay_64(recurrent):
    detector = ScriptedDetector([seen(*[(x, 120)] * 64) for x in (160, 170)])
    tracker = Tracker([detector], recurrent=recurrent)
    for number in range(12):
        tracks = tracker.update(frame(number, (160 + number, 120, 200)))
    assert [track.id for track in tracks] == list(range(1, 65))
    assert {round(centre(track.box)[0]) for track in tracks} == {171}


def test_frames_may_change_their_size(recurrent):
    tracker = given(recurrent)
    for number, shape in enumerate([(240, 320), (480, 640), (200, 260), (240, 320)]):
        (track,) = tracker.update(frame(number, (160, 120, 200), shape=shape))
    assert centre(track.box) == pytest.approx((160, 120), abs=0.5)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((400, 10, 440, 50), "target 400,10,40,40 .*: lies outside the frame of 320x240"),
        ((-50, 10, 0, 50), "lies outside the frame of 320x240; give one inside it"),
        ((-10, 10, 400, 50), "is larger than the frame of 320x240"),
        ((10, 10, 10, 50), "target 10,10,0,40 .*: has no area; give a box with one"),
        ((50, 10, 10, 50), "has no area"),
        ((float("nan"), 10, 10, 50), "has no area"),
    ],
)
def test_a_target_that_cannot_be_followed_is_refused(recurrent, box, message):
    with pytest.raises(UsageError, match=message):
        given(recurrent, box).update(frame(0, (160, 120, 200)))


def test_a_target_may_reach_beyond_the_frame(recurrent):
    tracker = given(recurrent, (5, 120))
    (track,) = tracker.update(frame(0, (20, 120, 200)))
    assert track.box == (-15, 100, 25, 140)


def test_without_a_tracker_bundle_no_target_can_be_given(one_box):
    with pytest.raises(UsageError, match="no model follows one; add a tracker bundle"):
        Tracker([ScriptedDetector([one_box])]).follow((1, 1, 9, 9))


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(12):
        picture = frame(number, (100 + 4 * number, 100, 200)).image
        cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    return folder


def test_a_clip_is_followed_from_the_box_of_the_command_line(clip, bright, tmp_path):
    out = tmp_path / "out.txt"
    words = ["--init", "80,80,40,40", "--model", str(bright.folder), "--format", "mot"]
    assert main(["track", str(clip), *words, "--out", str(out)]) == 0
    rows = np.loadtxt(out, delimiter=",")
    assert rows.shape == (12, 10)
    np.testing.assert_allclose(rows[:, 2], 80 + 4 * np.arange(12), atol=1.0)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("1,2,3", "'1,2,3' is no box; give left,top,width,height in pixels"),
        ("1,2,3,x", "'1,2,3,x' is no box"),
        ("1,2,0,4", "target 1,2,0,4 (left, top, width, height): has no area"),
        ("1,2,-3,4", "has no area"),
        ("nan,2,3,4", "has no area"),
        ("900,10,20,20", "lies outside the frame of 320x240; give one inside it"),
        ("0,0,900,900", "is larger than the frame of 320x240"),
    ],
)
def test_a_bad_init_ends_in_one_line(init, message, clip, bright, tmp_path, capsys):
    older = tmp_path / "older.jsonl"
    older.write_text("precious\n")
    words = ["--init", init, "--model", str(bright.folder), "--out", str(older)]
    assert main(["track", str(clip), *words]) == 2
    assert message in capsys.readouterr().err
    assert older.read_text() == "precious\n"


def test_init_without_a_tracker_says_what_is_missing(clip, monkeypatch, capsys):
    monkeypatch.setattr(bundles, "model_folders", list)
    assert main(["track", str(clip), "--init", "1,2,30,40"]) == 65
    assert "--init: needs a tracker bundle, and no 'track' is installed" in capsys.readouterr().err
    assert main(["track", str(clip), "--init", "1,2,30,40", "--model", "face"]) == 65


def test_a_tracker_bundle_alone_or_twice_is_refused(clip, bright, tmp_path, capsys):
    model = ["--model", str(bright.folder)]
    assert main(["track", str(clip), *model]) == 2
    assert "a tracker bundle follows what others find; add a detector" in capsys.readouterr().err
    other = tracker_models.write(tmp_path / "other")
    words = [*model, "--model", str(other.folder), "--init", "80,80,40,40"]
    assert main(["track", str(clip), *words]) == 2
    assert "has more than one tracker" in capsys.readouterr().err


def test_bench_times_every_stage_of_a_frame_of_targets(bright, capsys):
    took = bench.targets_us(bright, "auto", 2)
    assert list(took) == ["crop", "encoder", "step", "together", "anchor"]
    assert min(took.values()) > 0
    assert main(["bench", "targets"]) == 2
    assert "bench targets: no model; name a tracker bundle" in capsys.readouterr().err
