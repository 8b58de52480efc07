"""A live run, a process of its own, whose camera goes away, stalls, freezes or turns black."""

import json

import pytest

from tests.faulty_camera import DEVICE, ENTRY, Order
from tests.service_case import wait_until

DAY_S = 86_400.0
SETTINGS = """
[capture]
deadline_s = 0.5
retry_s = 0.1
longest_retry_s = 0.2
hang_s = 1.5
reopen_frozen_s = 1.0
[budget]
hold = false
"""


class Watched:
    """A service whose camera does as it is told."""

    def __init__(self, service):
        self.service, self.order = service, Order(service.folder / "order")
        service.configure(SETTINGS, source=DEVICE)

    def start(self, word):
        self.order.give(word)
        words = (str(self.order._path),)
        self.service.start(words=words, entry=ENTRY)

    def goes(self, word, state, step_s=0.0):
        """Have it go so; wait until the manager is told that state."""
        self.order.give(word, step_s)
        return self.service.hear(f"STATUS=front: {state}")

    def tracks(self):
        """Wait until a face is tracked."""
        self.service.wait_for(lambda status: status["tracks"])

    def records(self):
        """All whole records so far, with what is left out where all is well."""
        well = {"condition": "good", "state": "streaming"}
        out = self.service.out
        earlier = sorted(out.parent.glob(f"{out.name}.*"), key=lambda path: int(path.suffix[1:]))
        text = "".join(path.read_text() for path in (*earlier, out) if path.exists())
        return [well | json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for_record(self, condition):
        wait_until(lambda: any(map(condition, self.records())))

    def stop(self):
        """End it; its records, in which nothing ever goes back."""
        code, err = self.service.stop()
        assert (code, "Traceback" in err) == (0, False)
        records = self.records()
        for key in ("frame", "captured_at"):
            values = [record[key] for record in records]
            assert values == sorted(values)
        return records


@pytest.fixture
def watched(service):
    return Watched(service)


def events(records):
    return [(event["type"], event["id"]) for record in records for event in record["events"]]


def test_an_unplugged_camera_is_told_and_comes_back_in_the_same_process(watched):
    watched.start("good")
    watched.tracks()
    assert "there is no such camera; connect it" in watched.goes("unplugged", "lost")
    watched.wait_for_record(lambda record: record["condition"] == "absent" and not record["tracks"])
    watched.service.manager.wait_for("WATCHDOG=1")
    watched.goes("good", "streaming")
    watched.tracks()
    status = watched.service.status()
    records = watched.stop()
    absent = [record for record in records if record["condition"] == "absent"]
    assert {record["state"] for record in absent} <= {"lost", "recovering"}
    ended = {ident for kind, ident in events(absent) if kind == "end"}
    after = records[records.index(absent[-1]) + 1 :]
    assert ended
    assert not ended & {track["id"] for record in after for track in record["tracks"]}
    assert status["source"]["openings"] == 2


def test_a_camera_that_is_absent_at_the_start_is_awaited(watched):
    watched.start("unplugged")
    watched.service.hear("STATUS=front: lost")
    watched.service.manager.wait_for("WATCHDOG=1")
    watched.goes("good", "streaming")
    watched.tracks()
    assert watched.stop()[0]["frame"] == 0


def test_a_camera_that_stalls_is_opened_anew_by_its_deadline(watched):
    watched.start("good")
    watched.tracks()
    assert "no picture for 0.5 s; it is opened anew" in watched.goes("silent", "lost")
    watched.service.manager.wait_for("WATCHDOG=1")
    watched.goes("good", "streaming")
    watched.tracks()
    assert watched.service.status()["source"]["openings"] >= 2
    watched.stop()


def test_a_driver_that_hangs_ends_the_process_for_its_manager_to_start_it_again(watched):
    watched.start("good")
    watched.tracks()
    watched.order.give("hanging")
    _, err = watched.service.process.communicate(timeout=60)
    assert watched.service.process.returncode == 69
    assert "its driver hangs, it does not let go of the camera within 1.5 s" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("state", ["frozen", "black"])
def test_a_picture_that_shows_nothing_new_is_a_state_and_no_model_sees_it(state, watched):
    watched.start("good")
    watched.tracks()
    watched.goes(state, state)
    watched.wait_for_record(lambda r: r["state"] == state and not r["tracks"])
    watched.goes("good", "streaming")
    watched.tracks()
    records = watched.stop()
    shown = [record for record in records if record["condition"] == state]
    assert shown
    assert not any(kind in {"new", "found"} for kind, _ in events(shown))


def test_a_frozen_camera_is_opened_anew(watched):
    watched.start("good")
    watched.tracks()
    watched.goes("frozen", "frozen")
    watched.service.wait_for(lambda status: status["source"]["openings"] >= 2)
    watched.goes("good", "streaming")
    watched.stop()


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_wall_clock_that_steps_by_a_day_moves_the_date_and_nothing_else(step_s, watched):
    watched.start("good")
    watched.tracks()
    before = watched.records()[-1]
    watched.order.give("good", step_s)
    watched.wait_for_record(lambda record: abs(record["time"] - before["time"]) > DAY_S / 2)
    watched.service.wait_for_frames()
    watched.service.manager.wait_for("WATCHDOG=1")
    assert watched.service.edgetrack("status")[0] == 0
    records = watched.stop()
    moved = [abs(record["time"] - before["time"]) > DAY_S / 2 for record in records]
    last, stepped = records[moved.index(True) - 1 : moved.index(True) + 1]
    assert stepped["captured_at"] - last["captured_at"] < 60
    known = {track["id"] for track in last["tracks"]}
    known |= {ident for kind, ident in events([stepped]) if kind == "new"}
    assert {track["id"] for track in stepped["tracks"]} <= known
    assert all(0 <= record["age_ms"] < 60_000 for record in records)
