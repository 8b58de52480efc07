"""The virtual camera over the portrait: pictures that anybody can make again, with known truth."""

import cv2
import numpy as np
import pytest

from edge.config import SourceSettings
from edge.sources import open_source
from edge.sources.synthetic import SyntheticPortrait
from edge.types import Floats


@pytest.fixture(scope="module")
def portrait() -> SyntheticPortrait:
    return SyntheticPortrait()


def test_pictures_depend_on_index_and_seed_alone(portrait: SyntheticPortrait) -> None:
    other = SyntheticPortrait(seed=5)
    assert np.array_equal(portrait.image(40), SyntheticPortrait().image(40))
    assert not np.array_equal(portrait.image(40), other.image(40))
    assert portrait.truth(40) != other.truth(40)


def test_frames_come_at_30_a_second_and_end() -> None:
    source = open_source("synthetic:portrait?frames=4&seed=2", SourceSettings())
    frames = [frame for _ in range(9) if (frame := source.read())]
    assert [frame.captured_at for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])
    assert {(frame.image.shape, frame.clock) for frame in frames} == {((480, 640, 3), "nominal")}
    assert (source.live, source.fps) == (False, 30.0)


def test_no_number_of_frames_means_no_end() -> None:
    source = SyntheticPortrait(frames=0)
    source._index = 10**6
    assert source.read() is not None
    source.close()
    assert source.read() is None


@pytest.mark.parametrize("seed", range(6))
def test_the_right_face_leaves_once_and_comes_back(seed: int) -> None:
    portrait = SyntheticPortrait(seed=seed)
    names = [[name for name, _ in portrait.truth(index)] for index in range(300)]
    away = [index for index, seen in enumerate(names) if "right" not in seen]
    assert all("left" in seen for seen in names)
    assert 30 <= len(away) <= 70
    assert away == list(range(away[0], away[-1] + 1))
    assert away[0] > 0
    assert away[-1] < 299


def test_boxes_move_smoothly_and_frame_a_face_of_usual_size(portrait: SyntheticPortrait) -> None:
    boxes = np.array([dict(portrait.truth(index))["left"] for index in range(300)])  # (300, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    assert np.abs(np.diff(boxes, axis=0)).max() < 20
    assert 100 < sizes.min() < sizes.max() < 200


def face(portrait: SyntheticPortrait, index: int, aside: float = 0.0) -> Floats:
    """Cut the left face out, or what lies aside of it, as (16, 16) of zero mean and length 1."""
    left, top, right, bottom = dict(portrait.truth(index))["left"]
    aside *= right - left
    columns = slice(int(left + aside), int(right + aside))
    crop = portrait.image(index)[int(top) : int(bottom), columns, 1].astype(float)
    small = cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA)
    return (small - small.mean()) / (small.std() * 16)


def test_the_box_stays_on_the_face_while_the_camera_moves(portrait: SyntheticPortrait) -> None:
    for index in range(15, 300, 15):
        assert (face(portrait, 0) * face(portrait, index)).sum() > 0.8
        assert (face(portrait, 0) * face(portrait, index, aside=0.25)).sum() < 0.6


def test_no_two_pictures_in_a_row_are_equal(portrait: SyntheticPortrait) -> None:
    previous = portrait.image(0)
    for index in range(1, 300):
        image = portrait.image(index)
        assert not np.array_equal(image, previous)
        previous = image
