import json
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import edge
from edge import bundle as bundles
from edge.aside import Aside
from edge.camera import Camera
from edge.config import BudgetSettings, SourceSettings
from edge.errors import OutputClosed, SourceError
from edge.governor import Governor
from edge.pipeline import Live, Run, every_frame, run_live
from edge.sequence import SequenceModel
from edge.sinks import open_sink
from edge.sinks.detached import Detached
from edge.sources import open_source
from edge.sources.synthetic import SyntheticPortrait
from edge.tracker import Tracker
from edge.types import Detections
from edge.vitals import Heat, Vitals
from tests.conftest import ScriptedDetector, changed, plain_frame


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
    assert run.counts.dropped == {"newer": 7, "pace": 0, "stopped": 0}


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


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Webcam:
    """Takes ten pictures a second and is away at times; it takes the next when one was tracked."""

    live, fps, description = True, 10.0, "webcam"

    def __init__(self, clock, away=()):
        self.clock, self._away_from_to = clock, away
        self._wanted, self._closed = threading.Semaphore(1), False
        self._index = 0

    def open(self):
        self._refuse()
        self._index, self._wanted, self._closed = 0, threading.Semaphore(1), False
        return self

    def next(self, _record=None):
        self._wanted.release()

    def read(self):
        assert self._wanted.acquire(timeout=30)
        if self._closed:
            return None
        self.clock.now += 0.1
        self._refuse()
        self._index += 1
        frame = plain_frame(round(self.clock.now * 10), self.clock.now)
        return replace(frame, index=self._index - 1)

    def close(self):
        self._closed = True
        self.next()

    @property
    def away(self):
        return any(begin <= self.clock.now < end for begin, end in self._away_from_to)

    def _refuse(self):
        if self.away:
            raise SourceError("webcam: is gone; plug it in")


class Steady(ScriptedDetector):
    """Finds one thing that moves right, 20 pixels a second."""

    def __init__(self, clock):
        super().__init__([])
        self._clock = clock

    def detect(self, image, region=None):  # noqa: ARG002
        left = 10.0 + 20.0 * (self._clock.now - 1000.0)
        box = [[left, 10.0, left + 20.0, 30.0]]
        return Detections(np.array(box), np.array([0.95]), np.array([0]))


def film(webcam, tracker, seconds, outputs=(), governor=None, watch=lambda _: None, **settings):
    """Run live for so long; time passes with every frame, and while the camera is away."""
    clock = webcam.clock
    settings = SourceSettings(retry_s=0.05, longest_retry_s=0.05, **settings)
    camera = Camera(webcam.open, settings, monotonic=clock)
    run = Run("front")
    vitals = Vitals("front", run.id, run.counts, clock.now)
    live = Live(camera, tracker, outputs, run, vitals, governor)
    records, ends_at = [], clock.now + seconds

    def between():
        watch(live)
        if camera.status.state == "lost":  # back or not: an opening may be refused late
            clock.now += 0.06

    def seen(record):
        records.append(record)
        if record.condition != "absent":
            webcam.next()

    live.loop(lambda: clock.now >= ends_at, between, seen)
    return live, records


def test_while_the_camera_is_away_readers_see_tracks_lost_and_ended():
    clock = Clock()
    webcam = Webcam(clock, away=[(1002.0, 1006.0)])
    live, records = film(webcam, Tracker([Steady(clock)]), 8)
    absent = [r for r in records if r.condition == "absent"]
    assert {r.state for r in absent} <= {"lost", "recovering"}
    assert 3 <= len(absent) <= 5
    gaps = [b.captured_at - a.captured_at for a, b in pairwise(absent)]
    assert all(1.0 <= gap < 1.3 for gap in gaps)
    seen_at = records[records.index(absent[0]) - 1].captured_at
    told = [(e.type, e.id, round(r.captured_at - seen_at, 6)) for r in absent for e in r.events]
    assert [(kind, number) for kind, number, _ in told] == [("lost", 1), ("end", 1)]
    assert 1.0 <= told[0][2] < 2.3  # `coast_s`, at a record a second
    assert 2.0 <= told[1][2] < 3.3  # `max_lost_s`
    assert {r.frame for r in absent} == {absent[0].frame}
    assert live.run.counts.processed == len(records) - len(absent)


def test_frames_and_time_never_go_back_however_often_the_camera_does():
    clock = Clock()
    webcam = Webcam(clock, away=[(1001.0, 1001.4), (1002.0, 1005.0), (1006.0, 1006.1)])
    live, records = film(webcam, Tracker([Steady(clock)]), 9)
    times = [r.captured_at for r in records]
    numbers = [r.frame for r in records if r.condition != "absent"]
    assert times == sorted(times)
    assert numbers == list(range(len(numbers)))
    assert live.vitals.source.openings == 4
    assert live.run.counts.seen == live.run.counts.processed + sum(live.run.counts.dropped.values())


def test_a_track_survives_a_short_gap_in_its_own_time():
    """It moves 20 pixels a second all the while; if no time had passed, it would have darted."""
    clock = Clock()
    _, records = film(Webcam(clock, away=[(1003.0, 1003.8)]), Tracker([Steady(clock)]), 6)
    assert {t.id for r in records for t in r.tracks} == {1}
    back = next(r for r in records if r.captured_at >= 1003.8 and r.condition != "absent")
    (track,) = back.tracks
    assert track.box[0] == pytest.approx(10 + 20 * (back.captured_at - 1000), abs=2)
    assert track.velocity[0] == pytest.approx(20, abs=4)


def test_no_track_survives_a_long_gap():
    clock = Clock()
    _, records = film(Webcam(clock, away=[(1003.0, 1007.0)]), Tracker([Steady(clock)]), 9)
    ids = [r.tracks[0].id for r in records if r.tracks]
    assert ids == sorted(ids)
    after = {t.id for r in records if r.captured_at > 1006.0 for t in r.tracks}
    assert after == {2}


@pytest.mark.parametrize(("reset_after_s", "begins_anew"), [(1.0, True), (60.0, False)])
def test_a_sequence_state_outlives_a_gap_by_its_own_rule(tmp_path, reset_after_s, begins_anew):
    def rule(manifest):
        manifest["state"]["reset_after_gap_s"] = reset_after_s

    bundle = bundles.load(changed(tmp_path, "encoder-step", rule))
    clock = Clock()
    tracker = Tracker([], sequences=[SequenceModel(bundle)])
    _, records = film(Webcam(clock, away=[(1002.0, 1005.0)]), tracker, 7)
    (name,) = records[0].values
    absent = [r for r in records if r.condition == "absent"]
    back = next(r for r in records if r.captured_at > 1005.0 and r.condition != "absent")
    assert {str(r.values) for r in absent} == {str(absent[0].values)}  # nothing reaches the state
    fresh = SequenceModel(bundle).update(plain_frame(round(back.captured_at * 10), 0.0))
    assert (back.values[name] == fresh) == begins_anew


def test_a_stamp_before_the_last_word_on_its_absence_is_held_back():
    clock = Clock()
    webcam = Webcam(clock, away=[(1002.0, 1004.0)])
    read = webcam.read
    webcam.read = lambda: (frame := read()) and replace(frame, captured_at=frame.captured_at - 0.5)
    _, records = film(webcam, Tracker([Steady(clock)]), 6)
    times = [r.captured_at for r in records]
    assert times == sorted(times)


def test_an_absent_frame_is_told_in_json_and_nowhere_else(tmp_path):
    clock = Clock()
    webcam = Webcam(clock, away=[(1002.0, 1003.5)])
    kinds = {"file": "jsonl", "mot": "txt", "csv": "csv", "video": "mp4"}
    uris = [f"{kind}:{tmp_path}/a.{suffix}" for kind, suffix in kinds.items()]
    outputs = [Detached(open_sink(uri), depth=1000) for uri in uris]
    live, records = film(webcam, Tracker([Steady(clock)]), 5, outputs)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    absent = [line for line in lines if line.get("condition") == "absent"]
    seen = len(records) - len(absent)
    assert len(lines) == len(records) > seen
    assert {line["state"] for line in absent} <= {"lost", "recovering"}
    assert len((tmp_path / "a.txt").read_text().splitlines()) == seen
    assert len((tmp_path / "a.csv").read_text().splitlines()) == seen + 1
    video = open_source(f"{tmp_path}/a.mp4", SourceSettings())
    assert sum(1 for _ in iter(video.read, None)) == seen
    assert live.run.counts.unwritten == dict.fromkeys(uris, 0)


def test_a_frozen_picture_is_told_as_such_and_its_tracks_are_lost():
    class Still(Webcam):
        def read(self):
            frame = super().read()
            return frame and replace(frame, image=plain_frame(0, 0.0).image)

    clock = Clock()
    _, records = film(Still(clock), Tracker([Steady(clock)]), 5)
    assert [r.condition for r in records[:3]] == ["good", "repeated", "repeated"]
    assert (records[-1].condition, records[-1].state) == ("frozen", "frozen")
    assert [e.type for r in records for e in r.events] == ["new", "lost", "end"]


def test_before_the_first_frame_there_are_no_records():
    clock = Clock()
    live, records = film(Webcam(clock, away=[(0.0, 1004.0)]), Tracker([Steady(clock)]), 3)
    assert records == []
    assert live.vitals.source.reason == "webcam: is gone; plug it in"


def test_the_governor_slows_the_detectors_down_and_vitals_say_so():
    clock = Clock()

    class Slow(Steady):
        def detect(self, image, region=None):
            clock.now += 0.6
            return super().detect(image, region)

    tracker = Tracker([Slow(clock)], aside=Aside("never", clock=clock))
    governor = Governor(BudgetSettings(), tracker.every, lambda: Heat(temperature_c=51.5))
    live, _ = film(Webcam(clock), tracker, 12, governor=governor)
    status = live.vitals.status(clock.now)
    assert tracker.every == status.pace.every > 1
    assert status.pace.reason == "time"
    assert status.heat.temperature_c == 51.5
    assert status.stages_ms["detect"] == pytest.approx(600, abs=1)


def test_frames_are_progress_and_a_camera_that_is_away_needs_none():
    clock, told = Clock(), []
    webcam = Webcam(clock, away=[(1002.0, 1100.0)])

    def watch(live):
        told.append(live.progressing(clock.now, 1.0))

    film(webcam, Tracker([Steady(clock)]), 20, watch=watch)
    assert len(told) > 100
    assert all(told)


def test_a_wedge_in_capture_is_no_progress_and_ends_the_run(monkeypatch):
    monkeypatch.setattr("edge.pipeline._POLL_S", 0.001)
    monkeypatch.setattr("edge.pipeline._CLOSE_S", 0.0)

    class Hangs(Webcam):
        def read(self):
            if self._index == 5:
                freed.wait(30)
            return super().read()

        def close(self):
            self._closed = True

    clock, freed, told = Clock(), threading.Event(), []

    def watch(live):
        if live.run.counts.processed == 5:
            clock.now += 1.0
            told.append((clock.now - 1000.5, live.progressing(clock.now, 10.0)))

    with pytest.raises(SourceError, match="its driver hangs, it does not let go"):
        film(Hangs(clock), Tracker([Steady(clock)]), 100, watch=watch, deadline_s=5.0, hang_s=20.0)
    freed.set()
    assert all(going for after_s, going in told if after_s <= 10)
    assert not any(going for after_s, going in told if after_s > 12)
    assert 25 < told[-1][0] < 28


def test_a_wedge_in_inference_is_no_progress():
    clock, told = Clock(), []

    class Wedged(Steady):
        def detect(self, image, region=None):
            told.append([lives[0].progressing(clock.now + s, 10.0) for s in (9.8, 10.1)])
            return super().detect(image, region)

    lives = []
    film(Webcam(clock), Tracker([Wedged(clock)]), 2, watch=lives.append)
    assert len(told) > 10
    assert all(later == [True, False] for later in told)


def test_a_wedge_in_a_sink_is_no_progress_though_frames_come():
    class Wedged(ListSink):
        def write(self, record, frame=None):
            begun.set()
            freed.wait(30)
            super().write(record, frame)

    clock, told, begun, freed = Clock(), [], threading.Event(), threading.Event()

    def watch(live):
        if live.run.counts.processed == 1:
            assert begun.wait(30)
        told.append((clock.now, live.progressing(clock.now, 2.0)))
        if len(told) == 50:
            freed.set()

    output = Detached(sink := Wedged(), monotonic=clock)
    live, records = film(Webcam(clock), Tracker([Steady(clock)]), 5, [output], watch=watch)
    began = records[0].captured_at
    assert all(going for at, going in told if at < began + 2.0)
    assert not any(going for at, going in told if began + 2.2 < at < 1004.8)
    assert len(records) == len(sink.records) + live.run.counts.unwritten["list"]
