import threading

import pytest

import edge
from edge.errors import OutputClosed, SourceError
from edge.pipeline import NewestFrame, Run, every_frame, run_live
from edge.sources.synthetic import SyntheticPortrait
from edge.tracker import Tracker
from edge.types import Detections
from tests.conftest import ScriptedDetector, plain_frame


class ListSource:
    """Frames from a list, one a `read`; then the end, or an error."""

    live, description, fps = True, "list", 30.0

    def __init__(self, frames, error=None, gate=None):
        self._frames, self._error, self._gate = iter(frames), error, gate
        self._closed = False

    def read(self):
        frame = None if self._closed else next(self._frames, None)
        if self._gate is not None:
            self._gate(frame)
        if frame is None and self._error is not None:
            raise self._error
        return frame

    def close(self):
        self._closed = True


class ListSink:
    wants_frame = False

    def __init__(self, fail=None):
        self.name, self.records, self.closed, self._fail = "list", [], 0, fail

    def write(self, record, frame=None):  # noqa: ARG002
        if self._fail is not None:
            raise self._fail
        self.records.append(record)

    def close(self):
        self.closed += 1


def blind_tracker(frames):
    return Tracker([ScriptedDetector([Detections.none()] * frames)])


def test_every_frame_gives_a_record_in_order():
    frames = [plain_frame(i, i / 30) for i in range(5)]
    run = Run("front", "x")
    records = [record for record, _ in every_frame(ListSource(frames), blind_tracker(5), run)]
    assert [record.frame for record in records] == [0, 1, 2, 3, 4]
    assert {(r.camera, r.size, r.age_ms, r.dropped) for r in records} == {("front", (64, 48), 0, 0)}
    assert (run.counts.seen, run.counts.processed) == (5, 5)


def test_two_passes_over_the_same_input_give_the_same_records():
    passes = [list(edge.track(SyntheticPortrait(frames=20))) for _ in range(2)]
    assert passes[0] == passes[1]
    assert len(passes[0]) == 20


def test_frames_that_show_nothing_new_are_flagged_and_counted():
    frames = [plain_frame(0, 0.0), plain_frame(0, 0.1), plain_frame(0, 2.0), plain_frame(1, 2.1)]
    frames += [plain_frame(2, 2.2, value=0)]
    frames[-1].image[...] = 0
    run = Run("front", "x")
    records = [record for record, _ in every_frame(ListSource(frames), blind_tracker(2), run)]
    conditions = ["good", "repeated", "frozen", "good", "black"]
    assert [record.condition for record in records] == conditions
    assert run.counts.conditions == {"repeated": 1, "frozen": 1, "black": 1}


def test_what_was_read_before_an_error_comes_out_first():
    source = ListSource([plain_frame(0, 0.0)], SourceError("camera: is gone; plug it in"))
    records = every_frame(source, blind_tracker(1), Run("front"))
    assert next(records)[0].frame == 0
    with pytest.raises(SourceError, match="is gone"):
        next(records)


def test_a_newer_frame_pushes_out_the_one_that_waits():
    slot = NewestFrame()
    assert slot.put(plain_frame(0, 0.0)) is False
    assert slot.put(plain_frame(1, 0.1)) is True
    assert slot.take(lambda: False).index == 1
    assert slot.clear() is False


def test_the_last_frame_is_taken_before_the_error_that_ended_the_capture():
    slot = NewestFrame()
    slot.put(plain_frame(0, 0.0))
    slot.end(SourceError("camera: is gone; plug it in"))
    assert slot.take(lambda: False).index == 0
    with pytest.raises(SourceError):
        slot.take(lambda: False)


def test_live_every_frame_seen_is_processed_or_dropped_and_counted():
    frames = [plain_frame(i, i / 30) for i in range(200)]
    run, sink = Run("front"), ListSink()
    run_live(ListSource(frames), blind_tracker(200), [sink], run, lambda: False)
    counts = run.counts
    assert counts.seen == 200 == counts.processed + sum(counts.dropped.values())
    assert counts.processed == len(sink.records) + counts.unwritten["list"]
    assert sink.closed == 1


def test_live_a_slow_tracker_gets_the_newest_frame():
    """The first frame is held until the last one is captured; those between are dropped."""
    all_captured, begun = threading.Event(), threading.Event()

    def gate(frame):
        if frame is None:
            all_captured.set()
        elif frame.index == 1:
            begun.wait(5)

    class Slow(ScriptedDetector):
        def detect(self, image, region=None):
            begun.set()
            all_captured.wait(5)
            return super().detect(image, region)

    tracker = Tracker([slow := Slow([Detections.none()] * 9)])
    frames = [plain_frame(i, i / 30) for i in range(9)]
    run = Run("front")
    run_live(ListSource(frames, gate=gate), tracker, [], run, lambda: False)
    assert slow.shown == [0, 8]
    assert run.counts.dropped == {"newer": 7, "stopped": 0}


def test_live_a_source_that_breaks_ends_the_run_with_its_error_and_closes_the_sinks():
    source = ListSource([plain_frame(0, 0.0)], SourceError("camera: is gone; plug it in"))
    sink = ListSink()
    with pytest.raises(SourceError, match="is gone"):
        run_live(source, blind_tracker(1), [sink], Run("front"), lambda: False)
    assert [record.frame for record in sink.records] == [0]
    assert sink.closed == 1


def test_live_a_fault_in_the_capture_thread_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        run_live(ListSource([], ZeroDivisionError()), blind_tracker(1), [], Run("x"), lambda: False)


def test_live_a_stop_request_ends_an_endless_source():
    endless = (plain_frame(i, i / 30) for i in iter(int, 1))
    run, records = Run("front"), []
    run_live(
        ListSource(endless), blind_tracker(100), [], run, lambda: len(records) >= 3, records.append
    )
    assert len(records) == 3


def test_live_a_closed_pipe_ends_the_run():
    sink = ListSink(OutputClosed("-: the reader is gone"))
    frames = [plain_frame(i, i / 30) for i in range(50)]
    with pytest.raises(OutputClosed):
        run_live(ListSource(frames), blind_tracker(50), [sink], Run("x"), lambda: False)


def test_two_live_runs_have_different_names_and_two_equal_passes_the_same():
    assert Run("a").id != Run("a").id
    assert Run("a", "clip").id == Run("a", "clip").id != Run("a", "other").id
