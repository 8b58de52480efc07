"""The measures of live runs, each once in small: what they count, and never how long it took."""

import re

import numpy as np
import pytest

from edge import overload
from edge.cli import main
from edge.config import SourceSettings
from edge.errors import SourceError
from edge.overload import Ages
from edge.recovery import Comebacks, Plug
from edge.reel import Steady, painted
from edge.startup import OPENCV, to_first_record
from edge.tracker import Tracker
from edge.types import Counts, Detections
from tests.conftest import ROOT, ScriptedDetector


def test_every_record_of_an_overloaded_run_has_an_age():
    done = overload.ages(2 / overload.FPS, 12)
    assert done.counts.processed < 12
    assert len(done.age_ms) == len(done.at_s) == done.counts.processed
    assert min(done.age_ms) >= 66
    assert list(done.at_s) == sorted(done.at_s)


def test_frames_that_get_older_are_found():
    at_s = np.arange(0.0, 600.0)
    assert Ages(at_s, np.full(600, 40.0), Counts()).slope() == pytest.approx(0, abs=1e-9)
    assert Ages(at_s, 40.0 + at_s / 60 * 3, Counts()).slope() == pytest.approx(3)
    assert [len(part) for part in Ages(at_s, at_s, Counts()).parts(10)] == [60] * 10


def test_looks_aside_leave_frames_between_them_their_records():
    done = overload.kept(3 / overload.FPS, 40, "auto", settle_s=0.3)
    assert done.frames == 31
    assert 1 <= done.looks < done.tracked <= done.records <= done.given <= 31


def test_a_steady_camera_ends_after_its_frames_or_when_it_is_taken_out():
    there = [True, False]
    steady = Steady(painted(2), there=lambda: there.pop(0))
    assert steady.read().index == 0
    with pytest.raises(SourceError, match="was taken out"):
        steady.read()
    whole = Steady(painted(1), frames=1)
    assert whole.read().index == 0
    assert whole.read() is None


def test_a_plug_that_is_out_cannot_be_opened():
    plug = Plug()
    plugged = plug.open()
    plug.out = True
    for read in (plugged.read, plug.open):
        with pytest.raises(SourceError, match="put it in"):
            read()
    plug.out = False
    again = plug.open()
    assert again.read().index == 0
    again.close()
    assert again.read() is None


def test_each_comeback_has_a_frame_and_then_a_track():
    box = Detections(np.array([[50.0, 50.0, 90.0, 90.0]]), np.array([0.95]), np.array([0]))
    tracker = Tracker([ScriptedDetector([box] * 1000)])
    comebacks = Comebacks(tracker, SourceSettings(retry_s=0.05, longest_retry_s=0.05), (0.1, 0.2))
    done = comebacks.run(2)
    assert len(done) == 2
    for one in done:
        assert one.away_s >= 0.1
        assert 0 <= one.frame_s <= one.track_s


def test_the_start_is_measured_beside_what_any_program_pays():
    took = to_first_record(str(ROOT / "edge" / "sources" / "portrait.jpg"), 1)
    assert list(took) == ["python", OPENCV, "edgetrack run"]
    assert [len(all_of_it) for all_of_it in took.values()] == [1, 1, 1]
    assert all(one.wall_s > 0 and one.cpu_s > 0 for (one,) in took.values())


def test_a_program_that_gives_no_record_is_one_line(capsys):
    assert main(["bench", "start", "--source", "nothing.mp4", "--runs", "1"]) == 2
    assert "ended without a record and said: " in capsys.readouterr().err


def test_bench_latency_tells_ages_and_counts(capsys):
    assert main(["bench", "latency", "--frames", "6", "--model-ms", "5"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"30 fps, model 5 ms: \d of 6 frames processed", out)
