"""The life of a camera, on a clock that is set by hand; its driver does what the test says."""

import logging
import queue
import threading

import pytest

from edge.camera import Camera
from edge.capture import NewestFrame
from edge.config import SourceSettings
from edge.errors import ConfigError, DataError, SourceError, UsageError
from edge.types import Counts
from tests.conftest import plain_frame

GONE = SourceError("/dev/video0: no such device; plug it in")
BUSY = SourceError("/dev/video0: another program uses the camera (EBUSY); close it first")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Driver:
    """Opens as it is told to, and each opening counts its frames from 0."""

    live, fps, description = True, 30.0, "/dev/video0 (Cam)"

    def __init__(self, clock):
        self.clock, self.opened_at = clock, []
        self.absent, self.deaf, self.closed = None, False, 0
        self.lets_open = threading.Event()
        self.lets_open.set()
        self.said, self.idle = queue.SimpleQueue(), threading.Event()
        self._index = 0

    def open(self):
        self.opened_at.append(self.clock.now)
        self.lets_open.wait(30)
        if self.absent is not None:
            raise self.absent
        self.said, self._index = queue.SimpleQueue(), 0
        return self

    def show(self, at=None, value=100):
        frame = plain_frame(self._index, self.clock.now if at is None else at, value)
        self._index += 1
        self.idle.clear()
        self.said.put(frame)

    def read(self):
        if self.said.empty():
            self.idle.set()
        said = self.said.get()
        if isinstance(said, Exception):
            raise said
        return said

    def close(self):
        self.closed += 1
        if not self.deaf:
            self.said.put(None)


class Case:
    """A camera and who takes its frames."""

    def __init__(self, once=False, **settings):
        self.clock, self.counts = Clock(), Counts()
        self.driver = Driver(self.clock)
        self.camera = Camera(
            self.driver.open, SourceSettings(**settings), once=once, monotonic=self.clock
        )
        self.camera.start(self.counts)

    @property
    def state(self):
        return self.camera.status.state

    def until(self, reached):
        """Look after the camera until something is so; a thread is about to make it so."""
        for _ in range(1000):
            if reached():
                return
            self.camera.take(0.01)
        raise AssertionError(self.camera.status)

    def settle(self, seconds=0.0):
        """Let time pass, then see an opening that comes to its end through."""
        self.clock.now += seconds
        self.camera.take(0)
        for thread in threading.enumerate():
            if thread.name == "capture":
                thread.join(10)
        self.camera.take(0)

    def stream(self, condition="good", **frame):
        """Have a frame come, and take it."""
        self.until(lambda: self.state != "lost" and self.camera.status.openings > 0)
        self.driver.show(**frame)
        return self.take(condition)

    def take(self, condition="good"):
        frame = self.camera.take(10)
        self.camera.judged(condition, self.clock.now)
        return frame


@pytest.fixture
def make():
    cases = []

    def make_case(**settings):
        cases.append(Case(**settings))
        return cases[-1]

    yield make_case
    for case in cases:
        case.driver.lets_open.set()
        case.driver.said.put(None)
        case.camera.stop(10)


def test_a_newer_frame_pushes_out_the_one_that_waits():
    slot = NewestFrame()
    assert slot.put(plain_frame(0, 0.0)) is False
    assert slot.put(plain_frame(1, 0.1)) is True
    assert slot.take(0).index == 1
    assert slot.clear() is False


def test_news_that_came_before_anybody_waited_ends_the_wait():
    slot = NewestFrame()
    slot.wake()
    assert slot.take(30) is None
    assert slot.take(0) is None


def test_nothing_is_opened_before_frames_are_wanted(make):
    case = make()
    assert (case.state, case.driver.opened_at) == ("starting", [])
    assert case.stream().index == 0
    assert (case.state, case.camera.status.openings) == ("streaming", 1)
    assert case.camera.status.description == "/dev/video0 (Cam)"


def test_a_camera_that_is_absent_at_the_start_is_awaited(make):
    case = make()
    case.driver.absent = GONE
    case.settle()
    assert (case.state, case.camera.status.reason) == ("lost", str(GONE))
    case.driver.absent = None
    case.clock.now += 0.3
    assert case.stream().index == 0
    assert (case.state, case.camera.status.reason) == ("streaming", "")


def test_the_pause_between_attempts_doubles_up_to_the_longest(make):
    case = make(retry_s=0.25, longest_retry_s=1.0)
    case.driver.absent = GONE
    for _ in range(33):
        case.settle(0.125)
    assert [at - 100.125 for at in case.driver.opened_at] == [0, 0.25, 0.75, 1.75, 2.75, 3.75]


def test_a_busy_device_is_tried_until_it_is_free(make):
    case = make()
    case.driver.absent = BUSY
    for _ in range(6):
        case.settle(0.5)
    assert case.camera.status.reason == str(BUSY)
    case.driver.absent = None
    case.clock.now += 0.5
    assert case.stream().index == 0


@pytest.mark.parametrize("error", [UsageError("x"), ConfigError("x"), DataError("x"), OSError("x")])
def test_what_no_other_opening_would_mend_ends_the_run(make, error):
    case = make()
    case.driver.absent = error
    with pytest.raises(type(error)):
        case.settle()


def test_a_camera_that_breaks_is_opened_anew_at_once_and_goes_on_counting(make):
    case = make()
    before = [case.stream().index for _ in range(3)]
    case.clock.now = 104.0
    case.driver.said.put(GONE)
    case.until(lambda: case.state == "lost")
    assert (case.camera.status.since, case.camera.status.reason) == (104.0, str(GONE))
    after = [case.stream() for _ in range(2)]
    assert before + [frame.index for frame in after] == [0, 1, 2, 3, 4]
    assert case.driver.opened_at == [100.0, 104.0]
    assert (case.camera.status.openings, case.counts.seen) == (2, 5)


def test_it_recovers_before_it_streams_again(make):
    case = make()
    case.stream()
    case.clock.now += 4
    case.driver.said.put(GONE)
    case.until(lambda: case.state == "lost")
    case.until(lambda: case.state == "recovering")
    assert case.camera.down
    case.driver.show()
    case.take()
    assert (case.state, case.camera.down) == ("streaming", False)


def test_a_camera_that_opens_and_dies_again_and_again_is_not_opened_without_pause(make):
    case = make(retry_s=0.25, longest_retry_s=0.5)
    for number in range(4):
        case.stream()
        case.driver.said.put(GONE)
        case.settle()
        assert len(case.driver.opened_at) == number + 1
        case.clock.now += 0.5
    assert case.driver.opened_at == [100.0, 100.5, 101.0, 101.5]


def test_time_never_goes_back_over_openings(make):
    case = make()
    assert case.stream(at=105.0).captured_at == 105.0
    case.clock.now += 4
    case.driver.said.put(GONE)
    case.until(lambda: case.state == "lost")
    assert case.stream(at=3.0).captured_at == 105.0  # stamped by a driver that began anew


def test_a_silent_camera_is_given_up_at_its_deadline_and_opened_anew(make):
    case = make(deadline_s=5.0)
    case.stream()
    case.clock.now += 5.0
    case.camera.take(0)
    assert case.state == "streaming"
    case.clock.now += 0.1
    case.camera.take(0)
    assert case.state == "lost"
    assert case.camera.status.reason == ("/dev/video0 (Cam): no picture for 5 s; it is opened anew")
    case.until(lambda: case.camera.status.openings == 2)
    assert case.driver.closed >= 1


def test_a_first_picture_has_the_same_deadline(make):
    case = make(deadline_s=5.0)
    case.until(lambda: case.camera.status.openings == 1)
    case.clock.now += 5.1
    case.camera.take(0)
    assert case.state == "lost"


def test_a_driver_that_does_not_let_go_ends_the_run(make):
    case = make(deadline_s=5.0, hang_s=20.0)
    case.stream()
    case.driver.deaf = True
    case.clock.now += 5.1
    case.camera.take(0)
    case.clock.now += 20.0
    case.camera.take(0)
    case.clock.now += 0.1
    with pytest.raises(
        SourceError, match=r"\(Cam\): its driver hangs, it does not let go"
    ) as raised:
        case.camera.take(0)
    assert raised.value.exit_code == 69
    assert case.driver.opened_at == [100.0]  # never twice at a time


def test_a_slow_opening_counts_as_lost_but_is_used_when_it_succeeds(make):
    case = make(deadline_s=5.0, hang_s=20.0)
    case.driver.lets_open.clear()
    case.camera.take(0)
    case.clock.now += 5.1
    case.camera.take(0)
    assert (case.state, case.camera.retrying(case.clock.now)) == ("lost", False)
    case.driver.lets_open.set()
    assert case.stream().index == 0
    assert (case.state, case.driver.opened_at) == ("streaming", [100.0])


def test_an_opening_that_hangs_ends_the_run(make):
    case = make(deadline_s=5.0, hang_s=20.0)
    case.driver.lets_open.clear()
    case.camera.take(0)
    case.clock.now += 20.1
    with pytest.raises(SourceError, match="it does not open the camera within 20 s"):
        case.camera.take(0)


def test_a_hanging_driver_that_delivers_late_is_not_listened_to(make):
    case = make(deadline_s=5.0)
    case.stream()
    case.driver.deaf = True
    case.clock.now += 5.1
    case.camera.take(0)
    case.driver.show()
    case.until(lambda: case.camera.status.openings == 2)
    assert case.counts.seen == 1
    assert case.stream().index == 1


def test_it_is_retrying_only_while_no_driver_keeps_it_waiting(make):
    case = make(deadline_s=5.0, hang_s=60.0)
    assert case.camera.retrying(100.0)
    case.stream()
    assert not case.camera.retrying(100.0)
    case.driver.deaf = True
    case.clock.now = 105.1
    case.camera.take(0)
    assert case.camera.retrying(110.1)
    assert not case.camera.retrying(110.2)
    case.driver.said.put(None)
    case.driver.absent = GONE
    case.settle()
    case.clock.now = 170.0
    assert case.camera.retrying(170.0)


def test_a_frozen_camera_is_opened_anew_and_more_patiently_each_time(make):
    case = make(reopen_frozen_s=10.0, deadline_s=3600.0)
    case.stream()
    for patience_s in (10.0, 20.0, 40.0):
        case.stream("frozen")
        assert (case.state, case.camera.down) == ("frozen", False)
        case.clock.now += patience_s
        case.camera.take(0)
        assert case.state == "frozen"
        case.clock.now += 0.1
        case.camera.take(0)
        assert case.camera.status.reason.endswith(
            f"stands still for {patience_s:g} s; it is opened anew"
        )
        case.until(lambda: case.state == "recovering")
    case.stream("good")
    case.stream("frozen")
    case.clock.now += 10.1
    case.camera.take(0)
    assert case.state == "lost"


def test_a_frozen_camera_may_be_left_as_it_is(make):
    case = make(reopen_frozen_s=0.0, deadline_s=3600.0)
    case.stream("frozen")
    case.clock.now += 1000
    case.camera.take(0)
    assert case.state == "frozen"


def test_a_frame_of_a_camera_that_was_given_up_does_not_make_it_stream(make):
    case = make(reopen_frozen_s=10.0)
    case.stream("frozen")
    case.driver.deaf = True
    case.driver.show()
    assert case.driver.idle.wait(10)
    case.clock.now += 10.1
    assert case.camera.take(0) is not None
    case.camera.judged("good", case.clock.now)
    assert case.state == "lost"


def test_black_is_a_state_once_it_lasts_and_a_flicker_is_not(make):
    case = make()
    seen = []
    for at, condition in ((0.0, "good"), (0.5, "black"), (1.0, "good"), (1.5, "black")):
        case.clock.now = 100 + at
        case.stream(condition)
        seen.append(case.state)
    assert seen == ["streaming"] * 4
    case.clock.now = 102.5
    case.stream("black")
    assert case.state == "black"
    case.stream("repeated")
    assert case.state == "black"
    case.stream("good")
    assert case.state == "streaming"


def test_a_camera_that_begins_black_is_black_at_once(make):
    case = make()
    case.stream("black")
    assert case.state == "black"


def test_each_change_is_one_line_in_the_log_however_often_it_is_tried(make, caplog):
    caplog.set_level(logging.INFO)
    case = make()
    case.driver.absent = GONE
    for _ in range(20):
        case.settle(1.0)
    case.driver.absent = None
    case.clock.now += 1.0
    for condition in ("good", "repeated", "frozen", "frozen", "good"):
        case.stream(condition)
    assert [record.getMessage() for record in caplog.records] == [
        f"camera lost: {GONE}",
        "camera recovering",
        "camera streaming: /dev/video0 (Cam)",
        "camera frozen: /dev/video0 (Cam)",
        "camera streaming: /dev/video0 (Cam)",
    ]
    assert len(case.driver.opened_at) == 21


def test_frames_above_the_rate_are_dropped_and_counted(make):
    case = make()
    case.camera.limit(20.0)
    case.stream(at=100.0)
    passed = []
    for number in range(1, 31):
        case.driver.show(at=100 + number / 30)
        assert case.driver.idle.wait(10)
        if frame := case.camera.take(0):
            passed.append(frame.index)
    assert passed[:6] == [2, 3, 5, 6, 8, 9]
    assert (len(passed), case.counts.seen) == (20, 31)
    assert case.counts.dropped == {"newer": 0, "pace": 10, "stopped": 0}


def test_a_file_ends_and_what_ends_it_is_raised(make):
    case = make(once=True)
    case.stream()
    case.driver.said.put(None)
    case.until(lambda: case.camera.ended)
    assert case.camera.take(0) is None
    assert case.driver.opened_at == [100.0]
    broken = make(once=True)
    broken.stream()
    broken.driver.said.put(GONE)
    with pytest.raises(SourceError, match="no such device"):
        broken.settle()


def test_a_file_may_take_its_time(make):
    case = make(once=True, deadline_s=5.0, hang_s=20.0)
    case.driver.lets_open.clear()
    case.camera.take(0)
    case.clock.now += 1000
    case.camera.take(0)
    case.driver.lets_open.set()
    case.stream()
    case.clock.now += 1000
    case.camera.take(0)
    assert case.state == "streaming"


def test_the_last_frame_is_taken_before_the_error_that_follows_it(make):
    case = make(once=True)
    case.until(lambda: case.camera.status.openings == 1)
    case.driver.show()
    case.driver.said.put(GONE)
    for thread in threading.enumerate():
        if thread.name == "capture":
            thread.join(10)
    assert case.camera.take(0).index == 0
    with pytest.raises(SourceError):
        case.camera.take(0)


def test_stopping_closes_the_source_and_counts_the_frame_that_waited(make):
    case = make()
    case.stream()
    case.driver.show()
    assert case.driver.idle.wait(10)
    case.camera.stop(10)
    assert case.counts.dropped == {"newer": 0, "pace": 0, "stopped": 1}
    assert case.driver.closed >= 1


def test_stopping_does_not_wait_for_a_driver_that_hangs(make):
    case = make()
    case.stream()
    case.driver.deaf = True
    case.camera.stop(0)
    case.driver.said.put(plain_frame(1, 101.0))
    case.driver.said.put(None)
    assert case.camera.take(0) is None
    assert case.counts.seen == 1


def test_another_source_takes_over_without_a_word_of_failure(make):
    case, other = make(), Driver(Clock())
    case.stream()
    case.camera.turn_to(other.open, SourceSettings(), once=False)
    case.clock.now += 1.0
    case.settle()
    case.clock.now += 1.0
    case.until(lambda: case.camera.status.openings == 2)
    other.show(at=103.0)
    assert case.take().index == 1
    assert (len(case.driver.opened_at), len(other.opened_at)) == (1, 1)
    other.said.put(None)
