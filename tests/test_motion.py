import numpy as np
import pytest

from edge.motion import MAX_STEPS, MIN_SIZE_PX, Motion


def track_line(dt, seconds=2.0, velocity=120.0):
    motion = Motion()
    state = motion.start(np.array([[100.0], [50.0], [40.0], [80.0]]))
    for k in range(1, round(seconds / dt) + 1):
        motion.predict(state, dt)
        x = 100.0 + velocity * k * dt
        motion.correct(state, np.array([[x], [50.0], [40.0], [80.0]]))
    return state[:, 0]


@pytest.mark.parametrize("fps", [7, 10, 30])
def test_velocity_is_pixels_a_second_at_any_frame_rate(fps):
    state = track_line(1 / fps)
    assert state[4:8] == pytest.approx([120.0, 0.0, 0.0, 0.0], abs=2.0)
    assert state[:4] == pytest.approx([340.0, 50.0, 40.0, 80.0], abs=1.0)


def test_two_half_steps_equal_one_whole_step():
    motion = Motion()
    whole = motion.start(np.array([[100.0], [50.0], [40.0], [80.0]]))
    whole[4:8] = [[30.0], [-10.0], [4.0], [2.0]]
    halves = whole.copy()
    motion.predict(whole, 0.2)
    motion.predict(halves, 0.1)
    motion.predict(halves, 0.1)
    assert halves == pytest.approx(whole, rel=1e-9)


def test_the_gain_does_not_depend_on_the_size_of_the_target():
    motion = Motion()
    small = motion.start(np.array([[0.0], [0.0], [10.0], [10.0]]))
    state = np.concatenate((small, small * np.r_[np.full(8, 7.0), np.ones(6)][:, None]), axis=1)
    measured = np.array([[1.0, 7.0], [2.0, 14.0], [11.0, 77.0], [9.0, 63.0]])
    motion.predict(state, 0.1)
    motion.correct(state, measured)
    assert state[:8, 1] == pytest.approx(7.0 * state[:8, 0])
    assert state[8:, 1] == pytest.approx(state[8:, 0])


def test_an_unseen_track_is_left_at_its_prediction():
    motion = Motion()
    state = motion.start(np.array([[0.0, 9.0], [0.0, 9.0], [10.0, 10.0], [10.0, 10.0]]))
    motion.predict(state, 0.1)
    before = state.copy()
    motion.correct(state, np.full((4, 2), 8.0), np.array([True, False]))
    assert (state[:, 1] == before[:, 1]).all()
    assert (state[:4, 0] != before[:4, 0]).all()


def test_uncertainty_grows_unseen_and_shrinks_when_seen():
    motion = Motion()
    state = motion.start(np.array([[0.0], [0.0], [10.0], [10.0]]))
    motion.predict(state, 0.5)
    grown = state[8:10].copy()
    motion.correct(state, state[:4].copy())
    assert (grown > [[motion.centre_noise**2], [motion.size_noise**2]]).all()
    assert (state[8:10] < grown).all()


def test_a_shrinking_box_never_vanishes():
    motion = Motion()
    state = motion.start(np.array([[0.0], [0.0], [10.0], [10.0]]))
    state[6:8] = -1000.0
    motion.predict(state, 1.0)
    assert (state[2:4] == MIN_SIZE_PX).all()


def test_growth_fades_while_unseen_but_speed_stays():
    motion = Motion()
    state = motion.start(np.array([[0.0], [0.0], [10.0], [10.0]]))
    state[4:8] = 10.0
    motion.predict(state, 3.0)
    assert (state[4:6] == 10.0).all()
    assert (state[6:8] < 1.0).all()


def test_a_live_clock_does_not_fill_the_memory_with_transitions():
    motion = Motion()
    state = motion.start(np.array([[0.0], [0.0], [10.0], [10.0]]))
    for k in range(5 * MAX_STEPS):
        motion.predict(state, 0.03 + k * 1e-6)
    assert len(motion._steps) <= MAX_STEPS
    assert np.isfinite(state).all()
