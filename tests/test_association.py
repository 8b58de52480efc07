from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.association import Pairs, assign, contested, iou, overlapping, widened


def pairs_of(*pairs):
    tracks, detections = np.array(pairs, np.int64).reshape(-1, 2).T
    return Pairs(tracks, detections)


def chosen(pairs, fit, late=None):
    late = np.zeros(len(fit), bool) if late is None else np.array(late)
    result = assign(pairs, np.array(fit, float), late)
    return list(zip(result.tracks.tolist(), result.detections.tolist(), strict=True))


def test_widened_boxes_grow_on_every_side_by_a_share_of_their_size():
    boxes = np.array([[50.0], [50.0], [20.0], [40.0]])
    assert widened(boxes, 0.0).T.tolist() == [[40.0, 30.0, 60.0, 70.0]]
    assert widened(boxes, 0.5).T.tolist() == [[30.0, 10.0, 70.0, 90.0]]


def test_only_boxes_that_share_area_are_candidates():
    a = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]).T
    b = np.array([[10.0, 0, 20, 10], [5, 5, 25, 25], [100, 100, 110, 110]]).T
    pairs = overlapping(a, b)
    assert (pairs.tracks.tolist(), pairs.detections.tolist()) == ([0, 1], [1, 1])


def test_overlapping_nothing_with_nothing_is_legal():
    assert len(overlapping(np.empty((4, 0)), np.ones((4, 3))).tracks) == 0
    assert len(overlapping(np.ones((4, 3)), np.empty((4, 0))).tracks) == 0
    assert not contested(pairs_of())


def test_intersection_over_union_of_half_shifted_squares_is_a_third():
    a = np.array([[0.0, 0.0, 10.0, 10.0]]).T
    assert iou(a, a + np.array([[5.0], [0], [5], [0]])) == pytest.approx([1 / 3])
    assert iou(a, a) == pytest.approx([1.0])


def test_the_greatest_sum_wins_over_the_best_single_pair():
    assert chosen(pairs_of((0, 0), (0, 1), (1, 0)), [0.6, 0.5, 0.5]) == [(0, 1), (1, 0)]


def test_a_pair_without_rivals_is_kept_as_it_is():
    got = chosen(pairs_of((0, 0), (0, 1), (1, 0), (7, 9)), [0.6, 0.5, 0.5, 0.1])
    assert got == [(0, 1), (1, 0), (7, 9)]


def test_late_pairs_take_only_what_is_left():
    pairs = pairs_of((0, 0), (0, 1), (1, 1))
    assert chosen(pairs, [0.2, 0.9, 0.9], [False, True, True]) == [(0, 0), (1, 1)]


def best_sum(fit):
    n, m = fit.shape
    if n > m:
        return best_sum(fit.T)
    return max(sum(fit[i, j] for i, j in enumerate(p)) for p in permutations(range(m), n))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_assignment_is_optimal_and_one_to_one(n, m, seed):
    random = np.random.default_rng(seed)
    fit = random.uniform(0.01, 1, (n, m)) * (random.random((n, m)) < 0.7)
    pairs = Pairs(*fit.nonzero())
    got = chosen(pairs, fit[pairs])
    assert len({t for t, _ in got}) == len({d for _, d in got}) == len(got)
    assert sum(fit[pair] for pair in got) == pytest.approx(best_sum(fit))
