import numpy as np
import pytest

from edge.forecast import HORIZONS_S, moved, read


def curve(*dx, scale=-3.0):
    forecast = np.zeros((1, 5, 6))
    forecast[0, :, 0] = dx
    forecast[0, :, 4:] = scale
    return forecast


@pytest.mark.parametrize(
    ("dt", "dx"),
    [(0.0, 1.0), (1 / 60, 1.5), (1 / 30, 2.0), (1 / 15, 3.0), (0.1, 4.0), (2 / 3, 12.0),
     (1.0, 16.0), (3600.0, 16.0), (-5.0, 1.0)],
)  # fmt: skip
def test_a_forecast_is_straight_between_horizons_and_still_beyond(dt, dx):
    displacement, _ = read(curve(1.0, 2.0, 4.0, 8.0, 16.0), dt)
    np.testing.assert_allclose(displacement, [[dx, 0, 0, 0]])


def test_doubt_grows_as_the_root_of_time_beyond_the_last_horizon():
    np.testing.assert_allclose(read(curve(*[0] * 5, scale=np.log(0.2)), 0.5)[1], [[0.2, 0.2]])
    np.testing.assert_allclose(read(curve(*[0] * 5, scale=np.log(0.2)), 4.0)[1], [[0.4, 0.4]])


def test_every_target_is_read_at_its_own_time():
    forecast = np.concatenate([curve(*HORIZONS_S), curve(*(2 * HORIZONS_S))])
    displacement, scales = read(forecast, np.array((0.25, 0.75)))
    np.testing.assert_allclose(displacement[:, 0], [0.25, 1.5])
    assert scales.shape == (2, 2)


def test_a_displacement_is_in_sizes_of_the_box_and_growth_in_logarithms():
    boxes = np.array([[0.0, 0.0, 10.0, 40.0]])  # its size is 20
    found = moved(boxes, np.array([[0.5, -1.0, np.log(2.0), np.log(0.5)]]))
    np.testing.assert_allclose(found, [[5.0, -10.0, 25.0, 10.0]])


def test_no_targets_have_no_forecast():
    displacement, scales = read(np.zeros((0, 5, 6)), 0.1)
    assert moved(np.zeros((0, 4)), displacement).shape == (0, 4)
    assert scales.shape == (0, 2)
