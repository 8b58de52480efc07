"""A file played as a camera: time is injected, nothing sleeps."""

import time

import numpy as np
import pytest

from edge.sources.paced import Paced
from edge.types import Frame


class Clock:
    """Seconds that pass only while somebody waits, or when told."""

    def __init__(self) -> None:
        self.now = 500.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False


class Clip:
    """Four frames, 0.1 s apart; media time starts at 7 s."""

    live = False
    description = "clip"
    fps = 10.0

    def __init__(self) -> None:
        self.index = 0
        self.closed = False

    def read(self) -> Frame | None:
        if self.closed or self.index == 4:
            return None
        at = 7.0 + self.index / 10
        self.index += 1
        return Frame(np.zeros((2, 2, 3), np.uint8), self.index - 1, at, "pts", at)

    def close(self) -> None:
        self.closed = True


def test_frames_come_when_they_are_due_in_monotonic_time() -> None:
    clock = Clock()
    source = Paced(Clip(), clock, clock.wait)
    frames = [frame for _ in range(5) if (frame := source.read())]
    assert [frame.captured_at for frame in frames] == pytest.approx([500, 500.1, 500.2, 500.3])
    assert clock.waits == pytest.approx([0.1, 0.1, 0.1])
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert {frame.clock for frame in frames} == {"pts"}
    assert (source.live, source.fps) == (True, 10.0)


def test_time_of_day_is_that_of_the_showing() -> None:
    source = Paced(Clip())
    frame = source.read()
    assert frame is not None
    assert frame.time == pytest.approx(time.time(), abs=60)


def test_a_short_delay_is_caught_up_and_a_long_one_is_not() -> None:
    clock = Clock()
    source = Paced(Clip(), clock, clock.wait)
    source.read()
    clock.now += 0.25
    on_time = source.read()
    clock.now += 30.0
    late, next_one = source.read(), source.read()
    assert on_time is not None
    assert late is not None
    assert next_one is not None
    assert on_time.captured_at == pytest.approx(500.1)
    assert late.captured_at == pytest.approx(530.25)
    assert next_one.captured_at == pytest.approx(530.35)


def test_closing_ends_a_pending_wait() -> None:
    clip = Clip()
    source = Paced(clip, lambda: 500.0)  # a clock that stands: the second frame is never due
    assert source.read() is not None
    source.close()
    assert source.read() is None
    assert clip.closed
    clip.closed = False
    assert source.read() is None  # would wait for ever, were it not closed
