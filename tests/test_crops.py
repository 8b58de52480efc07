import numpy as np
import pytest

from edge.crops import Crops, region
from edge.manifest import ImageInput

SPEC = ImageInput(name="image", size=(96, 96), dtype="uint8", fit="crop", context=2.0, square=0.4)
BOXES = np.array(
    [
        [40.0, 30.0, 80.0, 100.0],
        [50.3, 40.7, 71.1, 60.2],
        [-20.0, -30.0, 15.0, 25.0],
        [150.0, 100.0, 200.0, 140.0],
        [10.0, 10.0, 12.0, 13.0],
        [-400.0, -300.0, 500.0, 480.0],
        [3000.0, 20.0, 3040.0, 60.0],
        [-9e5, -9e5, 9e5, 9e5],
    ]
)


def noise(height=120, width=160):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def ramp(height=200, width=250):
    """A picture that says where it was sampled: red is x, green is y."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(width), np.arange(height)[:, None]
    return picture


def test_crops_and_regions_are_those_that_training_cuts():
    torch = pytest.importorskip("torch")
    from train import crops as training

    frame, boxes = noise(), torch.tensor(BOXES[:-1])
    found, views = Crops(SPEC).fill(frame, BOXES[:-1])
    wanted = training.region(boxes, SPEC.context, SPEC.square)
    np.testing.assert_allclose(views, wanted.numpy(), atol=1e-9)
    frames = torch.tensor(frame).permute(2, 0, 1)[None].double().expand(len(boxes), -1, -1, -1)
    pixels = training.crop(frames, wanted, 96).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - pixels).max() < 8  # of noise: OpenCV 4 places samples to 1/32 pixel
    assert np.abs(found - pixels).mean() < 1


@pytest.mark.parametrize("box", [[60.0, 60.0, 100.0, 140.0], [80.4, 90.3, 91.7, 99.1]])
def test_a_crop_pixel_shows_the_frame_at_its_own_centre(box):
    (found,), ((left, top, right, bottom),) = Crops(SPEC).fill(ramp(), np.array([box]))
    shares = (np.arange(96) + 0.5) / 96
    x, y = left + (right - left) * shares - 0.5, top + (bottom - top) * shares - 0.5
    np.testing.assert_allclose(found[50, :, 0], x, atol=0.54)
    np.testing.assert_allclose(found[:, 50, 1], y, atol=0.54)


def test_beyond_the_frame_its_edge_goes_on():
    found, _ = Crops(SPEC).fill(ramp(), BOXES)
    off_left, off_right, endless = found[2], found[6], found[7]
    assert (off_left[:, :10, 0] == 0).all()
    assert (off_right[..., 0] == 249).all()
    assert (endless[0, 0] == (0, 0, 0)).all()
    assert (endless[-1, -1] == (249, 199, 0)).all()


@pytest.mark.parametrize(("square", "shape"), [(0.0, (40, 160)), (1.0, (80, 80))])
def test_a_region_goes_from_the_shape_of_the_box_to_a_square_of_the_same_area(square, shape):
    ((left, top, right, bottom),) = region(np.array([[10.0, 10.0, 30.0, 90.0]]), 2.0, square)
    assert (right - left, bottom - top) == pytest.approx(shape)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((20.0, 50.0))


def test_one_buffer_serves_all_batches_and_grows_with_the_largest():
    crops = Crops(SPEC, room=2)
    first, _ = crops.fill(noise(), BOXES[:2])
    kept = first.copy()
    many, _ = crops.fill(noise(), BOXES)
    again, _ = crops.fill(noise(), BOXES[:2])
    assert many.shape == (8, 96, 96, 3)
    assert np.shares_memory(many, again)
    np.testing.assert_array_equal(again, kept)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40_000, 3), (40_000, 1, 3)])
def test_a_frame_of_any_shape_can_be_cut(shape):
    found, _ = Crops(SPEC).fill(np.full(shape, 7, np.uint8), BOXES)
    assert (found == 7).all()
