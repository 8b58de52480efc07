"""The article's networks from training to a record: learned, converted, streamed, as Keras says."""

import functools
import importlib.util
import json
import re

import cv2
import numpy as np
import pytest

from edge.backends import available
from edge.cli import main as edgetrack
from examples import clips
from examples.clips import LABELS, SIDE, render, write_video
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings(  # Keras 3.15 saves variables of TensorFlow 2.21 so
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

STEPS = 36
SHORT = {"clips": 600, "epochs": 10}
README = (ROOT / "examples" / "README.md").read_text().replace("\\\n", "")
NAMES = ("regressor", "video", "rnn", "gru", "behaviour")

needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs the extra convert-keras"
)
needs_both = pytest.mark.skipif("onnx" not in available(), reason="needs onnxruntime")


class Trained:
    """One network after training, its bundle, and a video of what it was trained for."""

    def __init__(self, name, folder):
        from convert.cli import main as edgetrack_convert
        from examples.train import TASKS, options, train

        self.name, self.task, self.folder = name, TASKS[name], folder
        self.model, self.losses = train(name, **SHORT)
        self.model.save(folder / f"{name}.keras")
        self.bundle, self.video = folder / name, folder / "clip.avi"
        self.clip = render(1, STEPS, seed=2_000_003, ways=self.task.ways)
        write_video(self.video, self.clip.frames[0])
        given = [str(folder / f"{name}.keras"), "--samples", str(self.video)]
        assert edgetrack_convert([*given, "--out", str(self.bundle), *options(name)]) == 0

    def values(self, backend, *words):
        """What every record of `edgetrack track` says, by frame."""
        out = self.folder / f"{backend}.jsonl"
        where = ("track", self.video, "--model", self.bundle, "--backend", backend, "--out", out)
        assert edgetrack([str(word) for word in (*where, *words)]) == 0
        records = [json.loads(line) for line in out.read_text().splitlines()]
        assert [record["frame"] for record in records] == list(range(STEPS))
        return [record["values"][self.name] for record in records]

    @functools.cached_property
    def keras_says(self):
        """(steps, numbers) of Keras: the whole sequence at once, or every beginning of it."""
        pixels = np.stack([small(frame) for frame in decoded(self.video)])[None]
        whole = self.model(pixels).numpy()
        if whole.ndim == 3:
            return whole[0]
        return np.stack([self.model(pixels[:, : k + 1]).numpy()[0] for k in range(STEPS)])


def decoded(path):
    """The frames of a video as OpenCV reads them, RGB."""
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames


def small(frame):
    """A frame as a network sees it."""
    return cv2.resize(frame, (SIDE, SIDE)).astype(np.float32) / 255


def numbers(value):
    return list(value.get("scores", value).values())


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Networks by name, each trained once."""
    return functools.cache(lambda name: Trained(name, tmp_path_factory.mktemp(name)))


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_what_no_single_frame_tells(name, networks):
    losses = networks(name).losses
    assert losses.trained < 0.4 * losses.constant
    assert losses.trained < 0.4 * losses.memory_cut
    assert losses.memory_cut > 0.9 * losses.constant


@needs_keras
@needs_both
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["litert", "onnx"])
@pytest.mark.parametrize("name", NAMES)
def test_every_record_of_a_video_says_what_keras_says_of_the_frames_so_far(name, backend, networks):
    trained = networks(name)
    said = [numbers(value) for value in trained.values(backend)]
    np.testing.assert_allclose(said, trained.keras_says, rtol=0, atol=1e-5)


@needs_keras
@pytest.mark.slow
def test_the_behaviour_in_each_frame_is_its_most_likely_class_and_mostly_right(networks):
    behaviour = networks("behaviour")
    said = behaviour.values("litert")
    for value in said:
        assert set(value["scores"]) == set(LABELS)
        assert value["score"] == max(value["scores"].values()) == value["scores"][value["label"]]
        assert sum(value["scores"].values()) == pytest.approx(1.0, abs=1e-5)
    right = [LABELS[doing] for doing in behaviour.clip.doing[0]]
    assert set(right) == set(LABELS)
    assert (
        np.mean([value["label"] == label for value, label in zip(said, right, strict=True)]) > 0.7
    )


@needs_keras
@pytest.mark.slow
def test_the_annotated_video_shows_the_behaviour(networks):
    behaviour = networks("behaviour")
    path = behaviour.folder / "out.mp4"
    behaviour.values("litert", "--video", str(path))
    plain, drawn = np.array(decoded(behaviour.video)), np.array(decoded(path))
    assert drawn.shape == plain.shape
    changed = np.abs(drawn.astype(int) - plain).mean(axis=(2, 3))  # (steps, rows)
    label, picture = changed[:, :14], changed[:, 20:-20]
    assert (label.mean(axis=1) > 5 * picture.mean(axis=1)).all()


@needs_keras
@needs_both
@pytest.mark.slow
def test_the_readme_works_as_it_stands_there(tmp_path, monkeypatch, capsys):
    from convert.cli import main as edgetrack_convert
    from examples import train

    monkeypatch.chdir(tmp_path)
    programs = {
        "python -m examples.train ": lambda words: train.main([*words, "--clips=20", "--epochs=1"]),
        "python -m examples.clips ": clips.main,
        "edgetrack-convert ": edgetrack_convert,
        "edgetrack ": edgetrack,
    }
    for program, words in re.findall(rf"^    ({'|'.join(programs)})(.*)$", README, re.MULTILINE):
        assert not programs[program](words.split())
    assert "next: edgetrack-convert behaviour.keras" in capsys.readouterr().out
    assert all(label in (tmp_path / "clip.jsonl").read_text() for label in LABELS)
    assert (tmp_path / "out.mp4").stat().st_size > 10_000


def test_a_clip_is_the_same_every_time_and_moves_as_it_says():
    one, again = render(5, 8, seed=3), render(5, 8, seed=3)
    np.testing.assert_array_equal(one.frames, again.frames)
    turns = np.exp(2j * np.pi * np.arange(SIDE) / SIDE)  # the ball goes around the edge
    place = np.angle(one.frames.sum(axis=(2, 4)) @ turns) * SIDE / (2 * np.pi)
    moved = (np.diff(place, axis=1) + SIDE / 2) % SIDE - SIDE / 2
    np.testing.assert_allclose(moved, one.velocity[:, 1:], atol=0.5)


def test_where_the_ball_is_says_nothing_of_where_it_goes():
    many = render(4000, 3, seed=0, ways=(-1, 1))
    goes_right = many.velocity[:, -1] > 0
    brightness = many.frames[:, -1].mean(axis=(1, 3))  # (clips, columns)
    apart = brightness[goes_right].mean(axis=0) - brightness[~goes_right].mean(axis=0)
    assert np.abs(apart).max() < 0.1 * brightness.std()


def test_a_video_of_a_clip_is_read_back_as_its_frames(tmp_path):
    frames = render(1, 20, seed=1).frames[0]
    write_video(tmp_path / "clip.avi", frames)
    read = np.array([small(frame) for frame in decoded(tmp_path / "clip.avi")]) * 255
    assert np.abs(read - frames).mean() < 5
