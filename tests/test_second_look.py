import numpy as np
import pytest

from edge.second_look import SecondLook, around, joined
from edge.types import Detections
from tests.conftest import ScriptedDetector

IMAGE = np.zeros((400, 600, 3), np.uint8)


def detections(*rows):
    """Rows of left, top, right, bottom, score."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4], np.zeros(len(table), np.int64))


class Closer(ScriptedDetector):
    """A detector that sees what it is told in every region, and remembers the regions."""

    def __init__(self, seen):
        super().__init__([])
        self.seen, self.regions = seen, []

    def detect(self, image, region=None):  # noqa: ARG002
        self.regions.append(region)
        return self.seen


def look(seen, most=2):
    closer = Closer(seen)
    return SecondLook([closer], most), closer


def test_a_sure_detection_is_not_looked_at_again():
    second, closer = look(detections())
    found = detections((10, 10, 50, 50, 0.9))
    assert second.confirm(IMAGE, found) is found
    assert closer.regions == []


def test_an_unsure_detection_takes_the_closer_box_and_the_better_score():
    second, closer = look(detections((102, 102, 142, 142, 0.95)))
    found = second.confirm(IMAGE, detections((100, 100, 140, 140, 0.6)))
    assert found.boxes.tolist() == [[102, 102, 142, 142]]
    assert found.scores.tolist() == [0.95]
    assert closer.regions == [(40, 40, 200, 200)]


def test_two_unsure_detections_of_one_target_become_one():
    second, _ = look(detections((105, 100, 145, 140, 0.95)))
    found = second.confirm(IMAGE, detections((90, 100, 130, 140, 0.6), (120, 100, 160, 140, 0.5)))
    assert found.boxes.tolist() == [[105, 100, 145, 140]]


@pytest.mark.parametrize("seen", [detections(), detections((300, 300, 340, 340, 0.9))])
def test_an_unsure_detection_that_a_closer_look_does_not_see_is_less_sure(seen):
    second, _ = look(seen)
    found = second.confirm(IMAGE, detections((100, 100, 140, 140, 0.6)))
    assert found.boxes.tolist() == [[100, 100, 140, 140]]
    assert found.scores.tolist() == [pytest.approx(0.42)]


def test_a_missed_track_is_found_near_where_it_is_expected():
    second, _ = look(detections((110, 100, 150, 140, 0.5)))
    again = second.search(IMAGE, detections((100, 100, 140, 140, 0.8)), detections())
    assert again.boxes.tolist() == [[110, 100, 150, 140]]


@pytest.mark.parametrize(
    "seen", [(170, 100, 210, 140, 0.9), (60, 60, 180, 180, 0.9), (110, 110, 125, 125, 0.9)]
)
def test_what_is_too_far_or_of_another_size_is_not_the_missed_track(seen):
    second, _ = look(detections(seen))
    missed = detections((100, 100, 140, 140, 0.8))
    assert len(second.search(IMAGE, missed, detections())) == 0


def test_what_was_found_already_is_not_found_again():
    second, _ = look(detections((110, 100, 150, 140, 0.9)))
    found = detections((112, 100, 152, 140, 0.9))
    assert len(second.search(IMAGE, detections((100, 100, 140, 140, 0.8)), found)) == 0


def test_no_more_looks_than_allowed_are_taken_in_a_frame():
    second, closer = look(detections(), most=2)
    unsure = [(x, 100, x + 40, 140, 0.6) for x in (100, 200, 300)]
    found = second.confirm(IMAGE, detections(*unsure))
    second.search(IMAGE, detections((400, 100, 440, 140, 0.8)), found)
    assert len(closer.regions) == 2
    second.confirm(IMAGE, detections((100, 100, 140, 140, 0.6)))
    assert len(closer.regions) == 3


def test_a_label_without_a_closer_network_is_left_alone():
    second = SecondLook([None], 2)
    found = detections((100, 100, 140, 140, 0.6))
    assert second.confirm(IMAGE, found).scores.tolist() == [0.6]
    assert len(second.search(IMAGE, found, detections())) == 0


def test_a_region_is_cut_at_the_frame_and_is_none_outside():
    assert around(np.array([0.0, 0.0, 40.0, 40.0]), IMAGE) == (0, 0, 100, 100)
    assert around(np.array([900.0, 900.0, 940.0, 940.0]), IMAGE) is None
    assert around(np.array([-900.0, 0.0, -860.0, 40.0]), IMAGE) is None


def test_sets_of_detections_join_in_order():
    both = joined([detections((1, 2, 3, 4, 0.5)), detections(), detections((5, 6, 7, 8, 0.6))])
    assert both.scores.tolist() == [0.5, 0.6]
