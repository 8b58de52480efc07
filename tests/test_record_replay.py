import os
import threading
from dataclasses import replace

import numpy as np
import pytest

import edge.commands.record
from edge.camera import Camera
from edge.cli import main
from edge.config import FileSettings, SourceSettings
from edge.pipeline import Live, Run, every_frame
from edge.sinks import open_sink
from edge.sinks.detached import Detached
from edge.sinks.record import Recorder
from edge.sources.synthetic import SyntheticPortrait
from edge.tracker import Tracker
from edge.types import Detections
from edge.vitals import Vitals
from tests.conftest import ScriptedDetector, call
from tests.recording_case import (
    lines_of,
    noise,
    plain_frames,
    recorded,
    replay,
    same,
    shots_of,
    write_all,
)

SYNTHETIC = "synthetic:portrait?frames=12"


def test_a_replay_gives_the_same_bytes_each_time_from_folder_and_report(tmp_path, capfd):
    assert main(["record", SYNTHETIC, "--out", str(tmp_path / "a")]) == 0
    assert main(["record", "--pack", str(tmp_path / "a"), "--out", str(tmp_path / "r.zip")]) == 0
    capfd.readouterr()
    first = replay(capfd, tmp_path / "a")
    assert len(lines_of(first)) == 12
    assert replay(capfd, tmp_path / "a") == first
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    assert replay(capfd, tmp_path / "r.zip") == first
    assert replay(capfd, tmp_path / "elsewhere" / "segment-1.edgerec") == first


def test_a_replay_has_the_tracks_that_tracking_the_source_has(tmp_path, capfd):
    assert main(["record", SYNTHETIC, "--out", str(tmp_path / "a")]) == 0
    assert main(["track", SYNTHETIC]) == 0
    tracked = lines_of(capfd.readouterr().out)
    replayed = lines_of(replay(capfd, tmp_path / "a"))
    assert [line | {"run": ""} for line in replayed] == [line | {"run": ""} for line in tracked]
    assert replayed[-1]["tracks"]
    assert main(["track", str(tmp_path / "a")]) == 0
    again = lines_of(capfd.readouterr().out)
    assert [line["tracks"] for line in again] == [line["tracks"] for line in tracked]


class GatedSource:
    """A live source that gives the next frame once the one before went through the loop."""

    live, description, fps = True, "gated", 30.0

    def __init__(self, frames):
        self._frames, self.passed = iter(frames), threading.Semaphore(1)

    def read(self):
        self.passed.acquire()
        return next(self._frames, None)

    def close(self):
        self.passed.release()


def run_live_and_record(frames, tracker, folder):
    """The records of a live run with a recorder beside it, of which nothing is dropped."""
    source, run, records = GatedSource(frames), Run("front"), []
    camera = Camera(lambda: source, SourceSettings(), once=True)
    vitals = Vitals(run.camera, run.id, run.counts, camera.monotonic())
    outputs = [Detached(open_sink(f"record:{folder}", files=FileSettings()), depth=1000)]

    def seen(record):
        records.append(record)
        source.passed.release()

    Live(camera, tracker, outputs, run, vitals).loop(lambda: False, seen=seen)
    assert run.counts.unwritten == {f"record:{folder}": 0}
    return records


def test_a_replay_of_a_live_run_has_its_tracks_and_those_of_track(tmp_path, capfd):
    made = SyntheticPortrait(frames=40)
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.08, 40)) + 77.0  # as a camera's
    frames = [replace(made.read(), captured_at=float(at), clock="driver") for at in times]
    lived = run_live_and_record(frames, Tracker.from_models(), tmp_path / "a")
    tracked = every_frame(UngatedSource(frames), Tracker.from_models(), Run("front"))
    expected = [record.tracks for record, _ in tracked]
    replayed = lines_of(replay(capfd, tmp_path / "a"))
    assert [line["tracks"] for line in replayed] == [list(map(as_json, t)) for t in expected]
    now = [[{**as_json(t), "box_now": 0} for t in record.tracks] for record in lived]
    then = [[{**track, "box_now": 0} for track in line["tracks"]] for line in replayed]
    assert now == then
    assert [line["captured_at"] for line in replayed] == [round(f.captured_at, 6) for f in frames]
    assert {track["id"] for line in replayed for track in line["tracks"]} == {1, 2}


class UngatedSource(GatedSource):
    def read(self):
        return next(self._frames, None)


def as_json(track):
    return {name: listed(getattr(track, name)) for name in track.__struct_fields__}


def listed(value):
    return list(value) if isinstance(value, tuple) else value


def test_absence_and_conditions_are_replayed_as_they_were_and_tracks_end(tmp_path, capfd):
    made = SyntheticPortrait(frames=10)
    frames = [made.read() for _ in range(10)]
    last = frames[-1]
    frames.append(replace(last, index=10, captured_at=0.4, condition="frozen"))
    away = [replace(last, captured_at=1.0 + n, condition="absent") for n in range(5)]
    sink = Recorder("record:x", tmp_path / "a")
    write_all(sink, frames)
    write_all(sink, away, state="lost")
    sink.close()
    lines = lines_of(replay(capfd, tmp_path / "a"))
    found = [(line.get("condition", "good"), line.get("state", "streaming")) for line in lines]
    assert (
        found[8:]
        == [("good", "streaming")] * 2 + [("frozen", "streaming")] + [("absent", "lost")] * 5
    )
    assert [line["frame"] for line in lines[9:]] == [9, 10, 9, 9, 9, 9, 9]
    statuses = [{track["status"] for track in line["tracks"]} for line in lines]
    assert statuses[9] == {"confirmed"}
    assert {"lost"} in statuses[11:]
    assert not statuses[-1]
    assert sum(event["type"] == "end" for line in lines for event in line["events"]) == 2


def test_what_was_frozen_stays_so_though_its_first_picture_was_let_go(tmp_path, capfd):
    frames = [replace(f, condition="frozen") for f in plain_frames(3)]
    recorded(tmp_path / "a", frames)
    lines = lines_of(replay(capfd, tmp_path / "a"))
    assert [line["condition"] for line in lines] == ["frozen"] * 3


def test_every_run_in_a_folder_is_replayed_from_its_own_beginning(tmp_path, capfd):
    for run, at in (("first", 5000.0), ("second", 3.0)):  # the machine was started again
        made = SyntheticPortrait(frames=6)
        frames = [replace(f, captured_at=at + f.captured_at) for f in iter(made.read, None)]
        recorded(tmp_path / "a", frames, run=run)
    lines = lines_of(replay(capfd, tmp_path / "a"))
    first, second = lines[:6], lines[6:]
    assert [line["tracks"] for line in first] == [line["tracks"] for line in second]
    assert [line["captured_at"] for line in second] == [round(3.0 + n / 30, 6) for n in range(6)]
    assert len({line["run"] for line in first} | {line["run"] for line in second}) == 2


def test_recording_needs_no_interpreter_and_no_model(tmp_path):
    without = ("ai_edge_litert", "onnxruntime", "tflite_runtime")
    code, out, err = call("record", SYNTHETIC, "--out", tmp_path / "a", without=without)
    assert (code, out) == (0, "")
    assert "12 frames seen, 0 of them not recorded" in err
    assert len(shots_of(tmp_path / "a")) == 12


def test_a_camera_is_recorded_until_it_ends(tmp_path, capfd, monkeypatch):
    frames = [noise(n) for n in range(6)]

    monkeypatch.setattr(edge.commands.record, "open_source", lambda *_: UngatedSource(frames))
    assert main(["record", "/dev/video9", "--out", str(tmp_path / "a"), "--max-mb", "5"]) == 0
    err = capfd.readouterr().err
    shots = shots_of(tmp_path / "a")
    assert f"6 frames seen, {6 - len(shots)} of them not recorded" in err
    assert [shot.frame.index for shot in shots][-1] == 5
    assert all(same(shot, frames[shot.frame.index]) for shot in shots)


def test_the_limits_of_the_command_line_bound_a_recording(tmp_path):
    words = ["record", SYNTHETIC, "--out", str(tmp_path / "a"), "--max-mb", "2"]
    assert main(words) == 0
    assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) <= 2_000_000
    assert [shot.frame.index for shot in shots_of(tmp_path / "a")][-1] == 11
    for path in (tmp_path / "a").iterdir():
        os.utime(path, (1e9, 1e9))
    assert main(["record", "synthetic:portrait?frames=1", *words[2:], "--max-minutes", "5"]) == 0
    assert len(shots_of(tmp_path / "a")) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "record: names no source; give one, or a --config that has one"),
        (("0", "--pack", "a"), "record --pack: records nothing; leave SOURCE and --quality out"),
        (("--pack", "a"), "out: a report is a .zip file; name one"),
    ],
)
def test_words_that_do_not_fit_are_refused(words, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["record", *words, "--out", "out"]) == 2
    assert says in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_recording_a_recording_into_itself_is_refused(tmp_path, capfd):
    recorded(tmp_path / "a", plain_frames(3))
    assert main(["record", str(tmp_path / "a"), "--out", str(tmp_path / "a")]) == 2
    assert "would overwrite" in capfd.readouterr().err


def test_a_scripted_tracker_sees_in_a_replay_what_it_saw_live(tmp_path):
    frames = plain_frames(8)
    shown = [ScriptedDetector([Detections.none()] * 8) for _ in range(2)]
    run_live_and_record(frames, Tracker([shown[0]]), tmp_path / "a")
    tracker = Tracker([shown[1]])
    for shot in shots_of(tmp_path / "a"):
        tracker.update(shot.frame)
    assert shown[0].shown == shown[1].shown == list(range(8))
