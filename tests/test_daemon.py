"""The process's side of a live run, on a clock that is set by hand."""

import json
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from edge.config import DaemonSettings, SourceSettings
from edge.errors import SourceError
from edge.notify import Notifier
from edge.runtime import RuntimeFolder
from edge.types import Detections
from tests.service_case import Case, Frames, KeepingSink, Sees

NOBODY = Detections.none()
ALIVE = "WATCHDOG=1"


@pytest.fixture
def case(tmp_path):
    case = Case(tmp_path, watchdog_s=30.0)
    yield case
    case.manager.close()


@pytest.fixture
def following(case, one_box):
    """Makes a daemon that sees one thing for so many frames."""
    return lambda frames, **settings: case.daemon(
        case.parts(Sees(one_box), Frames(case.clock, frames), **settings)
    )


def states(messages):
    return [m.removeprefix("STATUS=").split(",")[0] for m in messages if m.startswith("STATUS=")]


def state(case):
    return json.loads((case.state / "state.json").read_text())


def test_ready_comes_before_the_first_frame_and_stopping_at_the_end(case, following):
    case.run(following(3))
    messages = case.manager.said()
    assert messages[0] == "READY=1"
    assert messages[1].startswith("STATUS=front: starting")
    assert messages.count("STOPPING=1") == 1
    assert messages[-1] == "STOPPING=1"


def test_a_request_to_stop_is_passed_on_before_anything_is_closed(case, one_box):
    sink = KeepingSink()
    daemon = case.daemon(case.parts(Sees(one_box), Frames(case.clock, 99), [sink]))
    told = []

    def stopped():
        if len(sink.records) < 2:
            return False
        daemon.stopping()
        told.append((case.manager.said()[-1], sink.closed.is_set()))
        return True

    case.run(daemon, stopped)
    assert told == [("STOPPING=1", False)]
    assert case.manager.said() == []


def test_the_status_line_says_camera_rate_age_and_tracks(case, following):
    case.run(following(95))
    messages = case.manager.said()
    assert states(messages) == ["front: starting for 0 s"] + 3 * ["front: streaming"]
    assert [m for m in messages if m.startswith("STATUS")][-1].endswith(
        "front: streaming, 30.0 fps, age 0 ms, 1 tracks"
    )


def test_the_watchdog_is_fed_four_times_in_its_time_while_frames_come(case, following):
    fed = []

    def between():
        fed.extend([case.clock.monotonic] * case.manager.said().count(ALIVE))

    case.run(following(30 * 60), between=between)
    pauses = {round(b - a) for a, b in pairwise(fed)}
    assert pauses <= {7, 8}
    assert len(fed) == 8


def test_without_a_watchdog_nobody_is_fed(case, following):
    case.service = replace(case.service, notifier=Notifier(case.manager.address))
    case.run(following(40))
    assert ALIVE not in case.manager.said()


class Stalls(Frames):
    """Delivers its frames, then hangs in the driver until the gate opens; closing does not help."""

    def __init__(self, clock, count, gate):
        super().__init__(clock, count)
        self._gate = gate

    def read(self):
        frame = super().read()
        if frame is None:
            self._gate.wait(60)
        return frame

    def close(self):
        pass


def test_a_wedge_in_capture_silences_the_process_within_half_the_time(case, one_box):
    """`deadline_s` and `hang_s` are longer here than the watchdog's time, so that it acts first."""
    gate = threading.Event()
    daemon = case.daemon(case.parts(Sees(one_box), Stalls(case.clock, 5, gate)))
    daemon.live.camera._settings = SourceSettings(deadline_s=300.0, hang_s=600.0)
    fed = []

    def between():
        fed.append((case.clock.monotonic, case.manager.said().count(ALIVE)))
        if daemon.live.run.counts.processed == 5:
            case.clock.advance(5.0)
        if len(fed) == 24:
            gate.set()

    case.run(daemon, lambda: len(fed) >= 24, between)
    alive = [at for at, count in fed if count]
    last_frame = 1000.0 + 5 / 30
    assert alive
    assert max(alive) <= last_frame + 15.0 + 5.0
    assert fed[-1][0] > last_frame + 60.0


def test_a_camera_that_is_lost_and_retried_is_no_wedge(case, one_box):
    class Gone(Frames):
        def read(self):
            frame = super().read()
            if frame is None:
                raise SourceError("camera: is gone; plug it in")
            return frame

    daemon = case.daemon(case.parts(Sees(one_box), Gone(case.clock, 5)))
    fed = []

    def between():
        fed.append(case.manager.said())
        if daemon.live.run.counts.processed == 5:
            case.clock.advance(5.0)

    case.run(daemon, lambda: len(fed) >= 20, between)
    assert all(any(ALIVE in said for said in fed[i : i + 3]) for i in range(6, 18, 3))
    assert any("front: lost" in message for said in fed for message in said)


def test_a_wedge_in_inference_silences_the_process(case, one_box):
    gate = threading.Event()
    detector = Sees(one_box, wait=gate)
    daemon = case.daemon(case.parts(detector, Frames(case.clock, 2)))
    running = threading.Thread(target=case.run, args=[daemon])
    running.start()
    assert detector.looking.wait(30)
    case.manager.said()
    case.clock.advance(60.0)
    assert not daemon.live.progressing(case.clock.monotonic, 15.0)
    assert case.manager.said() == []
    gate.set()
    running.join(30)
    assert not running.is_alive()


def test_a_wedge_in_a_sink_silences_the_process_while_frames_go_on(case, one_box):
    gate = threading.Event()
    stuck, other = KeepingSink("stuck", gate), KeepingSink("other")
    source = Frames(case.clock, 30 * 60)
    case.depth = 8
    daemon = case.daemon(case.parts(Sees(one_box), source, [stuck, other]))
    fed = []

    def between():
        fed.extend([case.clock.monotonic] * case.manager.said().count(ALIVE))
        if daemon.live.run.counts.processed == 30 * 60:
            gate.set()

    case.run(daemon, between=between)
    assert 1000.0 <= max(fed) <= 1000.0 + 15.0 + 1.0
    assert daemon.live.run.counts.processed == 30 * 60
    assert len(stuck.records) < 20


def test_status_json_is_renewed_and_goes_with_the_process(case, following):
    seen = []

    def between():
        path = case.runtime / "status.json"
        if path.exists():
            seen.append(json.loads(path.read_text()))

    case.run(following(150, models=("face",)), between=between)
    assert {status["camera"] for status in seen} == {"front"}
    assert seen[-1]["frames"] > seen[0]["frames"]
    assert seen[-1]["models"] == ["face"]
    assert [path.name for path in case.runtime.iterdir()] == []


def saved_at(case, daemon):
    """Run; when the states were saved, seconds after the start."""
    saved = []

    def between():
        at = round(state(case)["at"]["monotonic"] - 1000.0, 1)
        saved.extend([at] if at not in saved else [])

    case.run(daemon, between=between)
    return saved


def test_state_is_saved_every_second_while_something_is_tracked(case, following):
    saved = saved_at(case, following(150))
    assert (saved[0], len(saved)) == (0.0, 5)
    assert all(1.0 <= round(b - a, 1) <= 1.2 for a, b in pairwise(saved))
    assert state(case)["stopped"] is True
    assert state(case)["counts"]["processed"] == 150
    assert state(case)["tracks"]["ids"] == [1]


def test_state_is_saved_rarely_while_nobody_is_there(case):
    daemon = case.daemon(case.parts(Sees(NOBODY), Frames(case.clock, 30 * 12)))
    saved = saved_at(case, daemon)
    assert (saved[0], len(saved)) == (0.0, 3)
    assert all(
        5.0 <= round(b - a, 1) <= 5.4 for a, b in pairwise(saved)
    )  # at a look at the clock a second


def test_the_next_process_goes_on_with_ids_counters_and_tracks(case, following):
    case.run(following(40))
    case.clock.advance(0.5)
    events, daemon = [], following(40)
    case.run(daemon, seen=lambda record: events.append((record.tracks[0].id, record.events)))
    assert set(map(str, events)) == {"(1, [])"}
    assert daemon.live.run.counts.processed == 80
    assert daemon.live.run.counts.seen == 80


def test_after_a_long_pause_the_next_process_begins_anew(case, following):
    case.run(following(40))
    case.clock.advance(11.0)
    daemon = following(40)
    case.run(daemon)
    assert daemon.live.run.counts.processed == 40
    assert state(case)["tracks"]["next_id"] == 2


def test_tracks_of_another_view_mean_nothing_to_the_next_process(case, following):
    case.run(following(40))
    case.clock.advance(0.5)
    new = []
    case.run(following(40, source="1"), seen=lambda record: new.extend(record.events))
    assert [(event.type, event.id) for event in new] == [("new", 2)]


def test_with_resume_tracks_off_only_ids_and_counters_go_on(case, following):
    settings = DaemonSettings(resume_tracks=False)
    case.run(following(40, daemon=settings))
    daemon = following(40, daemon=settings)
    case.run(daemon)
    assert state(case)["tracks"]["ids"] == [2]
    assert daemon.live.run.counts.processed == 80


def test_no_track_survives_a_restart_longer_than_it_may_be_lost(case, following):
    case.run(following(40))
    case.clock.advance(5.0)
    events = []
    case.run(following(10), seen=lambda record: events.extend(record.events))
    assert [(event.type, event.id) for event in events] == [("end", 1), ("new", 2)]


def test_the_password_of_a_source_is_not_in_the_state(case, following):
    case.run(following(40, source="rtsp://me:secret@camera/1"))
    assert "secret" not in (case.state / "state.json").read_text()


def test_folders_that_cannot_be_written_are_one_warning_each_and_no_end(case, following, caplog):
    nowhere = case.runtime / "gone"
    case.service = replace(case.service, runtime=RuntimeFolder(nowhere), state=nowhere)
    daemon = following(150)
    case.run(daemon)
    assert daemon.live.run.counts.processed == 150
    warned = sorted(record.message.partition(":")[0] for record in caplog.records)
    assert warned == ["state cannot be written", "status cannot be written"]
