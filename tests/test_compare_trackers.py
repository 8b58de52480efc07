"""The peers of `scripts/compare-trackers` as followers; each runs where its libraries are."""

import numpy as np
import pytest

from edge.evaluation import evaluate
from edge.evaluation.protocols import named
from edge.evaluation.sequences import find_sequences
from scripts.peers.page import write_between_marks
from tests.conftest import ROOT


@pytest.fixture
def textured():
    """Frames in which a patch of noise goes right over another, and its boxes."""
    random = np.random.default_rng(0)
    ground = random.integers(60, 120, (120, 200, 3), np.uint8)
    patch = random.integers(0, 255, (10, 10, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    boxes = [(20 + 2 * k, 40, 60 + 2 * k, 80) for k in range(20)]
    images = []
    for left, top, right, bottom in boxes:
        image = ground.copy()
        image[top:bottom, left:right] = patch
        images.append(image)
    return images, boxes


@pytest.fixture
def nanotrack(shared):
    pytest.importorskip("onnx", reason="its template network is made of the search network")
    pytest.importorskip("onnxruntime", reason="runs its networks")
    from scripts.trackers.nanotrack import NanoTrack

    return NanoTrack(shared / "models" / "nanotrack_v2")


@pytest.mark.parametrize("name", ["TrackerCSRT_create", "TrackerKCF_create"])
def test_trackers_of_opencv_follow_a_patch_as_followers(textured, name):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, name):
        pytest.skip("lives in the environment of scripts/compare-trackers")
    from scripts.trackers.opencv import OpenCvTracker

    images, boxes = textured
    follower = OpenCvTracker(name, getattr(cv2, name))
    follower.start(images[0], boxes[0], 0.0)
    said = [follower.step(image, k / 30) for k, image in enumerate(images[1:], start=1)]
    np.testing.assert_allclose([one.box for one in said], boxes[1:], atol=4)
    assert {one.presence for one in said} == {1.0}


def test_a_box_outside_the_picture_is_cut_for_opencv(textured):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "TrackerKCF_create"):
        pytest.skip("lives in the environment of scripts/compare-trackers")
    from scripts.trackers.opencv import OpenCvTracker

    follower = OpenCvTracker("KCF", cv2.TrackerKCF_create)
    follower.start(textured[0][0], (300.0, -50.0, 400.0, -20.0), 0.0)
    assert np.isfinite(follower.step(textured[0][1], 0.1).box).all()


@pytest.mark.slow
def test_nanotrack_scores_on_real_video_as_published_settings_do(nanotrack, shared):
    sequences = find_sequences(shared / "sot", ["Jumping", "ball1"], frames=120)
    results = evaluate([nanotrack], sequences, named(["ope"]), seeds=1)
    for name, overlap in (("Jumping", 0.67), ("ball1", 0.80)):
        found = results.summary(nanotrack.name, "ope", [name])
        assert found["iou"].mean == pytest.approx(overlap, abs=0.05)


def test_nanotrack_cuts_past_the_edge_with_the_mean_colour(nanotrack):
    image = np.full((60, 80, 3), (10, 20, 30), np.uint8)
    image[:, 40:] = (30, 40, 50)
    nanotrack.start(image, (-10.0, 10.0, 10.0, 30.0), 0.0)
    crop = nanotrack._crop(image, 40, 127)
    assert crop.shape == (1, 3, 127, 127)
    assert crop[0, :, 60, 5].tolist() == [40, 30, 20]  # blue, green, red of the mean
    assert crop[0, :, 60, 120].tolist() == [30, 20, 10]


def test_the_page_has_a_place_for_the_table(tmp_path):
    page = tmp_path / "tracker.md"
    page.write_text((ROOT / "docs" / "tracker.md").read_text())
    write_between_marks(page, "trackers", "the table")
    assert "<!-- trackers:begin -->\nthe table\n<!-- trackers:end -->" in page.read_text()
