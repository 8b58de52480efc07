import json
import re
from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest

import edge
from edge.backends import available
from edge.bundle import Bundle, load
from edge.config import DetectionSettings
from edge.errors import BundleError, UsageError
from edge.manifest import Classes, StateSpec, StateTensor, TensorOutput, Values
from edge.sequence import SequenceModel, sigmoid, softmax
from edge.tracker import Tracker
from edge.types import Frame, TensorSpec
from tests.conftest import MODELS, ScriptedDetector, call, changed, plain_frame, refusal

ENCODER = MODELS / "encoder-step"


class Network:
    """Counts its steps in its state, and says the count or what it was told to say."""

    backend = "by hand"

    def __init__(self, said=None, scale=0.0, zero_point=0):
        self.said = np.float32([[0]]) if said is None else np.array([said])
        self.counts = said is None
        dtype = self.said.dtype.name
        self.inputs = {"image": TensorSpec("image", (1, 8, 8, 3), "float32"), "h": count("h")}
        self.outputs = {
            "y": TensorSpec("y", self.said.shape, dtype, scale, zero_point),
            "h_next": count("h_next"),
        }

    def run(self, inputs):
        counted = inputs["h"] + 1
        return {"y": counted if self.counts else self.said, "h_next": counted}


def count(name):
    return TensorSpec(name, (1, 1), "float32")


def sequence(monkeypatch, network, decode=None, labels=(), gap_s=0.0):
    spec = network.outputs["y"]
    tensor = StateTensor(name="h", input="h", output="h_next", shape=(1, 1))
    manifest = msgspec.structs.replace(
        load(ENCODER).manifest,
        networks={"step": {"tflite": ""}},
        state=StateSpec(scope="per_stream", tensors=(tensor,), reset_after_gap_s=gap_s),
        outputs={"y": TensorOutput(shape=spec.shape, dtype=spec.dtype)},
        decode=decode or Values(output="y"),
        labels=labels,
    )
    monkeypatch.setattr("edge.step.open_session", lambda *_: network)
    return SequenceModel(Bundle(manifest, ENCODER))


def said(monkeypatch, numbers, decode, labels=(), **coding):
    return sequence(monkeypatch, Network(numbers, **coding), decode, labels).update(frame(0.0))


def frame(at, condition="good", size=(8, 8)):
    pixels = np.random.default_rng(round(at * 100)).integers(0, 256, (*size, 3), np.uint8)
    return Frame(pixels, 0, at, condition=condition)


def pictures(folder, number, size=(8, 8)):
    """Write pictures and return the last step's class scores of each, stepped by hand."""
    model = edge.load_step(ENCODER)
    scores, state = [], model.initial_state()
    for index in range(number):
        image = frame(index, size=size).image
        cv2.imwrite(str(folder / f"{index:03}.png"), image[..., ::-1])
        tensor = ((image[None] - np.float32(127.5)) * np.float32(1 / 127.5)).astype(np.float32)
        outputs, state = model.step({"image": tensor}, state)
        scores.append(outputs["classes"][0])
    return np.array(scores)


def values_of(text):
    return [json.loads(line)["values"]["encoder-step"] for line in text.splitlines()]


@pytest.mark.parametrize("backend", available())
def test_a_sequence_model_gives_what_stepping_by_hand_gives(backend, tmp_path):
    expected = pictures(tmp_path, 12)
    model = SequenceModel(load(ENCODER), backend)
    for index, (left, right) in enumerate(expected):
        value = model.update(frame(index))
        assert value["scores"] == pytest.approx({"left": left, "right": right}, abs=1e-5)
        assert value["label"] == ("left" if left > right else "right")
        assert value["score"] == max(value["scores"].values())


@pytest.mark.parametrize("condition", ["black", "repeated", "frozen"])
def test_a_frame_that_shows_nothing_new_gives_the_last_value_and_never_reaches_the_state(
    condition, monkeypatch
):
    model = sequence(monkeypatch, Network())
    assert model.update(frame(0.0, condition)) is None
    values = [model.update(frame(t, c)) for t, c in [(1, "good"), (2, condition), (3, "good")]]
    assert values == [[1.0], [1.0], [2.0]]


@pytest.mark.parametrize(
    ("gap_s", "times", "counts"),
    [
        (0.0, [0, 1, 1000, 1001], [1, 2, 3, 4]),
        (0.5, [10, 10.5, 11.1, 11.2], [1, 2, 1, 2]),
        (0.5, [10, 10.2, 9.9, 10.0], [1, 2, 1, 2]),
        (0.0, [10, 5, 5, 6], [1, 1, 2, 3]),
    ],
    ids=["never", "gap", "back", "back without a gap"],
)
def test_a_gap_or_a_clock_that_goes_back_starts_a_new_state(gap_s, times, counts, monkeypatch):
    model = sequence(monkeypatch, Network(), gap_s=gap_s)
    assert [model.update(frame(at)) for at in times] == [[n] for n in counts]


def test_time_in_which_no_frame_reached_the_state_is_a_gap(monkeypatch):
    model = sequence(monkeypatch, Network(), gap_s=1.0)
    times = [(0, "good"), (0.9, "black"), (1.8, "black"), (2.0, "good")]
    assert [model.update(frame(at, c)) for at, c in times] == [[1], [1], [1], [1]]


def test_frames_may_change_size():
    model, sizes = SequenceModel(load(ENCODER)), [(8, 8), (480, 640), (1, 1), (3, 900)]
    values = [model.update(frame(i, size=size)) for i, size in enumerate(sizes)]
    assert all(set(value["scores"]) == {"left", "right"} for value in values)


def test_scores_as_logits_become_shares_of_one(monkeypatch):
    coding = Classes(output="y", score_coding="logit")
    value = said(monkeypatch, np.float32([1000.0, 999.0, -1000.0]), coding, ("a", "b", "c"))
    assert value["label"] == "a"
    assert value["scores"] == pytest.approx({"a": 0.731059, "b": 0.268941, "c": 0.0}, abs=1e-6)
    assert value["score"] == value["scores"]["a"]


@pytest.mark.parametrize(("logit", "share"), [(0.0, 0.5), (2.0, 0.880797), (-1e4, 0.0), (1e4, 1)])
def test_one_logit_is_a_class_against_its_absence(logit, share, monkeypatch):
    coding = Classes(output="y", score_coding="logit")
    value = said(monkeypatch, np.float32([logit]), coding, ("smile",))
    assert (value["label"], list(value["scores"])) == ("smile", ["smile"])
    assert value["score"] == pytest.approx(share, abs=1e-6)


def test_shares_are_given_as_they_are_and_classes_without_labels_are_numbered(monkeypatch):
    value = said(monkeypatch, np.float32([0.25, 0.5, 0.5]), Classes(output="y"))
    assert value == {"label": "1", "score": 0.5, "scores": {"0": 0.25, "1": 0.5, "2": 0.5}}


@pytest.mark.parametrize(
    ("numbers", "labels", "value"),
    [
        ([0.5, -2.0], ("pan", "tilt"), {"pan": 0.5, "tilt": -2.0}),
        ([0.5, -2.0], (), [0.5, -2.0]),
        ([0.5, -2.0], ("pan",), [0.5, -2.0]),
        ([[1.0, 2.0], [3.0, 4.0]], (), [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_values_are_named_where_every_number_has_a_label(numbers, labels, value, monkeypatch):
    assert said(monkeypatch, np.float32(numbers), Values(output="y"), labels) == value


def test_integer_outputs_are_given_as_the_real_values_they_stand_for(monkeypatch):
    value = said(monkeypatch, np.int8([3, 13, -7]), Values(output="y"), scale=0.5, zero_point=3)
    assert value == [0.0, 5.0, -5.0]


def test_what_a_broken_network_says_is_passed_on_without_a_warning():
    for broken in ([np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]):
        assert np.isnan(softmax(np.array(broken))).all()
    assert np.isnan(sigmoid(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": None}, "takes nothing and no picture; step it with edge.load_step"),
        ({"inputs": {"dt": {"shape": [1]}}}, "takes dt beside the picture, which no frame gives"),
        ({"decode": None}, "its decode is missing, not classes or values"),
        ({"decode": {"family": "target_box", "box": "b", "presence": "p"}}, "decode is targetbox"),
        ({"decode": {"family": "values", "output": "z"}}, "decodes 'z', its outputs are classes"),
        ({"labels": ["a", "b", "c"]}, "'classes' gives 2 classes, the labels are a, b, c; name"),
        ({"labels": ["a", "a"]}, "'classes' gives 2 classes, the labels are a, a; name each"),
        ({"kind": "tracker"}, "a tracker needs an input that is a crop and decode of family "
                              "target_box"),
    ],
)  # fmt: skip
def test_a_bundle_that_frames_cannot_run_is_refused(change, message, tmp_path):
    folder = changed(tmp_path, "encoder-step", lambda m: m.update(change))
    code, out, line = refusal("track", "synthetic:portrait?frames=2", "--model", folder)
    assert (code, out) == (65, "")
    assert re.search(f"model: .*{re.escape(message)}", line)


def test_a_state_per_track_and_a_detector_are_no_sequence_models(tmp_path):
    folder = changed(tmp_path, "encoder-step", lambda m: m["state"].update(scope="per_track"))
    with pytest.raises(BundleError, match="state is per_track, one for every target"):
        SequenceModel(load(folder))
    with pytest.raises(BundleError, match="square: is a detector, not a sequence"):
        SequenceModel(load(MODELS / "square"))


def test_two_sequence_models_of_one_name_are_refused(tmp_path):
    folder = changed(tmp_path, "encoder-step", lambda _: None)
    with pytest.raises(UsageError, match=r"encoder-step, encoder-step have one name"):
        Tracker.from_models([str(ENCODER), str(folder)])


def test_a_sequence_model_steps_every_good_frame_however_rarely_the_detector_looks(
    one_box, monkeypatch
):
    detector = ScriptedDetector([one_box] * 3)
    model = sequence(monkeypatch, Network())
    tracker = Tracker([detector], DetectionSettings(every=3), sequences=[model])
    for index in range(7):
        assert [track.id for track in tracker.update(plain_frame(index, index / 30))] == [1]
        assert tracker.values == {"encoder-step": [index + 1.0]}
    tracker.update(replace(plain_frame(7, 7 / 30), condition="frozen"))
    assert tracker.values == {"encoder-step": [7.0]}
    assert detector.shown == [0, 3, 6]


def test_values_of_an_earlier_frame_stay_what_they_were(monkeypatch):
    tracker = Tracker([], sequences=[sequence(monkeypatch, Network())])
    assert tracker.update(frame(0.0)) == []
    first = tracker.values
    tracker.update(frame(1.0))
    assert (first, tracker.values) == ({"encoder-step": [1.0]}, {"encoder-step": [2.0]})


def test_track_needs_no_detector_and_gives_in_every_record_what_stepping_by_hand_gives(tmp_path):
    expected = pictures(tmp_path, 8)
    code, out, err = call("track", tmp_path, "--model", ENCODER, "--detect-every", "4")
    assert code == 0
    assert call("track", tmp_path, "--model", ENCODER, "--detect-every", "4")[1] == out
    scores = [list(value["scores"].values()) for value in values_of(out)]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert all(json.loads(line)["tracks"] == [] for line in out.splitlines())
    assert "8 frames" in err


def test_detectors_and_sequence_models_run_side_by_side(tmp_path):
    source, video = "synthetic:portrait?frames=12", tmp_path / "out.mp4"
    words = ("--model", "face-near", "--model", ENCODER, "--video", video)
    code, out, _ = call("track", source, *words)
    last = json.loads(out.splitlines()[-1])
    assert code == 0
    assert {track["label"] for track in last["tracks"]} == {"face"}
    assert list(last["values"]) == ["encoder-step"]
    records = list(edge.track(source, ["face-near", str(ENCODER)]))
    assert [record.values["encoder-step"] for record in records] == values_of(out)
    assert video.stat().st_size > 10_000


def test_a_repeated_picture_repeats_its_value_and_a_detector_alone_gives_none(tmp_path):
    pictures(tmp_path, 2)
    (tmp_path / "000b.png").write_bytes((tmp_path / "000.png").read_bytes())
    first, again, _ = values_of(call("track", tmp_path, "--model", ENCODER)[1])
    assert first == again
    assert "values" not in json.loads(call("track", tmp_path / "000.png")[1])


def test_run_gives_values_live(tmp_path):
    path = tmp_path / "out.jsonl"
    words = (
        "--source",
        "synthetic:portrait?frames=9",
        "--model",
        ENCODER,
        "--sink",
        f"file:{path}",
    )
    assert call("run", *words)[0] == 0
    values = values_of(path.read_text())
    assert values
    assert all(sum(value["scores"].values()) > 0 for value in values)


def test_check_says_of_every_model_what_it_is(tmp_path):
    path = tmp_path / "camera.toml"
    path.write_text(f'models = ["face-near", "{ENCODER}"]')
    code, out, _ = call("check", path)
    assert code == 0
    assert re.search(r"model face-near: detector, \S+ [\d.]+, 1 labels", out)
    assert re.search(r"model \S+encoder-step: sequence, \S+ [\d.]+, 2 labels", out)
