import json
import logging
import os
import sys
import threading

import msgspec
import numpy as np
import pytest

from edge.config import TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.saved import Moment, Saved, SavedTracks, Writer, resume, save, write_whole
from edge.types import Counts
from tests.service_case import Clock

DAY_S = 86_400.0
BOX = [[10.0, 10.0, 30.0, 30.0]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


@pytest.fixture
def clock():
    return Clock()


def tracked(**settings):
    """A tracker that has followed one box for a while, until second 1000."""
    tracker = DetectionTracker(TrackingSettings(**settings), ["thing"])
    for index in range(31):
        tracker.update(BOX, [0.95], [0], 999.0 + index / 30)
    return tracker


def left(path, clock, *, stopped=False, counts=None):
    """Leave a state at this moment, as a process does."""
    tracks = tracked().saved()
    at = clock.moment()
    save(Saved(at=at, stopped=stopped, counts=counts or Counts(), picture=1, tracks=tracks), path)


def test_what_was_saved_is_found_within_the_time_and_nothing_afterwards(path, clock):
    left(path, clock, stopped=True)
    clock.advance(9.9)
    assert resume(path, clock.moment(), 10.0).tracks == tracked().saved()
    clock.advance(0.2)
    assert resume(path, clock.moment(), 10.0) is None


def test_a_state_without_tracks_goes_on_with_its_next_id():
    tracker = DetectionTracker()
    tracker.restore(SavedTracks(next_id=5))
    (track,) = tracker.update(BOX, [0.95], [0], 2.0)
    assert track.id == 5


def test_there_is_nothing_at_the_very_first_start(path, clock, caplog):
    assert resume(path, clock.moment(), 10.0) is None
    assert not caplog.records


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_step_of_the_wall_clock_changes_nothing_within_a_boot(path, clock, step_s):
    left(path, clock)
    clock.advance(2.0)
    clock.wall += step_s
    assert resume(path, clock.moment(), 10.0).tracks.ids == [1]


def test_after_another_boot_ids_go_on_and_tracks_do_not(path, clock):
    left(path, clock, stopped=True)
    clock.boot, clock.monotonic = "another boot", 3.0
    clock.wall += 5.0
    saved = resume(path, clock.moment(), 10.0)
    assert saved.tracks == SavedTracks(next_id=2)


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S, 11.0, -1.0])
def test_after_another_boot_a_wall_clock_that_stepped_makes_it_count_for_nothing(
    path, clock, step_s
):
    left(path, clock)
    clock.boot, clock.monotonic = "another boot", 999.0
    clock.wall += step_s
    assert resume(path, clock.moment(), 10.0) is None


def test_a_system_that_does_not_name_its_boot_is_treated_like_another_boot(path, clock):
    clock.boot = ""
    left(path, clock, stopped=True)
    clock.advance(1.0)
    assert resume(path, clock.moment(), 10.0).tracks == SavedTracks(next_id=2)


def test_tracks_are_left_out_where_the_settings_say_so(path, clock):
    left(path, clock, stopped=True)
    assert resume(path, clock.moment(), 10.0, tracks=False).tracks == SavedTracks(next_id=2)


def test_a_killed_process_leaves_room_for_ids_it_gave_out_since(path, clock):
    left(path, clock)
    assert resume(path, clock.moment(), 10.0).tracks.next_id == 1002


def test_a_frame_that_was_under_way_in_a_killed_process_counts_as_dropped(path, clock):
    left(path, clock, counts=Counts(seen=10, processed=7, dropped={"newer": 2}))
    counts = resume(path, clock.moment(), 10.0).counts
    assert (counts.dropped["newer"], counts.dropped["stopped"]) == (2, 1)
    assert counts.seen == counts.processed + sum(counts.dropped.values())


def changed(key, value):
    def change(table):
        *sections, last = key.split(".")
        for section in sections:
            table = table[section]
        table[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("schema", 2), "schema"),
        (changed("tracks.ids", [2]), "the ids do not rise"),
        (changed("tracks.ids", [1, 1]), "differ in length"),
        (changed("tracks.rows", [[1.0] * 11]), "a track has no size"),
        (changed("tracks.rows", [[1.0] * 9 + [0.0] * 9]), "a track has no size"),
        (changed("tracks.at", None), "do not fit together"),
        (changed("tracks.at", 2000.0), "of the future"),
        (changed("tracks.status", ["happy"]), "Invalid enum value 'happy'"),
        (changed("tracks.next_id", 2**70), "next_id|out of range"),
        (changed("counts.seen", "many"), "Expected `int`"),
    ],
)
def test_a_state_that_cannot_be_is_one_warning_and_a_fresh_start(
    path, clock, caplog, change, message
):
    left(path, clock)
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    assert resume(path, clock.moment(), 10.0) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert any(word in caplog.text for word in message.split("|"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_half_a_file_is_one_warning_and_a_fresh_start(path, clock, caplog, share):
    left(path, clock)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert resume(path, clock.moment(), 10.0) is None
    assert "ids and counters begin anew" in caplog.text


def test_numbers_beyond_all_numbers_are_damage(path, clock, caplog):
    left(path, clock)
    path.write_text(path.read_text().replace("[[999.0,", "[[1e999,"))
    assert resume(path, clock.moment(), 10.0) is None
    assert len(caplog.records) == 1


def test_a_folder_in_place_of_the_file_is_one_warning(tmp_path, clock, caplog):
    assert resume(tmp_path, clock.moment(), 10.0) is None
    assert "Is a directory" in caplog.text


def test_a_tracker_goes_on_from_what_another_knew_as_if_it_were_that_one():
    first, second = tracked(), DetectionTracker(label_names=["thing"])
    second.restore(msgspec.json.decode(msgspec.json.encode(first.saved()), type=SavedTracks))
    for index in range(1, 4):
        frame = [[10.0 + index, 10.0, 30.0 + index, 30.0]], [0.9], [0], 1000.0 + index / 30
        assert second.update(*frame) == first.update(*frame)
        assert second.events == first.events == []


def test_where_nobody_was_tracked_only_ids_go_on():
    tracker = DetectionTracker(label_names=["thing"])
    tracker.restore(SavedTracks(next_id=5))
    assert [track.id for track in tracker.update(BOX, [0.95], [0], 1.0)] == [5]
    assert tracker.saved().next_id == 6


def test_labels_are_known_by_their_names_and_others_end_with_the_next_frame():
    tracker = DetectionTracker(label_names=["car", "thing"])
    two = [*BOX, [100.0, 10.0, 140.0, 30.0]]
    for index in range(4):
        tracker.update(two, [0.95, 0.95], [0, 1], index / 30)
    other = DetectionTracker(label_names=["person", "thing"])
    other.restore(tracker.saved())
    (track,) = other.update([two[1]], [0.95], [1], 4 / 30)
    assert (track.id, track.label, track.status) == (2, "thing", "confirmed")
    assert [(event.type, event.id) for event in other.events] == [("end", 1)]
    other.update([two[1], two[0]], [0.95, 0.95], [1, 0], 5 / 30)
    assert [track.id for track in other.emit(5 / 30)] == [2, 3]


def test_a_gap_longer_than_a_track_may_be_lost_ends_what_was_restored():
    tracker = DetectionTracker(label_names=["thing"])
    tracker.restore(tracked().saved())
    tracks = tracker.update(BOX, [0.95], [0], 1003.0)
    assert [(event.type, event.id) for event in tracker.events] == [("end", 1), ("new", 2)]
    assert [track.id for track in tracks] == [2]


def test_another_motion_model_takes_over_box_and_velocity(monkeypatch):
    first = DetectionTracker(label_names=["thing"])
    for index in range(31):
        left, at = 10.0 + 2.0 * index, index / 30
        first.update([[left, 10.0, left + 20.0, 30.0]], [0.95], [0], at)
    saved = first.saved()
    second = DetectionTracker(label_names=["thing"])
    monkeypatch.setattr(second._table._motion, "name", "another")
    second.restore(saved)
    (before,), (after,) = first.emit(1.0), second.emit(1.0)
    assert (after.box, after.velocity) == (before.box, before.velocity)
    assert np.isfinite(second._table._floats).all()


def test_a_link_that_somebody_put_in_the_way_is_not_followed(path, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    path.with_name(".state.json").symlink_to(precious)
    write_whole(path, b"new")
    assert (path.read_bytes(), precious.read_text()) == (b"new", "kept")
    assert not path.is_symlink()


def test_a_reader_finds_the_old_content_or_the_new_whole(path):
    write_whole(path, b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new", durable=True)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["state.json"]


def test_a_slow_disk_gets_the_newest_and_holds_up_nobody():
    writer, begun, release, done = Writer(), threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        release.wait(30)

    writer.give({"status": slow})
    assert begun.wait(30)
    for number in range(100):
        writer.give({"status": lambda number=number: done.append(number)})
    release.set()
    writer.close(30)
    assert done == [99]


def test_a_disk_that_never_answers_ends_the_wait():
    writer, never = Writer(), threading.Event()
    writer.give({"state": lambda: never.wait(30) and None})
    writer.close(0.01)
    never.set()


def test_a_disk_that_is_full_is_said_once_and_once_again_after_it_worked(caplog):
    writer, results = Writer(), iter([False, False, True, False])
    turns = [threading.Event() for _ in range(4)]

    def job(turn):
        turn.set()
        if not next(results):
            raise OSError(28, "No space left on device")

    for turn in turns:
        writer.give({"status": lambda: None, "state": lambda turn=turn: job(turn)})
        assert turn.wait(30)
    writer.close(30)
    said = ["state cannot be written: [Errno 28] No space left on device; it is tried again"]
    assert [record.message for record in caplog.records] == 2 * said


def test_this_machine_names_its_boot_and_its_clocks():
    first, second = Moment.now(), Moment.now()
    assert first.same_boot(second)
    assert 0 <= second.since(first) < 60


def test_writing_a_state_again_and_again_puts_nothing_into_pythons_table_of_strings(
    path, monkeypatch
):
    """The table gives a place to each string that ever came, and grows when they are used up."""
    interned = []
    monkeypatch.setattr(sys, "intern", lambda text: interned.append(text) or text)
    for _ in range(3):
        write_whole(path, b"{}")
    assert path.read_bytes() == b"{}"
    assert interned == []
