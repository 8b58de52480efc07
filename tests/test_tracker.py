from dataclasses import replace

import numpy as np
import pytest

import edge
from edge import bundle as bundles
from edge.config import DetectionSettings
from edge.errors import UsageError
from edge.geometry import iou
from edge.sources.synthetic import SyntheticPortrait
from edge.tracker import Tracker
from tests.conftest import ScriptedDetector, plain_frame


def test_faces_of_the_sample_are_tracked_along_their_known_paths():
    source, tracker = SyntheticPortrait(frames=60), edge.Tracker.from_models(["face"])
    ids = set()
    while (frame := source.read()) is not None:
        tracks = tracker.update(frame)
        ids |= {track.id for track in tracks}
    assert len(ids) == 2
    assert {track.status for track in tracks} == {"confirmed"}
    assert {track.label for track in tracks} == {"face"}


def test_faces_of_the_sample_are_followed_with_the_detector_at_every_tenth_frame():
    if "track" not in bundles.installed():
        pytest.skip("needs the bundle `track`")
    source, tracker = SyntheticPortrait(frames=120), Tracker.from_models(["face", "track"])
    looks, ids, overlaps = Looks(tracker), set(), []
    while (frame := source.read()) is not None:
        tracks = tracker.update(frame)
        ids |= {track.id for track in tracks}
        found = np.array([track.box for track in tracks])
        truth = np.array([box for _, box in source.truth(frame.index)])
        overlaps += iou(truth, found).max(axis=1).tolist()
    assert 12 <= looks.count <= 20
    assert len(ids) == 2
    assert np.mean(overlaps) > 0.8


class Looks:
    """Counts how often a tracker's first detector looks at a whole frame."""

    def __init__(self, tracker):
        (detector,) = tracker._detectors
        self.count, self._detect = 0, detector.detect
        detector.detect = self

    def __call__(self, image, region=None):
        self.count += region is None
        return self._detect(image, region)


def test_a_black_frozen_or_repeated_frame_is_never_looked_at(one_box):
    detector = ScriptedDetector([one_box] * 3)
    tracker = Tracker([detector])
    for index in range(3):
        tracker.update(plain_frame(index, index / 30))
    for index, condition in enumerate(("repeated", "frozen", "black"), start=3):
        tracks = tracker.update(replace(plain_frame(index, index / 30), condition=condition))
        assert [track.id for track in tracks] == [1]
    assert detector.shown == [0, 1, 2]


def test_with_every_n_the_detector_rests_between_and_tracks_go_on(one_box):
    detector = ScriptedDetector([one_box] * 4)
    tracker = Tracker([detector], DetectionSettings(every=3))
    for index in range(10):
        tracks = tracker.update(plain_frame(index, index / 30))
        assert [track.id for track in tracks] == [1]
    assert detector.shown == [0, 3, 6, 9]


def test_how_often_the_detectors_look_may_change_between_two_frames(one_box):
    detector = ScriptedDetector([one_box] * 20)
    tracker = Tracker([detector], DetectionSettings(every=10))
    for index in range(30):
        tracker.every = 10 if index < 13 else 2 if index < 20 else 5
        tracker.update(plain_frame(index, index / 30))
    assert detector.shown == [0, 10, 14, 16, 18, 20, 25]


def test_what_a_frame_took_is_told_by_stage(one_box):
    tracker = Tracker([ScriptedDetector([one_box] * 2)], DetectionSettings(every=2))
    stages = []
    for index in range(3):
        tracker.update(plain_frame(index, index / 30))
        stages.append(set(tracker.stages))
    assert stages == [{"step", "detect", "associate"}, {"step", "associate"}, stages[0]]
    assert min(tracker.stages.values()) >= 0


def test_labels_of_two_detectors_stay_apart(one_box):
    tracker = Tracker(
        [ScriptedDetector([one_box], ("face",)), ScriptedDetector([one_box], ("person", "car"))]
    )
    tracks = tracker.update(plain_frame(0, 0.0))
    assert sorted(track.label for track in tracks) == ["face", "person"]


def test_the_box_is_carried_to_the_moment_of_emission(one_box):
    step = np.array((6.0, 0.0, 6.0, 0.0))
    moving = [replace(one_box, boxes=one_box.boxes + step * i) for i in range(20)]
    tracker = Tracker([ScriptedDetector(moving)])
    for index in range(20):
        tracker.update(plain_frame(index, index / 30))
    (track,) = tracker.emit(19 / 30 + 0.1)
    assert track.box_now[0] - track.box[0] == pytest.approx(18.0, abs=2.0)
    assert np.subtract(track.box_now, track.box)[1] == pytest.approx(0.0, abs=0.5)


def test_no_models_is_refused():
    with pytest.raises(UsageError, match="models: none given"):
        Tracker.from_models([])
