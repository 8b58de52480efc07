"""A long run in a short time: what is done in it, and how it tells what grows."""

import re

import cv2
import numpy as np
import pytest

from edge.cli import main
from edge.errors import SourceError
from edge.pipeline import Run, run_live
from edge.reel import SIZE, Reel, Steady, painted
from edge.soak import Plan, Sample, Soak, Soaked
from edge.tracker import Tracker
from tests.conftest import ScriptedDetector


def soaked(*rss_mb, descriptors=8):
    return Soaked(
        [Sample(100 * n - 1, mb, 1000, 1000, descriptors + n, 9) for n, mb in enumerate(rss_mb, 1)]
    )


def test_a_soak_takes_every_frame_through_losses_of_the_camera_and_a_reload(tmp_path):
    plan = Plan(
        frames=60, pictures=30, samples=3, fault_every=25, reload_every=20, ask_every=10, files_mb=1
    )
    samples = []
    soak = Soak(plan, ("face",), 10, tmp_path)
    done = soak.run(samples.append)
    assert soak.counts == {"seen": 60, "processed": 60, "newer": 0, "pace": 0, "stopped": 0}
    assert [sample.frames for sample in samples] == [19, 39, 59]
    assert min(samples[0].rss_mb, samples[0].blocks, samples[0].objects) > 10
    assert (done.faults, done.asked) == (2, 6)
    assert done.reloads >= 1
    assert done.looks >= 1
    assert done.ids >= 1
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(lines) == 60 - done.unwritten[f"file:{tmp_path / 'records.jsonl'}"]
    assert (tmp_path / "state.json").exists()


def test_threads_that_end_leave_nothing_behind_in_opencv():
    """OpenCV's pool keeps some memory for each thread that used it, for ever."""
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        source, tracker = Steady(painted(1), frames=1), Tracker([ScriptedDetector([])])
        run_live(source, tracker, [], Run("test"), lambda: True)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_growth_counts_from_the_first_tenth_and_a_line_is_fitted_to_it():
    done = soaked(100.0, *(170.0 + n for n in range(10)))  # the first sample is warm-up
    assert done.growth("rss_mb") == pytest.approx(9.0)
    assert done.growth("descriptors") == 9
    assert done.growth("threads") == 0
    assert done.rise_mb() == pytest.approx(9.0)


def test_one_jump_in_memory_is_growth_but_less_of_a_line():
    assert soaked(100.0, *[170.0] * 10).growth("rss_mb") == 0
    assert soaked(*[170.0] * 9, 171.0).growth("rss_mb") == 1.0
    assert 0 < soaked(*[170.0] * 9, 171.0).rise_mb() < 1.0


def test_a_reel_gives_its_next_picture_when_the_one_before_is_through():
    reel = Reel(frames=3, pictures=2, fault_every=2)
    showing = reel.open()
    first = showing.read()
    reel.go_on()
    second = showing.read()
    assert first.image.shape == (SIZE[1], SIZE[0], 3)
    assert not np.array_equal(first.image, second.image)
    assert [first.index, second.index] == [0, 1]
    assert second.captured_at - first.captured_at >= 1 / 30


def test_a_reel_goes_away_refuses_once_and_goes_on_where_it_was():
    reel = Reel(frames=3, pictures=1, fault_every=2)
    showing = reel.open()
    for _ in range(2):
        showing.read()
        reel.go_on()
    with pytest.raises(SourceError, match="was taken out"):
        showing.read()
    showing.close()
    with pytest.raises(SourceError, match="is not there"):
        reel.open()
    again = reel.open()
    assert again.read().index == 0
    reel.go_on()
    assert again.read() is None
    assert reel.faults == 1


def test_bench_soak_prints_what_was_done_and_what_grew(capsys):
    assert main(["bench", "soak", "--frames", "40"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^40 seen, 40 processed, \d+ looks, \d+ tracks, 0 times", out, re.MULTILINE)
    assert len(re.findall(r"^ +\d+ +[\d.]+ +[\d,]+ +[\d,]+ +\d+ +\d+$", out, re.MULTILINE)) == 20
    assert re.search(r"growth after the first tenth: RSS [+-][\d.]+ MB", out)
