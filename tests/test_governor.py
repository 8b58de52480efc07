"""What gives way, in which order, and when it comes back; all on a clock that nobody waits for."""

import logging
import math

import numpy as np
import pytest

from edge.aside import Aside
from edge.config import BudgetSettings, DetectionSettings
from edge.governor import HOT_S, Governor
from edge.tracker import Tracker
from edge.types import Detections
from edge.vitals import Heat, Pace
from tests.conftest import ScriptedDetector, plain_frame

CAMERA_S = 1 / 30
SETTINGS = BudgetSettings()
ALLOWED_S = SETTINGS.share * CAMERA_S  # a frame, in the mean


class Board:
    """A camera, a path and a detector that take what they take, and a governor over them."""

    def __init__(self, every=2, path_s=0.004, look_s=0.030, stage="detect", **settings):
        self.path_s, self.look_s, self.stage = path_s, look_s, stage
        self.heat, self.now, self.due = Heat(), 100.0, 0
        settings = BudgetSettings(**settings)
        self.governor = Governor(settings, every, lambda: self.heat)
        self.paces = [self.governor.pace]

    def run(self, seconds):
        """Let frames pass, and return the pace at the end."""
        until = self.now + seconds
        while self.now < until:
            self.frame()
        return self.paces[-1]

    def frame(self, interval_s=CAMERA_S):
        pace, stages = self.paces[-1], {"step": self.path_s}
        self.due -= 1
        if self.due <= 0:
            self.due = pace.every
            stages[self.stage] = self.look_s
        left_out = max(1.0, 1 / (pace.fps * interval_s)) if pace.fps else 1.0
        self.now += interval_s * left_out
        pace = self.governor.after(stages, interval_s, self.now)
        if pace != self.paces[-1]:
            self.paces.append(pace)

    def slow_down(self, factor):
        self.path_s, self.look_s = self.path_s * factor, self.look_s * factor


def test_while_all_fits_nothing_gives_way(caplog):
    board = Board()
    with caplog.at_level(logging.INFO):
        assert board.run(60) == Pace(every=2)
    assert board.paces == [Pace(every=2)]
    assert caplog.records == []


def test_when_frames_take_too_long_the_detectors_look_as_rarely_as_it_takes():
    board = Board()
    board.run(5)
    board.slow_down(3)
    board.run(10)
    assert board.paces[1:] == [Pace(every=7, reason="time")]
    assert 0.012 + 0.090 / 7 <= ALLOWED_S < 0.012 + 0.090 / 6


def test_when_the_slow_down_ends_all_is_done_again():
    board = Board()
    board.slow_down(3)
    board.run(10)
    board.slow_down(1 / 3)
    assert board.run(20) == Pace(every=2)


def test_a_slow_down_is_answered_within_two_seconds_of_looks():
    board = Board(every=1, look_s=0.015)
    board.run(5)
    board.slow_down(3)
    assert board.run(2.0).every == math.ceil(0.045 / (ALLOWED_S - 0.012))


def test_every_change_is_logged_once_with_its_reason_and_numbers(caplog):
    board = Board()
    with caplog.at_level(logging.INFO):
        board.slow_down(3)
        board.run(10)
        board.slow_down(1 / 3)
        board.run(20)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(board.paces) - 1
    assert lines[0] == (
        "budget: a look every 7 frames; it was a look every 2 frames (time): a frame takes "
        "12.0 ms, a look 90.0 ms, frames come every 33.3 ms"
    )
    assert "(all is done again): a frame takes 4.0 ms, a look 30.0 ms" in lines[-1]


def test_frames_are_left_out_only_when_the_detectors_look_as_rarely_as_they_may():
    board = Board()
    board.slow_down(8)
    pace = board.run(60)
    assert pace.every == SETTINGS.slowest_every
    assert pace.fps == pytest.approx(SETTINGS.share / (0.032 + 0.240 / 30), abs=1.0)
    board.slow_down(1 / 8)
    assert board.run(120) == Pace(every=2)
    rare = [p for p in board.paces if p.fps]
    assert {p.every for p in rare} == {30}
    assert board.paces[board.paces.index(rare[-1]) + 1] == Pace(every=30, reason="time")


@pytest.mark.parametrize("path_s", [0.5, 50.0])
def test_nothing_gives_way_beyond_what_is_declared(path_s):
    board = Board(path_s=path_s, slowest_every=12, slowest_fps=8.0)
    assert board.run(60) == Pace(every=12, fps=8.0, reason="time")
    assert max(pace.every for pace in board.paces) == 12


def test_detectors_that_are_asked_to_look_more_rarely_than_the_slowest_keep_to_that():
    board = Board(every=100, path_s=0.05)
    assert {pace.every for pace in board.paces} == {100}
    assert board.run(30).every == 100


def test_without_a_detector_only_frames_can_be_left_out():
    board = Board(look_s=0.0, path_s=0.04)
    pace = board.run(30)
    assert (pace.every, pace.reason) == (2, "time")
    assert pace.fps == pytest.approx(20, abs=0.5)


def test_a_load_at_the_border_changes_the_pace_once():
    board = Board(every=1, path_s=0.004, look_s=0.046)  # at every second, 101%
    board.run(300)
    assert board.paces == [Pace(every=1), Pace(every=3, reason="time")]


def test_what_has_to_be_taken_back_is_tried_more_and_more_rarely():
    board = Board(every=1)
    changes = []
    for _ in range(600):  # looks that seem cheap while they are rare, and hold each other up
        board.look_s = 0.005 if board.paces[-1].every > 1 else 0.060
        board.run(1)
        changes.append(len(board.paces))
    assert changes[59] >= 5
    assert changes[599] - changes[299] <= 4


def test_one_slow_look_or_frame_is_none():
    board = Board(every=15)
    board.run(5)
    board.look_s = 2.0
    while board.due > 1:
        board.frame()
    board.frame()
    board.look_s = 0.03
    board.run(10)
    board.path_s = 0.2
    board.frame()
    board.path_s = 0.004
    board.run(10)
    assert board.paces == [Pace(every=15)]


def test_a_camera_that_was_away_is_no_slow_camera():
    board = Board()
    board.slow_down(3)
    for _ in range(10):
        board.run(1)
        board.frame(interval_s=20.0)
    assert board.paces[1:] == [Pace(every=7, reason="time")]


def test_without_a_known_rate_nothing_is_decided():
    governor = Governor(SETTINGS, 2, Heat)
    for number in range(100):
        assert governor.after({"step": 1.0}, 0.0, number / 30) == Pace(every=2)


def test_hold_false_lets_nothing_give_way_and_still_tells_the_heat():
    board = Board(hold=False, path_s=1.0)
    board.heat = Heat(temperature_c=99.0, throttled=True)
    assert board.run(30) == Pace(every=2)
    assert board.governor.heat == board.heat


def test_a_hot_board_does_less_step_by_step_and_more_when_it_is_cool_again():
    board = Board()
    board.run(5)
    board.heat = Heat(temperature_c=76.0)
    board.run(HOT_S - 1)
    assert board.paces[1:] == [Pace(every=3, reason="heat")]
    board.run(3 * HOT_S)
    hot = board.paces[-1]
    assert hot.every > 5
    board.heat = Heat(temperature_c=70.0)  # neither hot nor cool
    board.run(60)
    assert board.paces[-1].reason == "heat"
    assert board.paces[-1].every <= hot.every + 1
    board.heat = Heat(temperature_c=60.0)
    assert board.run(120) == Pace(every=2)
    board.slow_down(3)
    assert board.run(10) == Pace(every=7, reason="time")


def test_a_throttled_board_is_hot_whatever_its_temperature(caplog):
    board = Board()
    board.heat = Heat(throttled=True)
    with caplog.at_level(logging.INFO):
        assert board.run(8).reason == "heat"
    assert caplog.records[0].getMessage().endswith("every 33.3 ms, board: throttled")
    board.heat = Heat(throttled=False)
    assert board.run(120) == Pace(every=2)


def test_a_look_aside_holds_up_no_frame_but_heats_the_board():
    board = Board(look_s=0.2, stage="aside")
    assert board.run(30) == Pace(every=2)
    board.heat = Heat(temperature_c=80.0)
    assert board.run(20).every > 2


def test_a_look_that_moved_to_its_thread_is_no_burden_of_the_path_any_more():
    board = Board(look_s=0.09, path_s=0.012)
    assert board.run(10).every == 7
    board.stage = "aside"
    assert board.run(20) == Pace(every=2)
    board.stage = "detect"
    assert board.run(10).every == 7


class Simulated:
    """The live loop on one clock: a camera, the newest frame, a tracker, perhaps a thread."""

    def __init__(self, aside, every=2, look_s=0.020, path_s=0.004):
        self.now, self.factor, self.path_s, self.look_s = 0.0, 1.0, path_s, look_s
        self.pending, self.processed = None, []
        here = Detections(np.array([[10.0, 10.0, 30.0, 30.0]]), np.array([0.95]), np.array([0]))
        detector = self

        class Costly(ScriptedDetector):
            def detect(self, *_):
                detector.now += detector.look_s * detector.factor
                return here

        aside = Aside(aside, start=self.start, clock=lambda: self.now)
        self.tracker = Tracker([Costly([])], DetectionSettings(every=every), aside=aside)
        self.governor = Governor(SETTINGS, every, Heat)
        self.last = -1

    def start(self, job):
        """Take a job; it ends, beside what else happens, when its time has passed."""
        self.pending = job, self.now, self.now + self.look_s * self.factor

    def run(self, seconds):
        """Let time pass; return the shares of frames that were tracked and that had a track."""
        began, until = math.floor(self.now / CAMERA_S), self.now + seconds
        tracked, count = 0, 0
        while self.now < until:
            newest = math.floor(self.now / CAMERA_S + 1e-6)
            if newest == self.last:
                self.now = (newest + 1) * CAMERA_S
                continue
            tracked += bool(self.pass_frame(newest))
            count += 1
        frames = math.floor(self.now / CAMERA_S) - began
        return count / frames, tracked / frames

    def pass_frame(self, number):
        if self.pending and self.now >= self.pending[2]:
            (job, begun, _), self.pending, now = self.pending, None, self.now
            self.now = begun  # its own time
            job()
            self.now = now
        tracks = self.tracker.update(plain_frame(number, number * CAMERA_S))
        self.now += self.path_s * self.factor
        stages = {**self.tracker.stages, "emit": self.path_s * self.factor}
        pace = self.governor.after(stages, CAMERA_S, self.now)
        self.tracker.every, self.last = pace.every, number
        return tracks


def test_tracks_keep_coming_at_camera_rate_through_a_slow_down():
    board = Simulated("auto", look_s=0.015)
    board.run(5)
    assert board.run(5) == (1.0, 1.0)
    board.factor = 3.0  # a look takes 45 ms, longer than a frame
    board.run(5)
    assert board.run(20) == (pytest.approx(1.0, abs=0.01), pytest.approx(1.0, abs=0.01))
    assert board.tracker.every == 2  # on its thread a look takes no time from frames
    board.factor = 1.0
    board.run(30)
    assert "detect" in {stage for _ in range(2) for stage in stages_of(board)}
    assert board.run(5) == (1.0, 1.0)


def stages_of(board):
    board.run(CAMERA_S)
    return board.tracker.stages


def test_without_the_thread_the_governor_saves_what_frames_it_can_and_recovers():
    loads = {}
    for hold in (True, False):
        board = Simulated("never", every=1, look_s=0.022)
        if not hold:
            board.governor = Governor(BudgetSettings(hold=False), 1, Heat)
        board.run(5)
        board.factor = 3.0
        board.run(5)
        loads[hold], _ = board.run(20)
        board.factor = 1.0
        board.run(30)
        assert board.governor.pace == Pace(every=1)
        assert board.run(5) == (1.0, 1.0)
    assert loads[False] < 0.45
    assert loads[True] > 0.7
