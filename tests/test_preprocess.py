import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.manifest import ImageInput
from edge.preprocess import ImageTensor, normalise
from edge.types import TensorSpec


def tensor(dtype="float32", step=0.0, zero_point=0, **spec):
    spec = {"name": "x", "size": (64, 96), "dtype": dtype} | spec
    return ImageTensor(ImageInput(**spec), TensorSpec("x", (1, 64, 96, 3), dtype, step, zero_point))


@given(
    width=st.integers(2, 700),
    height=st.integers(2, 700),
    place=st.sampled_from(["centre", "top-left"]),
    fit=st.sampled_from(["letterbox", "stretch"]),
    share=st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.6, 1), st.floats(0.6, 1)),
)
def test_a_box_returns_from_the_networks_input_to_where_it_was(width, height, place, fit, share):
    image = np.zeros((height, width, 3), np.uint8)
    box = np.array([share]) * (width, height, width, height)
    _, placed = tensor(place=place, fit=fit).fill(image)
    scale = (placed.scale_x, placed.scale_y) * 2
    in_input = box * scale + (placed.offset_x, placed.offset_y) * 2
    np.testing.assert_allclose(placed.to_frame(in_input), box, atol=1e-6)


def test_a_letterboxed_picture_is_centred_between_bars_of_the_pad_value():
    values, placed = tensor(pad=114).fill(np.full((100, 100, 3), 200, np.uint8))
    assert values.shape == (1, 64, 96, 3)
    assert (values[0, :, 16:80] == 200).all()
    assert (values[0, :, :16] == 114).all()
    assert (values[0, :, 80:] == 114).all()
    assert (placed.offset_x, placed.scale_x) == (16.0, 0.64)


def test_bars_of_an_earlier_frame_size_do_not_stay():
    fit = tensor()
    fit.fill(np.full((10, 100, 3), 255, np.uint8))
    values, _ = fit.fill(np.full((100, 10, 3), 255, np.uint8))
    assert (values[0, :, :40] == 0).all()


def test_a_region_fills_the_input_and_its_boxes_land_in_the_frame():
    image = np.zeros((200, 300, 3), np.uint8)
    image[100:132, 150:198] = 255
    values, placed = tensor().fill(image, (150, 100, 198, 132))
    assert (values == 255).all()
    np.testing.assert_allclose(placed.to_frame(np.array([[0, 0, 96, 64]])), [[150, 100, 198, 132]])


def test_layout_and_colour_order_are_the_manifests():
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 0] = 255  # red
    values, _ = tensor(layout="NCHW", colour="BGR").fill(image)
    assert values.shape == (1, 3, 64, 96)
    assert values[0, 2].min() == 255
    assert values[0, :2].max() == 0


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_pixels_are_normalised_channel_by_channel(layout):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    spec = {"mean": (1.0, 2.0, 3.0), "scale": (0.5, 0.25, 2.0), "layout": layout}
    values, _ = tensor(**spec).fill(image)
    expected = (image.astype(np.float32) - (1, 2, 3)) * (0.5, 0.25, 2.0)
    expected = expected.transpose(2, 0, 1) if layout == "NCHW" else expected
    np.testing.assert_allclose(values[0], expected, rtol=1e-6)
    pixels = image.transpose(2, 0, 1) if layout == "NCHW" else image
    np.testing.assert_allclose(
        normalise(pixels, ImageInput(name="x", size=(64, 96), **spec)), expected, rtol=1e-6
    )


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -1), ("uint8", 127)])
def test_integer_inputs_are_quantised_as_the_interpreter_says(dtype, zero_point):
    ramp = np.repeat(np.arange(96, dtype=np.uint8) * 2, 64 * 3).reshape(96, 64, 3)
    image = np.ascontiguousarray(ramp.transpose(1, 0, 2))
    fit = tensor(dtype, 1 / 127, zero_point, mean=(127.5,) * 3, scale=(1 / 127.5,) * 3)
    values, _ = fit.fill(image)
    real = (values[0].astype(float) - zero_point) / 127
    np.testing.assert_allclose(real, (image - 127.5) / 127.5, atol=0.51 / 127)


def test_plain_bytes_go_through_untouched():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    values, _ = tensor("uint8").fill(image)
    np.testing.assert_array_equal(values[0], image)
    assert values.dtype == np.uint8


def test_channels_of_an_integer_input_may_differ():
    image = np.full((64, 96, 3), 100, np.uint8)
    fit = tensor("int8", 1.0, 0, mean=(90.0, 100.0, 120.0))
    np.testing.assert_array_equal(fit.fill(image)[0][0, 0, 0], [10, 0, -20])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_grey_input_gets_one_channel_of_the_pictures_brightness(layout, dtype):
    fit = tensor(dtype, colour="GREY", layout=layout, pad=20, mean=(10.0,) * 3)
    image = np.zeros((100, 100, 3), np.uint8)
    image[...] = (200, 100, 50)
    values, _ = fit.fill(image)
    plane = values[0, ..., 0] if layout == "NHWC" else values[0, 0]
    assert plane.shape == (64, 96)
    assert (plane[:, 16:80] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50) - 10).all()
    assert (plane[:, :16] == 10).all()
