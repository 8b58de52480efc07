import numpy as np
import pytest

from edge import bundle
from edge.backends import available
from edge.detector import Detector
from edge.errors import BundleError
from edge.geometry import iou
from edge.sources.synthetic import SyntheticPortrait
from tests.conftest import MODELS


def open_detector(name, **options):
    return Detector(bundle.load(bundle.find(name)), **options)


@pytest.mark.parametrize("backend", available())
@pytest.mark.parametrize("name", ["face", "face-near"])
def test_the_faces_of_the_portrait_are_found_where_they_are(name, backend):
    source, detector = SyntheticPortrait(), open_detector(name, backend=backend)
    for index in (0, 60, 240):
        truth = np.array([box for _, box in source.truth(index)])
        found = detector.detect(source.image(index))
        assert len(found) == len(truth) == 2
        assert iou(truth, found.boxes).max(axis=1).min() > 0.7
        assert found.labels.tolist() == [0, 0]


def test_interpreters_agree_on_boxes_and_scores():
    if len(available()) < 2:
        pytest.skip("only one interpreter is installed")
    image = SyntheticPortrait().image(0)
    first, second = (open_detector("face", backend=b).detect(image) for b in available()[:2])
    np.testing.assert_allclose(first.boxes, second.boxes, atol=0.05)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-3)


def test_a_face_too_small_for_the_whole_frame_is_found_in_a_region():
    portrait = SyntheticPortrait().image(0)
    frame = np.full((2160, 3840, 3), 90, np.uint8)
    frame[800:1280, 1500:2140] = portrait
    detector = open_detector("face-near")
    assert len(detector.detect(frame)) == 0
    found = detector.detect(frame, (1500, 800, 2140, 1280))
    alone = detector.detect(portrait)
    moved = alone.boxes + np.array((1500, 800, 1500, 800))
    np.testing.assert_allclose(found.boxes, moved, atol=1e-6)


def test_the_score_threshold_can_be_set():
    image = SyntheticPortrait().image(0)
    low = open_detector("face", score_threshold=0.05).detect(image)
    assert len(low) >= 2
    assert len(open_detector("face", score_threshold=0.99).detect(image)) == 0


def test_a_grey_frame_holds_no_face():
    assert len(open_detector("face").detect(np.full((480, 640, 3), 128, np.uint8))) == 0


def test_a_class_without_a_label_is_one_clear_line():
    detector = open_detector("face")
    detector.labels = ()
    with pytest.raises(
        BundleError, match="found class 0, the bundle has 0 labels; import it again"
    ):
        detector.detect(SyntheticPortrait().image(0))


def test_a_bundle_that_is_no_detector_is_refused():
    with pytest.raises(BundleError, match="is a sequence, not a detector"):
        Detector(bundle.load(MODELS / "lstm-step"))
