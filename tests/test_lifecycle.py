import numpy as np
import pytest

from edge.config import TrackingSettings
from edge.lifecycle import TrackTable
from edge.motion import Motion
from edge.saved import SavedTracks

BOX = np.array([[50.0], [50.0], [20.0], [40.0]])
NONE = np.empty(0, np.int64)
FIRST = np.array([0])


class Names(dict):
    def __missing__(self, label):
        return str(label)


def table_with(score=0.7, **settings):
    table = TrackTable(TrackingSettings(**settings), Motion())
    table.begin_frame(1.0)
    table.add(BOX, np.array([score]), np.array([0]), np.array([score >= 0.9]), 0.0)
    return table


def look(table, now, dt, seen):
    table.begin_frame(dt)
    columns = FIRST if seen else NONE
    table.match(columns, BOX[:, : len(columns)], np.full(len(columns), 0.7), now)
    table.settle(columns, now)
    return [(e.type, e.id) for e in table.events]


def statuses(table):
    return [t.status for t in table.tracks(0.0, 0.0, Names())]


def test_a_track_is_confirmed_when_seen_again_at_the_age_of_the_window():
    table = table_with(confirm_s=0.25)
    assert look(table, 0.1, 0.1, True) == []
    assert look(table, 0.2, 0.1, True) == []
    assert look(table, 0.3, 0.1, True) == [("new", 1)]
    assert statuses(table) == ["confirmed"]


def test_a_sure_detection_confirms_at_once():
    table = table_with(score=0.95)
    assert [(e.type, e.id) for e in table.events] == [("new", 1)]
    assert statuses(table) == ["confirmed"]


def test_a_tentative_track_that_is_missed_ends_without_a_word():
    table = table_with(tentative_s=0.1)
    assert look(table, 0.2, 0.2, False) == []
    assert len(table) == 0


def test_a_tentative_track_survives_a_miss_shorter_than_its_window():
    table = table_with(tentative_s=0.1)
    look(table, 0.05, 0.05, False)
    assert statuses(table) == ["tentative"]


def test_missed_means_lost_and_seen_again_means_found():
    table = table_with(score=0.95)
    assert look(table, 0.1, 0.1, False) == [("lost", 1)]
    assert look(table, 0.2, 0.1, False) == []
    assert look(table, 0.3, 0.1, True) == [("found", 1)]


def test_a_lost_track_ends_after_its_window_whatever_the_frame_rate():
    for dt in (0.02, 0.1, 0.5):
        table, now = table_with(score=0.95, max_lost_s=1.0), 0.0
        while len(table):
            now += dt
            last = look(table, now, dt, False)
        assert last == [("end", 1)]
        assert 1.0 < now <= 1.0 + dt + 1e-9


def test_a_gap_longer_than_the_window_ends_everything_at_once():
    table = table_with(score=0.95, max_lost_s=1.0)
    table.begin_frame(3600.0)
    assert [(e.type, e.id) for e in table.events] == [("end", 1)]
    assert len(table) == 0


def test_coasting_loses_and_ends_by_the_clock():
    table = table_with(score=0.95, coast_s=0.5, max_lost_s=1.0)
    seen = []
    for k in range(1, 12):
        table.begin_frame(0.1)
        table.coast(k * 0.1)
        seen += [(e.type, k) for e in table.events]
    assert seen == [("lost", 6), ("end", 11)]


def test_ids_are_never_used_twice():
    table = table_with(score=0.95)
    table.begin_frame(3600.0)
    table.add(BOX, np.array([0.95]), np.array([0]), np.array([True]), 3600.0)
    assert table.ids.tolist() == [2]


def test_presence_is_the_score_and_halves_while_unseen():
    table = table_with(score=0.8, presence_half_life_s=0.5)
    (now,) = table.tracks(0.0, 0.0, Names())
    (later,) = table.tracks(0.5, 0.5, Names())
    assert (now.presence, later.presence) == pytest.approx((0.8, 0.4))


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_state_without_tracks_leaves_an_empty_table_that_goes_on_with_its_next_id(seen_before):
    table = table_with() if seen_before else TrackTable(TrackingSettings(), Motion())
    table.restore(SavedTracks(next_id=5), {})
    table.begin_frame(0.1)
    assert (len(table), table.events) == (0, [])
    table.add(BOX, np.array([0.95]), np.array([0]), np.array([True]), 0.1)
    assert table.ids.tolist() == [5]
    assert statuses(table) == ["confirmed"]
