import msgspec
import numpy as np
import pytest

from edge.backends import available
from edge.bundle import load
from edge.errors import BundleError
from edge.recurrent import RecurrentTracker, joined, open_follower
from edge.step import StepModel, replay_golden
from tests.conftest import MODELS

if "onnx" not in available():
    pytest.skip("needs onnxruntime", allow_module_level=True)

from tests import tracker_models

FPS = 30.0


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    return tracker_models.write(tmp_path_factory.mktemp("models") / "bright")


@pytest.fixture
def tracker(bright):
    return RecurrentTracker(bright)


def box_at(x, y, size=40.0):
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


def frame(*targets, size=40, shape=(240, 320)):
    """Squares at (x, y, brightness) on black."""
    image = np.zeros((*shape, 3), np.uint8)
    for x, y, value in targets:
        top, left = max(int(y - size / 2), 0), max(int(x - size / 2), 0)
        image[top : max(int(y + size / 2), 0), left : max(int(x + size / 2), 0)] = value
    return image


def walk(tracker, steps, start=(80, 80), speed=(4, 2), per_s=FPS):
    targets = tracker.start(frame((*start, 200)), np.array([box_at(*start)]), 0.0)
    for number in range(1, steps + 1):
        x, y = start[0] + speed[0] * number, start[1] + speed[1] * number
        targets = tracker.step(frame((x, y, 200)), targets, number / per_s)
    return targets


def test_a_moving_target_is_followed_and_forecast(tracker):
    targets = walk(tracker, 20)
    np.testing.assert_allclose(targets.boxes, [box_at(160, 120)], atol=0.2)
    np.testing.assert_allclose(targets.at(20 / FPS + 0.1), [box_at(172, 126)], atol=0.5)
    assert targets.presence.tolist() == [1.0]
    assert targets.seen_at.tolist() == pytest.approx([20 / FPS])


def test_time_is_told_in_seconds_so_that_the_forecast_does_not_depend_on_the_frame_rate(tracker):
    slow = walk(tracker, 10, speed=(8, 4), per_s=FPS / 2)
    np.testing.assert_allclose(slow.at(20 / FPS + 0.1), [box_at(172, 126)], atol=0.5)


def test_a_step_leaves_the_targets_before_as_they_were(tracker):
    before = walk(tracker, 3)
    kept = [np.copy(a) for a in (before.boxes, before.templates, *before.state.values())]
    tracker.step(frame((96, 88, 200)), before, 0.2)
    now = (before.boxes, before.templates, *before.state.values())
    for array, copy in zip(now, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_targets_of_one_batch_do_not_leak_into_each_other(tracker):
    starts = np.array([[60.0, 60.0, 90.0], [250.0, 70.0, 150.0], [70.0, 190.0, 250.0]])
    speeds = np.array([[3.0, 1.0, 0.0], [-2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    boxes = np.array([box_at(x, y) for x, y, _ in starts])
    together = tracker.start(frame(*starts), boxes, 0.0)
    alone = [tracker.start(frame(*starts), box[None], 0.0) for box in boxes]
    for number in range(1, 11):
        image = frame(*(starts + number * speeds))
        together = tracker.step(image, together, number / FPS)
        alone = [tracker.step(image, target, number / FPS) for target in alone]
    np.testing.assert_allclose(together.boxes, joined(alone).boxes, atol=1e-3)
    ends = [box_at(x, y) for x, y, _ in starts + 10 * speeds]
    np.testing.assert_allclose(together.boxes, ends, atol=0.5)


def test_a_box_that_is_long_or_flat_keeps_its_shape(tracker):
    image = np.zeros((240, 320, 3), np.uint8)
    image[60:180, 100:130] = 200
    targets = tracker.start(image, np.array([[100.0, 60.0, 130.0, 180.0]]), 0.0)
    moved = tracker.step(np.roll(image, 6, axis=1), targets, 1 / FPS)
    np.testing.assert_allclose(moved.boxes, [[106.0, 60.0, 136.0, 180.0]], atol=0.5)


def test_an_anchor_takes_a_new_template_and_keeps_the_state(tracker):
    targets = walk(tracker, 10)
    darker = frame((120, 100, 90))
    anchored = tracker.anchor(
        darker, targets, np.array([0]), np.array([box_at(120, 100)]), 10 / FPS, fresh=False
    )
    assert anchored.state["hidden"][0, 0] == 10
    np.testing.assert_allclose(anchored.templates.mean(), 90, atol=1)
    np.testing.assert_allclose(anchored.at(10 / FPS), [box_at(120, 100)])
    np.testing.assert_allclose(anchored.at(10 / FPS + 0.1), [box_at(132, 106)], atol=0.5)


def test_a_fresh_anchor_forgets_what_was_and_others_stay(tracker):
    targets = joined((walk(tracker, 10), walk(tracker, 10)))
    rows, boxes = np.array([1]), np.array([box_at(200, 60)])
    anchored = tracker.anchor(frame((200, 60, 200)), targets, rows, boxes, 10 / FPS)
    assert anchored.state["hidden"][:, 0].tolist() == [10, 0]
    np.testing.assert_allclose(anchored.at(1.0)[1], box_at(200, 60))
    np.testing.assert_array_equal(anchored.at(1.0)[0], targets.at(1.0)[0])


def test_a_target_that_leaves_is_less_present_and_is_found_where_it_comes_back(tracker):
    targets = walk(tracker, 10)
    for number in range(11, 16):
        targets = tracker.step(frame(), targets, number / FPS)
        assert targets.presence.tolist() == [0.0]
    for number in range(16, 20):
        image = frame((80 + 4 * number, 80 + 2 * number, 200))
        targets = tracker.step(image, targets, number / FPS)
    assert targets.presence.tolist() == [1.0]
    np.testing.assert_allclose(targets.boxes, [box_at(156, 118)], atol=0.5)


@pytest.mark.parametrize("at", [10 / FPS, 0.0, -3600.0])
def test_time_that_stands_still_or_goes_back_is_no_time(tracker, at):
    found = tracker.step(frame((120, 100, 200)), walk(tracker, 10), at)
    np.testing.assert_allclose(found.boxes, [box_at(120, 100)], atol=0.5)
    assert found.seen_at.tolist() == pytest.approx([10 / FPS])


def test_after_an_hour_a_target_is_looked_for_in_the_frame(tracker):
    found = tracker.step(frame((120, 100, 200)), walk(tracker, 10), 3600.0)
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.at(7200.0)).all()


def test_frames_may_change_their_size(tracker):
    targets = walk(tracker, 5)
    for shape in ((480, 640), (50, 40), (1, 1), (240, 320)):
        targets = tracker.step(frame(shape=shape), targets, targets.seen_at[0] + 1 / FPS)
        assert np.isfinite(targets.boxes).all()


def test_64_targets_on_top_of_each_other_give_64_equal_answers(tracker):
    boxes = np.tile(box_at(100, 100), (64, 1))
    targets = tracker.start(frame((100, 100, 200)), boxes, 0.0)
    targets = tracker.step(frame((104, 102, 200)), targets, 1 / FPS)
    np.testing.assert_allclose(targets.boxes, np.tile(box_at(104, 102), (64, 1)), atol=0.5)


def test_no_targets_take_no_step(tracker):
    assert len(tracker.step(frame(), tracker.none(), 1.0)) == 0


def forgetful(text):
    return text.replace("next_hidden = Add (hidden, one)", "next_hidden = Mul (hidden, one)")


def broken_at_the_second_step(text, value):
    return text.replace(
        "box = Concat <axis: int = 1> (low, high)",
        f"""two = Add (one, one)
        counted = ReduceMax <axes: ints = [1]> (next_hidden)
        zero_then = Sub (two, counted)
        odd = {value}
        lower = Mul (low, odd)
        box = Concat <axis: int = 1> (lower, high)""",
    )


@pytest.mark.parametrize(
    "value",
    ["Div (zero_then, zero_then)", "Div (one, zero_then)"],
    ids=["nan", "infinite"],
)
def test_a_target_without_a_finite_box_begins_anew_where_it_was_looked_for(value, tmp_path):
    bundle = tracker_models.write(
        tmp_path / "odd", lambda text: broken_at_the_second_step(text, value)
    )
    tracker = RecurrentTracker(bundle)
    lost = tracker.step(frame((88, 84, 200)), walk(tracker, 1), 2 / FPS)
    np.testing.assert_allclose(lost.boxes, [box_at(88, 84)], atol=0.5)
    assert (lost.presence.tolist(), lost.state["hidden"][0, 0]) == ([0.0], 0.0)
    found = tracker.step(frame((88, 84, 200)), lost, 3 / FPS)
    assert found.presence.tolist() == [1.0]


def test_a_recorded_tracker_repeats_its_recording(tmp_path):
    assert replay_golden(StepModel(tracker_models.write_recorded(tmp_path / "good"))) < 1e-4


def test_a_tracker_whose_state_never_changes_is_refused(tmp_path):
    bundle = tracker_models.write_recorded(tmp_path / "dead", forgetful)
    with pytest.raises(BundleError, match="state 'hidden' never changes over 12 steps"):
        replay_golden(StepModel(bundle))


def test_a_tracker_may_have_no_state(tmp_path):
    bundle = tracker_models.write(tmp_path / "stateless", tracker_models.stateless, state=None)
    targets = walk(RecurrentTracker(bundle), 10)
    np.testing.assert_allclose(targets.boxes, [box_at(120, 100)], atol=0.5)


def float_crops(manifest):
    return {"input": msgspec.structs.replace(manifest.input, dtype="float32")}


def other_name(manifest):
    return {"inputs": {"template": manifest.inputs["template"]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (float_crops, "takes float32 RGB NHWC crops, a tracker's are uint8 RGB NHWC"),
        (other_name, "wants an input 'motion' that the manifest does not name"),
    ],
)
def test_a_tracker_that_is_no_tracker_is_refused(change, message, tmp_path):
    bundle = tracker_models.write(tmp_path / "odd", **change(tracker_models.manifest()))
    with pytest.raises(BundleError, match=message):
        RecurrentTracker(bundle)


def test_a_bundle_of_another_kind_is_refused():
    with pytest.raises(BundleError, match="is a sequence, not a tracker; name another"):
        RecurrentTracker(load(MODELS / "lstm-step"))


def test_a_follower_gives_the_box_the_presence_and_a_forecast(bright):
    follower = open_follower(bright.folder)
    follower.start(frame((80, 80, 200)), tuple(box_at(80, 80)), 0.0)
    for number in range(1, 11):
        found = follower.step(frame((80 + 4 * number, 80, 200)), number / FPS)
    assert follower.name == "bright"
    assert found.presence == 1.0
    assert found.box == pytest.approx(box_at(120, 80), abs=0.5)
    assert found.forecast(0.1) == pytest.approx(box_at(132, 80), abs=0.5)
    follower.anchor(frame((120, 80, 200)), tuple(box_at(122, 80)), 10 / FPS)
    found = follower.step(frame((124, 80, 200)), 11 / FPS)
    assert found.box == pytest.approx(box_at(124, 80), abs=0.5)
