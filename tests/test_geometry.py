import numpy as np

from edge.geometry import iou


def test_overlap_of_known_boxes():
    a = np.array([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    b = np.array([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0]])
    np.testing.assert_allclose(iou(a, b), [[1 / 7, 1.0], [0.0, 0.0]])


def test_boxes_without_area_and_no_boxes_at_all_overlap_nothing():
    point = np.array([[1.0, 1.0, 1.0, 1.0]])
    assert iou(point, point) == 0.0
    assert iou(np.empty((0, 4)), point).shape == (0, 1)
