"""A reload of a live run: loaded beside it, put in place between two frames, or refused."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from edge.errors import BundleError, ConfigError, DeliveryError
from edge.runtime import RuntimeFolder
from edge.types import Detections
from tests.service_case import Case, Frames, KeepingSink, Sees, wait_until

TWO = Detections(
    np.array([[10.0, 10.0, 30.0, 30.0], [40.0, 10.0, 60.0, 30.0]]), np.full(2, 0.9), np.arange(2)
)
PAIR = ("person", "car")


@pytest.fixture
def case(tmp_path):
    case = Case(tmp_path)
    yield case
    case.manager.close()


class Loading:
    """Stands in for reading files: gives what it is told to, or raises it; may be held back."""

    def __init__(self, result, held=False):
        self.result, self.begun, self.go = result, threading.Event(), threading.Event()
        self.before = []
        if not held:
            self.go.set()

    def __call__(self, before):
        self.before.append(before)
        self.begun.set()
        assert self.go.wait(30)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def reloaded(case, parts, load, *, after=10, frames=30):
    """Run some frames, ask for a reload after so many, wait until it is loaded, go on."""
    records, daemon = [], case.daemon(parts, load)

    def between():
        if len(records) == after and not load.before:
            case.asked.set()
        if daemon._reload is not None and len(records) < after + 2:
            load.go.set()
            wait_until(lambda: daemon._reload.loaded)

    def seen(record):
        records.append(record)

    case.run(daemon, lambda: len(records) >= frames, between, seen)
    return daemon, records


def test_models_change_between_two_frames_and_ids_and_tracks_survive(case, one_box):
    source, before, after = Frames(case.clock, 99), Sees(one_box), Sees(one_box)
    load = Loading(case.parts(after, source, models=("other",)))
    daemon, records = reloaded(case, case.parts(before, source), load)
    assert sorted(before.shown + after.shown) == list(range(30))
    assert max(before.shown) < min(after.shown)
    assert {track.id for record in records for track in record.tracks} == {1}
    assert [event.type for record in records for event in record.events] == ["new"]
    assert (daemon.live.vitals.reloads, daemon.live.vitals.models) == (1, ("other",))


def test_tracks_whose_label_is_gone_end_and_others_keep_their_ids(case):
    source = Frames(case.clock, 99)
    other = case.parts(Sees(TWO, ("cat", "car")), source)
    _, records = reloaded(case, case.parts(Sees(TWO, PAIR), source), Loading(other))
    named = [{track.id: track.label for track in record.tracks} for record in records]
    assert named[0] == {1: "person", 2: "car"}
    assert named[-1] == {2: "car", 3: "cat"}
    events = [(event.type, event.id) for record in records for event in record.events]
    assert events == [("new", 1), ("new", 2), ("end", 1), ("new", 3)]


def test_the_manager_hears_of_a_reload_as_the_protocol_has_it(case, one_box):
    source = Frames(case.clock, 99)
    reloaded(
        case, case.parts(Sees(one_box), source), Loading(case.parts(Sees(one_box), source)), after=1
    )
    messages = [m for m in case.manager.said() if not m.startswith("STATUS")]
    assert messages == [
        "READY=1",
        f"RELOADING=1\nMONOTONIC_USEC={int((1000.0 + 1 / 30) * 1e6)}",
        "READY=1",
        "STOPPING=1",
    ]


def test_a_refusal_leaves_everything_as_it_was_and_says_why(case, one_box, caplog):
    source, sink = Frames(case.clock, 99), KeepingSink()
    RuntimeFolder(case.runtime).ask("word")
    load = Loading(ConfigError("front.toml: fps: is 0; allowed are numbers over 0"))
    parts = case.parts(Sees(one_box), source, [sink])
    daemon, records = reloaded(case, parts, load)
    assert daemon.parts is parts
    assert len(records) == len(sink.records) == 30
    assert json.loads((case.runtime / "reload.json").read_text()) == {
        "request": "word",
        "refused": "front.toml: fps: is 0; allowed are numbers over 0",
        "exit_code": 78,
    }
    refused = "reload refused, all stays as it was: front.toml: fps: is 0"
    assert [refused in record.message for record in caplog.records].count(True) == 1
    assert "the last reload was refused: front.toml" in case.manager.said()[-2]
    assert daemon.live.vitals.reloads == 0


def test_a_refusal_is_forgotten_once_a_reload_was_taken(case, one_box):
    source = Frames(case.clock, 99)
    parts = case.parts(Sees(one_box), source)
    daemon = case.daemon(parts, Loading(BundleError("face: is damaged; copy it again")))
    asked = []

    def between():
        if daemon._reload is not None:
            wait_until(lambda: daemon._reload.loaded)
        elif len(asked) == 0:
            asked.append(case.asked.set())
        elif len(asked) == 1:
            assert daemon.live.vitals.refused.startswith("face: is damaged")
            daemon._load = Loading(case.parts(Sees(one_box), source))
            asked.append(case.asked.set())

    case.run(daemon, lambda: daemon.live.vitals.reloads == 1, between)
    assert daemon.live.vitals.refused == ""


def test_a_fault_while_loading_is_refused_too_and_its_traceback_logged(case, one_box, caplog):
    source = Frames(case.clock, 99)
    daemon, records = reloaded(
        case, case.parts(Sees(one_box), source), Loading(ZeroDivisionError("oh"))
    )
    assert len(records) == 30
    assert "a fault of edgetrack, ZeroDivisionError: oh" in daemon.live.vitals.refused
    assert "Traceback" in caplog.text


def test_frames_go_on_while_models_are_loaded(case, one_box):
    source = Frames(case.clock, 99)
    load = Loading(case.parts(Sees(one_box), source), held=True)
    records, daemon = [], case.daemon(case.parts(Sees(one_box), source), load)

    def between():
        if len(records) == 5:
            case.asked.set()
        if len(records) == 25:
            load.go.set()
        if len(records) >= 25 and daemon._reload is not None:
            wait_until(lambda: daemon._reload.loaded)

    case.run(daemon, lambda: len(records) == 30, between, records.append)
    assert load.begun.is_set()
    assert daemon.live.vitals.reloads == 1
    assert len(daemon.parts.tracker._detectors[0].shown) == 5


def test_a_request_that_comes_while_one_is_loading_gets_its_own_turn(case, one_box):
    source = Frames(case.clock, 99)
    load = Loading(case.parts(Sees(one_box), source))
    records, daemon = [], case.daemon(case.parts(Sees(one_box), source), load)

    def between():
        if len(records) == 5:
            case.asked.set()
        if daemon._reload is not None:
            if len(load.before) == 1:
                case.asked.set()
            wait_until(lambda: daemon._reload.loaded)

    case.run(daemon, lambda: daemon.live.vitals.reloads >= 2, between, records.append)
    assert len(load.before) >= 2
    assert load.before[1] is load.result


def test_sinks_that_stay_are_not_touched_others_are_opened_and_closed(case, one_box):
    source = Frames(case.clock, 99)
    stays, goes, comes = KeepingSink("stays"), KeepingSink("goes"), KeepingSink("comes")
    parts = case.parts(Sees(one_box), source, [stays, goes])
    new = case.parts(Sees(one_box), source, [comes])
    outputs = {"stays": parts.outputs["stays"]} | dict(new.outputs)
    daemon, records = reloaded(case, parts, Loading(replace(new, outputs=outputs)))
    assert [record.frame for record in stays.records] == list(range(30))
    assert [r.frame for r in goes.records + comes.records] == list(range(30))
    assert goes.closed.wait(30)
    assert list(daemon.live.run.counts.unwritten.values()) == [0, 0, 0]
    assert len(records) == 30


def test_what_a_sink_that_goes_did_not_deliver_stays_in_the_accounting(case, one_box):
    class Broker(KeepingSink):
        def close(self):
            super().close()
            raise DeliveryError("goes: 3 records were not delivered", 3)

    source = Frames(case.clock, 99)
    parts = case.parts(Sees(one_box), source, [Broker("goes")])
    daemon, _ = reloaded(case, parts, Loading(case.parts(Sees(one_box), source)))
    wait_until(lambda: daemon.live.run.counts.unwritten == {"goes": 3})


def test_another_source_is_opened_in_the_same_run_and_the_old_tracks_end(case, one_box):
    first, second, second_detector = Frames(case.clock, 99), Frames(case.clock, 20), Sees(one_box)
    load = Loading(case.parts(second_detector, second, source="1"))
    records, daemon = [], case.daemon(case.parts(Sees(one_box), first), load)

    def between():
        if len(records) == 10:
            case.asked.set()
        if daemon._reload is not None:
            wait_until(lambda: daemon._reload.loaded)
        if daemon.live.camera.down and daemon.live.vitals.reloads:
            case.clock.advance(0.3)

    def seen(record):
        records.append(record)
        second.go_on()

    case.run(daemon, between=between, seen=seen)
    frames = [record.frame for record in records if record.condition == "good"]
    assert frames == sorted(set(frames))
    assert len(second_detector.shown) == len(frames) - 11
    events = [(event.type, event.id) for record in records for event in record.events]
    assert events == [("new", 1), ("end", 1), ("new", 2)]


def test_a_process_that_ends_while_it_loads_answers_who_asked(case, one_box):
    source = Frames(case.clock, 99)
    RuntimeFolder(case.runtime).ask("word")
    load = Loading(case.parts(Sees(one_box), source), held=True)
    records, daemon = [], case.daemon(case.parts(Sees(one_box), source), load)

    def between():
        if not records:
            case.asked.set()

    def stopped():
        if load.begun.is_set() and len(records) > 3:
            load.go.set()
        return load.go.is_set()

    case.run(daemon, stopped, between, records.append)
    answer = json.loads((case.runtime / "reload.json").read_text())
    assert (answer["request"], answer["exit_code"]) == ("word", 69)
    assert answer["refused"].startswith("the process ends")
