import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decode import (
    blazeface_anchors,
    head,
    head_outputs,
    real,
    ssd_anchors,
    suppress,
    yolox_grid,
)
from edge.errors import BundleError
from edge.importing import ssd_layers
from edge.manifest import Blazeface, Classes, Ssd, Yolox, Yunet
from edge.types import Detections, TensorSpec

BOX = (40.0, 30.0, 90.0, 110.0)  # left, top, right, bottom in input pixels
CENTRE = np.array([65.0, 70.0])
SIZE = np.array([50.0, 80.0])


def only(detections):
    assert len(detections) == 1
    return detections.boxes[0], detections.scores[0], detections.labels[0]


def test_blazeface_reads_the_box_it_was_given():
    spec = Blazeface(layers=((16, 2), (8, 6)))
    anchors = blazeface_anchors(spec.layers, (128, 128))
    assert anchors.shape == (896, 2)
    boxes, scores = np.zeros((1, 896, 16)), np.full((1, 896, 1), -9.0)
    boxes[0, 300, :4] = (*(CENTRE - anchors[300]), *SIZE)
    scores[0, 300] = 2.0
    found = head(spec, (128, 128), 0.5)({"regressors": boxes, "classificators": scores})
    box, score, _ = only(found)
    np.testing.assert_allclose(box, BOX)
    assert score == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_yunet_reads_the_box_it_was_given():
    outputs = {}
    for stride in (8, 16, 32):
        n = (160 // stride) * (192 // stride)
        outputs |= {f"cls_{stride}": np.zeros((1, n, 1)), f"obj_{stride}": np.zeros((1, n, 1))}
        outputs[f"bbox_{stride}"] = np.zeros((1, n, 4))
    row = 4 * (192 // 16) + 3  # the cell at column 3, row 4
    outputs["cls_16"][0, row], outputs["obj_16"][0, row] = 0.9, 0.4
    outputs["bbox_16"][0, row] = (*(CENTRE / 16 - (3, 4)), *np.log(SIZE / 16))
    box, score, _ = only(head(Yunet(), (160, 192), 0.5)(outputs))
    np.testing.assert_allclose(box, BOX)
    assert score == pytest.approx(0.6)


def test_yolox_reads_the_box_and_the_best_class():
    spec, size = Yolox(), (160, 192)
    grid = yolox_grid(spec.strides, size)
    outputs = np.zeros((1, len(grid), 5 + 3))
    column, row, stride = grid[200]
    scores = (0.8, 0.1, 0.9, 0.3)  # objectness, then classes
    outputs[0, 200] = (*(CENTRE / stride - (column, row)), *np.log(SIZE / stride), *scores)
    box, score, label = only(head(spec, size, 0.5)({"output": outputs}))
    np.testing.assert_allclose(box, BOX)
    assert (score, label) == (pytest.approx(0.72), 1)


@pytest.mark.parametrize("order", ["yxhw", "xywh"])
@pytest.mark.parametrize("background", [False, True])
def test_ssd_reads_codes_against_its_anchors(order, background):
    spec = Ssd(boxes="b", scores="s", layers=ssd_layers((300, 300)), box_order=order,
               box_scale=(10.0, 10.0, 5.0, 5.0), background=background)  # fmt: skip
    anchors = ssd_anchors(spec, (300, 300))
    codes, scores = np.zeros((1, len(anchors), 4)), np.full((1, len(anchors), 4), -9.0)
    anchor = anchors[1500]
    centre, size = (CENTRE - anchor[:2]) / anchor[2:] * 10, np.log(SIZE / anchor[2:]) * 5
    flip = slice(None, None, -1) if order == "yxhw" else slice(None)
    codes[0, 1500] = (*centre[flip], *size[flip])
    scores[0, :, 0] = 9.0 if background else -9.0
    scores[0, 1500, 2] = 3.0
    box, _, label = only(head(spec, (300, 300), 0.5)({"b": codes, "s": scores}))
    np.testing.assert_allclose(box, BOX)
    assert label == (1 if background else 2)


def test_ssd_boxes_decoded_in_the_network_are_scaled_to_the_input():
    spec = Ssd(boxes="b", scores="s", classes="c", count="n")
    shares = np.zeros((1, 5, 4))
    shares[0, :3] = (0.1, 0.2, 0.5, 0.6)
    outputs = {"b": shares, "s": np.array([[0.9, 0.2, 0.8, 0.0, 0.0]]), "n": np.array([2.0]),
               "c": np.array([[3.0, 0, 1, 0, 0]])}  # fmt: skip
    box, score, label = only(head(spec, (100, 200), 0.5)(outputs))
    np.testing.assert_allclose(box, (40, 10, 120, 50))
    assert (score, label) == (0.9, 3)


def test_outputs_are_declared_with_the_shapes_the_network_must_have():
    assert head_outputs(Blazeface(layers=((16, 2), (8, 6))), (128, 128)) == {
        "regressors": (1, 896, 16), "classificators": (1, 896, 1)}  # fmt: skip
    assert head_outputs(Yolox(), (416, 416)) == {"output": (1, 3549, -1)}
    assert head_outputs(Yunet(strides=(32,)), (320, 320))["cls_32"] == (1, 100, 1)


def test_a_head_that_finds_nothing_in_pictures_is_refused():
    with pytest.raises(BundleError, match="decode classes: gives no detections"):
        head(Classes(output="y"), (8, 8), 0.5)


def test_an_empty_frame_gives_empty_detections():
    spec = Blazeface(layers=((16, 2), (8, 6)))
    outputs = {"regressors": np.zeros((1, 896, 16)), "classificators": np.full((1, 896, 1), -9.0)}
    found = suppress(head(spec, (128, 128), 0.5)(outputs), 0.3)
    assert found.boxes.shape == (0, 4)


def test_of_overlapping_detections_of_a_label_the_best_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [1, 1, 11, 11], [50, 50, 60, 60.0]])
    found = Detections(boxes, np.array([0.6, 0.9, 0.5, 0.7]), np.array([0, 0, 1, 0]))
    kept = suppress(found, 0.3)
    assert kept.scores.tolist() == [0.9, 0.7, 0.5]
    assert kept.labels.tolist() == [0, 0, 1]


STRANGE = st.sampled_from([0.0, 5.0, np.nan, np.inf, -np.inf, 1e30])


@given(st.lists(STRANGE, min_size=4, max_size=40))
def test_boxes_that_are_no_numbers_never_pass(values):
    boxes = np.array(values[: len(values) // 4 * 4]).reshape(-1, 4)
    n = len(boxes)
    kept = suppress(Detections(boxes, np.linspace(0.5, 0.9, n), np.zeros(n, np.int64)), 0.5)
    assert np.isfinite(kept.boxes).all()


def test_stored_integers_become_real_values_and_real_values_stay():
    stored = np.array([0, 10, 255], np.uint8)
    spec = TensorSpec("x", (3,), "uint8", 0.5, 10)
    np.testing.assert_allclose(real(stored, spec), [-5.0, 0.0, 122.5])
    value = np.ones(3, np.float32)
    assert real(value, TensorSpec("x", (3,), "float32")) is value
