"""Looks that come late: where tracks are meanwhile, and what becomes of what was found."""

from dataclasses import replace

import numpy as np
import pytest

from edge.aside import LONGEST_LOOK_S, Aside
from edge.config import DetectionSettings, Settings, TrackingSettings
from edge.errors import BackendError, BundleError
from edge.geometry import iou
from edge.recurrent import RecurrentTracker
from edge.sources.synthetic import SyntheticPortrait
from edge.tracker import Tracker, open_models
from edge.types import Detections, Frame
from tests.conftest import ScriptedDetector

FPS = 30.0
SIZE = 40


def frame(number, *targets, at=None):
    """Squares at (x, y, brightness) on black."""
    image = np.zeros((240, 320, 3), np.uint8)
    for x, y, value in targets:
        image[y - SIZE // 2 : y + SIZE // 2, x - SIZE // 2 : x + SIZE // 2] = value
    image[0, 0] = number  # what ScriptedDetector calls the frame
    return Frame(image, number, number / FPS if at is None else at)


def seen(*places, score=0.95):
    boxes = [(x - SIZE / 2, y - SIZE / 2, x + SIZE / 2, y + SIZE / 2) for x, y in places]
    boxes = np.array(boxes).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), score), np.zeros(len(boxes), np.int64))


def centre(track):
    left, top, right, bottom = track.box
    return (left + right) / 2, (top + bottom) / 2


class Late:
    """In place of a thread: a look is taken when as many frames have come as it is late."""

    def __init__(self, late):
        self.late, self.left, self.job = late, 0, None

    def __call__(self, job):
        self.job, self.left = job, self.late

    def tick(self):
        self.left -= 1
        if self.job and self.left == 0:
            job, self.job = self.job, None
            job()


class Beside:
    """A tracker that always looks aside, so many frames late."""

    def __init__(self, script, late, every=1, recurrent=None, **tracking):
        self.detector, self.late = ScriptedDetector(script), Late(late)
        self.tracker = Tracker(
            [self.detector],
            DetectionSettings(every=every),
            TrackingSettings(**tracking),
            recurrent=recurrent,
            aside=Aside("always", start=self.late),
        )
        self.events = []

    def update(self, frame):
        self.late.tick()
        tracks = self.tracker.update(frame)
        self.events = [(event.type, event.id) for event in self.tracker.events]
        return tracks


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    pytest.importorskip("onnx", reason="needs onnx")
    from tests import tracker_models

    try:
        bundle = tracker_models.write(tmp_path_factory.mktemp("models") / "bright")
        return RecurrentTracker(bundle)
    except (BackendError, BundleError):
        pytest.skip("needs onnxruntime")


def way(number):
    """A target on its way."""
    return 60 + 4 * number, 60 + 2 * number


def test_tracks_come_at_every_frame_while_a_look_is_under_way():
    beside = Beside([seen(way(n)) for n in range(0, 45, 3)], late=3)
    for number in range(3):
        assert beside.update(frame(number)) == []
    for number in range(3, 45):
        (track,) = beside.update(frame(number))
        assert (track.id, track.status) == (1, "confirmed")
    assert centre(track) == pytest.approx(way(44), abs=2.0)


def test_a_look_begins_with_the_newest_frame_when_the_one_before_has_ended():
    beside = Beside([seen((60, 60))] * 4, late=5)
    for number in range(16):
        beside.update(frame(number))
    assert beside.detector.shown == [0, 5, 10]


@pytest.mark.parametrize("late", [1, 3, 4])
def test_a_late_look_leaves_the_tracks_where_it_had_if_it_took_no_time(late):
    random = np.random.default_rng(0)
    script = [
        seen(way(n), (250 - 5 * n, 100 + n), *[(20, 200)] * (n < 10))[
            random.random(2 + (n < 10)) > 0.2
        ]
        for n in range(0, 30, 5)
    ]
    inline = Tracker([ScriptedDetector(script)], DetectionSettings(every=5))
    beside, compared = Beside(script, late, every=5), 0
    for number in range(30):
        picture = frame(number)
        if number in (7, 13):
            picture = replace(picture, condition="black")
        expected, tracks = inline.update(picture), beside.update(picture)
        if beside.tracker._aside.look is None:
            assert tracks == expected
            compared += 1
    assert {track.status for track in tracks} == {"lost", "confirmed"}
    assert compared >= 30 - 6 * late


def test_what_was_found_is_matched_with_where_tracks_were_then():
    # What was seen at frame 20, before they crossed, comes at frame 24, after they did.
    crossing = [seen((100 + 2 * n, 60), (190 - 2 * n, 60)) for n in range(0, 40, 4)]
    beside = Beside(crossing, late=4)
    for number in range(40):
        tracks = beside.update(frame(number))
    assert [track.id for track in tracks] == [1, 2]
    assert centre(tracks[0]) == pytest.approx((178, 60), abs=1)
    assert centre(tracks[1]) == pytest.approx((112, 60), abs=1)


def test_events_tell_what_a_late_look_changes():
    looks = [seen((60, 60), (200, 60)), seen((200, 60)), seen((60, 60), (200, 60), (60, 200))]
    beside = Beside(looks, late=2, every=4)
    told = {}
    for number in range(11):
        beside.update(frame(number))
        told[number] = beside.events
    assert {number: events for number, events in told.items() if events} == {
        2: [("new", 1), ("new", 2)],
        6: [("lost", 1)],
        10: [("found", 1), ("new", 3)],
    }


def test_a_track_that_ended_meanwhile_does_not_come_back():
    beside = Beside([seen((60, 60))] * 2, late=8, every=10, coast_s=0.2, max_lost_s=0.4)
    told = []
    for number in range(18):
        beside.update(frame(number))
        told += beside.events
    assert told == [("new", 1), ("lost", 1), ("end", 1)]
    assert beside.update(frame(18)) == []
    assert beside.detector.shown == [0, 10]
    assert beside.events == []


def test_a_gap_in_capture_ends_what_a_late_look_found_before_it():
    beside = Beside([seen((60, 60))] * 2, late=2)
    beside.update(frame(0))
    beside.update(frame(1, at=100.0))
    assert beside.update(frame(2, at=100.1)) == []
    assert beside.events == []


def test_nothing_is_told_of_a_track_that_came_too_late_to_live():
    beside = Beside([seen((60, 60))], late=2)
    for number, at in enumerate((0.0, 1.9)):
        beside.update(frame(number, at=at))
    assert beside.update(frame(2, at=2.1)) == []
    assert beside.events == []


def test_an_error_of_a_late_look_ends_the_update_as_it_would_inline():
    def broken():
        raise BundleError("face: the network found class 7")
        yield

    beside = Beside(broken(), late=2)
    beside.update(frame(0))
    beside.update(frame(1))
    with pytest.raises(BundleError, match="found class 7"):
        beside.update(frame(2))


def test_a_look_on_a_real_thread_is_waited_for_at_the_end():
    detector = ScriptedDetector([seen((60, 60))])
    tracker = Tracker([detector], DetectionSettings(every=5), aside=Aside("always"))
    tracker.update(frame(0))
    tracker._aside._thread.join()
    (track,) = tracker.update(frame(1))
    assert centre(track) == (60, 60)
    assert set(tracker.stages) == {"step", "associate", "aside"}
    tracker.close()
    assert detector.shown == [0]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Costly(ScriptedDetector):
    """Takes its time, on a clock that nobody waits for."""

    def __init__(self, script, clock):
        super().__init__(script)
        self.clock, self.cost_s = clock, 0.05

    def detect(self, image, region=None):
        self.clock.now += self.cost_s
        return super().detect(image, region)


def test_auto_looks_aside_while_a_look_takes_longer_than_a_frame():
    clock, late = Clock(), Late(2)
    detector = Costly([seen((60, 60))] * 40, clock)
    aside = Aside("auto", start=late, clock=clock)
    tracker = Tracker([detector], DetectionSettings(every=4), aside=aside)
    places = {}
    for number in range(60):
        detector.cost_s = 0.05 if number < 20 else 0.02 if number < 40 else 0.01
        late.tick()
        tracker.update(frame(number))
        if stages := tracker.stages.keys() & {"detect", "aside"}:
            (places[number],) = stages
    assert [n for n in range(20) if places.get(n) == "detect"] == [0]  # nothing is known yet
    assert {places[n] for n in range(10, 44) if n in places} == {"aside"}  # 20 ms is over half
    assert {places[n] for n in range(52, 60) if n in places} == {"detect"}


def test_a_look_that_never_ends_ends_the_run_but_a_stopped_process_does_not():
    clock, pending = Clock(), []
    aside = Aside("always", start=pending.append, clock=clock)
    tracker = Tracker([ScriptedDetector([seen((60, 60))])], aside=aside)
    tracker.update(frame(0))
    clock.now += 10 * LONGEST_LOOK_S  # SIGSTOP, then SIGCONT
    tracker.update(frame(1))
    for number in range(2, int((LONGEST_LOOK_S - 1) * FPS)):
        clock.now += 1 / FPS
        tracker.update(frame(number % 256, at=number / FPS))
    clock.now += 1.0
    with pytest.raises(BackendError, match="a look has taken more than 20 s"):
        tracker.update(frame(0, at=number / FPS))


def test_what_is_not_live_never_looks_aside():
    settings = Settings(models=("face",), detection=DetectionSettings(aside="always"))
    picture = SyntheticPortrait().read()
    tracker, live = Tracker.from_settings(settings), Tracker.from_settings(settings, live=True)
    assert len(tracker.update(picture)) == 2
    assert "detect" in tracker.stages
    assert live.update(picture) == []
    live.close()


def test_a_new_target_begins_in_the_frame_it_was_found_in_and_is_stepped_to_now(bright):
    beside = Beside([seen(way(0)), seen(way(20))], late=5, every=20, recurrent=bright)
    for number in range(5):
        assert beside.update(frame(number, (*way(number), 200))) == []
    for number in range(5, 15):
        (track,) = beside.update(frame(number, (*way(number), 200)))
        assert (track.id, track.status) == (1, "confirmed")
        assert centre(track) == pytest.approx(way(number), abs=1.5)
        assert beside.events == ([("new", 1)] if number == 5 else [])
        assert 20 < track.velocity[0] < 150  # it is 120: the way was not made in one frame


def test_a_target_found_far_away_begins_there_and_is_stepped_to_now(bright):
    found = [seen((60, 60)), seen((200, 150))]
    beside = Beside(found, late=4, every=10, recurrent=bright, jump=20.0)
    told = {}
    for number in range(15):
        place = (60, 60) if number < 9 else (200 + number, 150)
        (*_, track) = beside.update(frame(number, (*place, 200))) or [None]
        told |= {number: beside.events} if beside.events else {}
    assert beside.detector.shown == [0, 9]
    assert told == {4: [("new", 1)], 9: [("lost", 1)], 13: [("found", 1)]}
    assert centre(track) == pytest.approx((214, 150), abs=1.5)
    assert abs(track.velocity[0]) < 60  # what it jumped is no way that it goes


def test_what_a_late_detection_was_off_is_carried_to_the_present(bright):
    off = seen((way(10)[0] + 6, way(10)[1] - 4))
    beside = Beside([seen(way(0)), off], late=5, every=10, recurrent=bright)
    for number in range(15):
        beside.update(frame(number, (*way(number), 200)))
    (track,) = beside.update(replace(frame(15), condition="black"))  # so that no step sees it
    assert centre(track) == pytest.approx((way(15)[0] + 6, way(15)[1] - 4), abs=1.5)


def test_a_target_is_given_after_the_look_that_is_under_way(bright):
    beside = Beside([seen((60, 60))] * 3, late=3, every=3, recurrent=bright)
    beside.update(frame(0, (60, 60, 200)))
    beside.tracker.follow((180, 130, 220, 170))
    for number in range(1, 4):
        tracks = beside.update(frame(number, (60, 60, 200), (200, 150, 200)))
    assert [centre(track) for track in tracks] == [pytest.approx((60, 60)), (200, 150)]
    assert beside.detector.shown == [0, 3]


def test_doubt_that_comes_while_a_look_is_under_way_is_seen_to_after_it(bright):
    beside = Beside([seen((60, 60))] * 4, late=4, every=20, recurrent=bright)
    for number in range(29):
        shade = 20 if number == 22 else 200
        beside.update(frame(number, (60, 60, shade)))
    assert beside.detector.shown == [0, 20, 24]


@pytest.mark.parametrize(("models", "bar"), [(("face",), 0.74), (("face", "track"), 0.8)])
def test_faces_are_followed_with_a_detector_that_is_five_frames_late(models, bar):
    try:
        opened = open_models(Settings(models=models))
    except BundleError:
        pytest.skip("needs the bundle `track`")
    late, source, overlaps = Late(5), SyntheticPortrait(frames=100), []
    recurrent = opened[1] if len(opened) > 1 else None
    aside = Aside("always", start=late)
    tracker = Tracker(opened[:1], DetectionSettings(every=5), recurrent=recurrent, aside=aside)
    while (picture := source.read()) is not None:
        late.tick()
        tracks = tracker.update(picture)
        if picture.index < 10:
            continue
        truth = np.array([box for _, box in source.truth(picture.index)])
        found = np.array([track.box for track in tracks]).reshape(-1, 4)
        overlaps += iou(truth, found).max(axis=1, initial=0.0).tolist()
    assert np.mean(overlaps) > bar
