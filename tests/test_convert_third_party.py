"""Other people's recurrent models, converted and streamed, against the plain interpreter."""

import json

import cv2
import numpy as np
import pytest

import edge
from convert.cli import main
from edge.backends import available, open_session
from edge.cli import main as edgetrack

pytestmark = pytest.mark.skipif("litert" not in available(), reason="needs LiteRT")
TRAFFIC = "traffic_convlstm/traffic_model.tflite"


def run(*words):
    return main([str(word) for word in words])


@pytest.mark.usefixtures("needs_onnx")
def test_silero_vad_streams_exactly_as_in_the_plain_interpreter(shared, tmp_path):
    pytest.importorskip("onnx", reason="needs onnx")
    file = shared / "models" / "silero_vad" / "silero_vad.onnx"
    words = ("--constant", "sr=16000", "--shape", "input=512", "--licence", "MIT")
    assert run(file, *words, "--out", tmp_path / "vad") == 0
    model = edge.load_step(tmp_path / "vad")
    plain = open_session({"onnx": file}, "onnx")
    carried, state = np.zeros((2, 1, 128), np.float32), model.initial_state()
    random = np.random.default_rng(0)
    for _ in range(100):
        audio = random.normal(0, 0.1, (1, 512)).astype(np.float32)
        given = {"input": audio, "state": carried, "sr": np.array(16000, np.int64)}
        wanted = plain.run(given)
        carried = np.array(wanted["stateN"])
        outputs, state = model.step({"input": audio}, state)
        assert np.array_equal(outputs["output"], wanted["output"])


def test_a_model_whose_state_is_dead_is_refused_by_the_states_name(shared, tmp_path, capsys):
    clip = shared / "models" / "traffic_convlstm" / "traffic_frames.mp4"
    words = ("--licence", "Apache-2.0", "--samples", clip, "--out", tmp_path / "traffic")
    assert run(shared / "models" / TRAFFIC, *words) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert "state 'lstm_c' never changes" in line
    assert list(tmp_path.iterdir()) == []


def test_under_the_override_it_streams_as_the_plain_interpreter_does(shared, tmp_path):
    clip = shared / "models" / "traffic_convlstm" / "traffic_frames.mp4"
    bundle, records = tmp_path / "traffic", tmp_path / "records.jsonl"
    words = ("--licence", "Apache-2.0", "--samples", clip, "--accept", "dead-state")
    assert run(shared / "models" / TRAFFIC, *words, "--out", bundle) == 0
    assert edgetrack(["track", str(clip), "--model", str(bundle), "--out", str(records)]) == 0
    found = [json.loads(line)["values"]["traffic"] for line in records.read_text().splitlines()]
    assert np.abs(np.array(found) - plainly(shared / "models" / TRAFFIC, bundle, clip)).max() < 1e-6


def plainly(file, bundle, clip):
    """What the plain interpreter gives for the values' output, frame by frame, states fed back."""
    manifest = edge.load_step(bundle).manifest
    session = open_session({"tflite": file})
    states = {s.input: np.zeros(s.shape, s.dtype) for s in manifest.state.tensors}
    size, output, answers = manifest.input.size, manifest.decode.output, []
    source = edge.open_source(str(clip), edge.Settings().capture)
    while (frame := source.read()) is not None:
        picture = cv2.resize(frame.image, size[::-1], interpolation=cv2.INTER_LINEAR)
        results = session.run({manifest.input.name: picture[None], **states})
        states = {s.input: np.array(results[s.output]) for s in manifest.state.tensors}
        answers.append(results[output].ravel())
    source.close()
    return np.array(answers)
