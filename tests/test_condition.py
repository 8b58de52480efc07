"""Repeated, frozen and black pictures are told from good ones."""

import numpy as np
import pytest

from edge.condition import ConditionCheck
from edge.types import Image


def noise(seed: int, low: int = 0, high: int = 255) -> Image:
    return np.random.default_rng(seed).integers(low, high, (120, 160, 3), np.uint8)


def test_new_pictures_are_good() -> None:
    check = ConditionCheck()
    assert [check.judge(noise(k), k / 30) for k in range(5)] == ["good"] * 5


def test_a_picture_that_stays_is_repeated_then_frozen_until_it_moves() -> None:
    check = ConditionCheck(frozen_after_s=1.0)
    times = [0.0, 0.5, 1.0, 1.1, 9.0]
    judged = [check.judge(noise(1), at) for at in times]
    assert judged == ["good", "repeated", "repeated", "frozen", "frozen"]
    assert check.judge(noise(2), 9.1) == "good"
    assert check.judge(noise(2), 9.2) == "repeated"


def test_one_changed_pixel_makes_a_new_picture() -> None:
    check = ConditionCheck()
    moved = noise(1)
    moved[5, 7, 1] ^= 1  # between the pixels that are compared first
    assert check.judge(noise(1), 0.0) == "good"
    assert check.judge(moved, 0.1) == "good"
    assert check.judge(moved.copy(), 0.2) == "repeated"


@pytest.mark.parametrize("high", [1, 12])
def test_darkness_without_signal_is_black_even_with_sensor_noise(high: int) -> None:
    check = ConditionCheck()
    assert [check.judge(noise(k, 0, high), k / 30) for k in range(3)] == ["black"] * 3


def test_a_night_scene_with_a_lamp_and_an_even_wall_are_good() -> None:
    night = noise(1, 0, 8)
    night[30:70, 40:90] = 200
    wall = np.full((120, 160, 3), 90, np.uint8)
    check = ConditionCheck()
    assert check.judge(night, 0.0) == "good"
    assert check.judge(wall, 0.1) == "good"


def test_a_black_gap_does_not_count_towards_a_freeze() -> None:
    check = ConditionCheck()
    check.judge(noise(1), 0.0)
    check.judge(np.zeros((120, 160, 3), np.uint8), 1.0)
    assert check.judge(noise(1), 2.0) == "good"


def test_a_changed_size_is_a_new_picture() -> None:
    check = ConditionCheck()
    assert check.judge(noise(1), 0.0) == "good"
    assert check.judge(np.ascontiguousarray(noise(1)[:100]), 0.1) == "good"
    assert check.judge(noise(1)[:100, :3], 0.2) == "good"


def test_a_picture_smaller_than_the_stride_works() -> None:
    check = ConditionCheck()
    assert check.judge(np.full((1, 1, 3), 99, np.uint8), 0.0) == "good"
    assert check.judge(np.full((1, 1, 3), 99, np.uint8), 0.1) == "repeated"
