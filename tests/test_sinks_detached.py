import logging
import signal
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from edge.errors import DeliveryError, OutputClosed, SinkError
from edge.sinks import open_sink
from edge.sinks.detached import Detached
from edge.types import Frame, Record


class Gate:
    """A sink that writes only while its gate is open and fails with the error it was given."""

    name = "gate:"

    def __init__(self, wants_frame=False):
        self.wants_frame = wants_frame
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.left = threading.Semaphore(0)
        self.error = None
        self.got = []
        self.closed = False

    def write(self, record, frame=None):
        self.entered.release()
        self.open.wait()
        self.left.release()
        if self.error:
            raise self.error
        self.got.append((record.frame, frame is not None))

    def close(self):
        self.closed = True


def record(frame):
    fields = dict(schema=1, camera="c", run="r", frame=frame, time=0.0, captured_at=0.0)
    fields |= dict(age_ms=0.0, size=(4, 4), dropped=0, tracks=[], events=[])
    return Record(**fields)


def picture(index=0, side=4):
    return Frame(np.zeros((side, side, 3), np.uint8), index, 0.0, "driver", 0.0)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()  # lets the thread of a test that failed end


def test_a_blocked_sink_drops_the_newest_counts_them_and_never_blocks(gate):
    sink = Detached(gate, depth=3)
    sink.write(record(0))
    gate.entered.acquire()  # the thread holds record 0; three more fit
    for frame in range(1, 10):
        sink.write(record(frame))
    assert (sink.written, sink.dropped) == (0, 6)
    gate.open.set()
    sink.close()
    assert gate.got == [(0, False), (1, False), (2, False), (3, False)]
    assert (sink.written, sink.dropped) == (4, 6)
    assert gate.closed


def test_memory_stays_flat_behind_a_blocked_sink():
    gate = Gate(wants_frame=True)
    sink = Detached(gate, depth=4)
    sink.write(record(0), picture(0))
    gate.entered.acquire()
    tracemalloc.start()
    for frame in range(200):
        sink.write(record(frame), picture(frame, side=200))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gate.open.set()
    sink.close()
    assert held < 5.5 * 200 * 200 * 3


def test_a_sink_that_needs_no_pixels_keeps_no_frame_alive(gate):
    sink = Detached(gate)
    frame = picture()
    pixels = weakref.ref(frame.image)
    sink.write(record(0), frame)
    del frame
    assert pixels() is None
    gate.open.set()
    sink.close()


def test_the_frame_that_was_written_is_let_go_before_the_next_one_comes():
    gate = Gate(wants_frame=True)
    gate.open.set()
    sink = Detached(gate)
    frame = picture()
    gone = threading.Event()
    weakref.finalize(frame.image, gone.set)
    sink.write(record(0), frame)
    del frame
    assert gone.wait(10)
    sink.close()
    assert gate.got == [(0, True)]


def test_failures_are_counted_and_told_once_and_so_is_the_recovery(gate, caplog):
    caplog.set_level(logging.INFO)
    gate.open.set()
    sink = Detached(gate)
    gate.error = SinkError("gate: no space left on device; free some space")
    for frame in range(3):
        sink.write(record(frame))
        gate.left.acquire()
    sink.write(record(3))
    gate.left.acquire()
    sink.close()
    assert (sink.written, sink.dropped) == (0, 4)
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert "no space left" in caplog.text


def test_a_recovery_is_told(gate, caplog):
    caplog.set_level(logging.INFO)
    gate.error = SinkError("gate: full; free some space")
    sink = Detached(gate)
    sink.write(record(0))
    sink.write(record(1))
    gate.entered.acquire()
    first = gate.write

    def works_again(record, frame=None):
        gate.error = None
        first(record, frame)

    gate.write = works_again
    gate.open.set()
    sink.close()
    assert (sink.written, sink.dropped) == (1, 1)
    assert "gate:: works again; 1 records dropped so far" in caplog.text


def test_a_reader_that_went_away_surfaces_at_the_next_write(gate):
    gate.error = OutputClosed("-: the reader closed the pipe; nothing to do")
    sink = Detached(gate)
    sink.write(record(0))
    gate.open.set()
    sink._thread.join()
    with pytest.raises(OutputClosed):
        sink.write(record(1))
    sink.close()
    assert (gate.closed, sink.dropped) == (True, 1)


def test_an_unexpected_error_surfaces_at_close_and_only_once(gate):
    gate.error = ZeroDivisionError("a fault of ours")
    gate.open.set()
    sink = Detached(gate)
    sink.write(record(0))
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        sink.close()
    sink.close()


def test_closing_does_not_wait_for_a_sink_that_hangs(gate, caplog):
    sink = Detached(gate)
    for frame in range(3):
        sink.write(record(frame))
    gate.entered.acquire()
    sink.close(timeout_s=0.0)
    assert (sink.written, sink.dropped) == (0, 3)
    assert "still busy at the end; 3 records dropped" in caplog.text
    gate.open.set()
    sink._thread.join()
    assert (sink.written, sink.dropped) == (1, 2)  # the one in hand came through after all


@pytest.fixture
def interruptible():
    """A process that was started in the background ignores SIGINT, and so would this one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_closing_leaves_no_record_uncounted(gate):
    def interrupt_closing(record, frame=None):  # noqa: ARG001
        with sink._ready:
            sink._ready.wait_for(lambda: sink._closing)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        gate.open.wait()

    gate.write = interrupt_closing
    sink = Detached(gate)
    for frame in range(4):
        sink.write(record(frame))
    with pytest.raises(KeyboardInterrupt):
        sink.close(timeout_s=10.0)
    assert (sink.written, sink.dropped) == (0, 4)


def test_what_a_sink_took_and_did_not_deliver_counts_as_dropped_once_it_is_closed(gate, caplog):
    def close():
        raise DeliveryError("gate:: 2 records were not delivered", 2)

    gate.close = close
    gate.open.set()
    sink = Detached(gate)
    for frame in range(3):
        sink.write(record(frame))
    sink.close()
    assert (sink.written, sink.dropped) == (1, 2)
    assert "gate:: 2 records were not delivered" in caplog.text


def test_an_error_is_not_hidden_by_what_was_not_delivered(gate):
    def close():
        raise DeliveryError("gate:: 1 records were not delivered", 1)

    gate.close, gate.error = close, ZeroDivisionError("a fault of ours")
    gate.open.set()
    sink = Detached(gate)
    sink.write(record(0))
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        sink.close()


def test_every_record_reaches_a_real_file_before_close_returns(tmp_path):
    sink = Detached(open_sink(f"file:{tmp_path}/a.jsonl"), depth=1000)
    for frame in range(1000):
        sink.write(record(frame))
    sink.close()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == sink.written == 1000
