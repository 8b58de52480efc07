"""Faults of a camera and its driver, one by one; the kernel's driver vivid makes them."""

import json
import subprocess
import time
from itertools import pairwise

from system import FRONT, SETTINGS, confirmed, expect, journal, must, status, until
from vivid import (
    DEADLINE_S,
    FPS,
    PATIENCE_S,
    PYTHON,
    after,
    control,
    first,
    fresh,
    lost_after,
    mark,
    node,
    reaches,
    same_process,
    since,
    state,
    streams_again,
)


def disconnected() -> str:
    """The driver answers ENODEV to everything: lost, opened anew, and it tracks again."""
    return same_process(lambda: _broken("disconnect"))


def fatal() -> str:
    """The driver's queue breaks down (EIO): lost, opened anew, and it tracks again."""
    return same_process(lambda: _broken("inject_fatal_streaming_error"))


def _broken(name: str) -> str:
    """Break the stream once; return how that went."""
    openings, place = fresh()["source"]["openings"], mark()
    lost_s = lost_after(lambda: control(**{name: 1}))
    expect(lost_s < DEADLINE_S, f"lost only after {lost_s:.1f} s")
    until(lambda: status()["source"]["openings"] > openings, PATIENCE_S, "an opening")
    opened = float(status()["source"]["since"])
    first(place, lambda r: r["captured_at"] > opened and confirmed(r), "a track")
    streams_again(place, opened)
    down = _longest_gap(place)
    return f"pictures again after {down:.2f} s"


def _longest_gap(place: int) -> float:
    times = [r["captured_at"] for r in since(place) if r.get("condition") != "absent"]
    return float(max(b - a for a, b in pairwise(times)))


def does_not_start() -> str:
    """Refuses buffers, and then to start, when it is opened anew: tried until it does."""
    return same_process(_does_not_start)


def _does_not_start() -> str:
    control(inject_vidioc_reqbufs_error=1, inject_vidioc_streamon_error=1)
    return _broken("inject_fatal_streaming_error")


def damaged_pictures() -> str:
    """Twenty damaged pictures, and a buffer that it does not take back: tracking goes on."""
    return same_process(_damaged_pictures)


def _damaged_pictures() -> str:
    openings, place = fresh()["source"]["openings"], mark()
    for _ in range(20):
        control(inject_v4l2_buf_flag_error=1)
    control(inject_vidioc_qbuf_error=1)
    moment = time.monotonic()
    first(place, lambda r: r["captured_at"] > moment + 1 and confirmed(r), "a track")
    streams_again(place, moment)
    openings = fresh()["source"]["openings"] - openings
    gap_s = _longest_gap(place)
    return f"longest time without a picture {gap_s:.2f} s, opened anew {openings} times"


def dropped() -> str:
    """The driver drops half of all pictures: half the rate, the tracks that were there go on."""
    return same_process(_dropped)


def _dropped() -> str:
    known = confirmed(first(mark(), confirmed, "a track"))
    openings, moment = fresh()["source"]["openings"], control(percentage_of_dropped_buffers=50)
    place = mark()
    records = [r for r in after(place, 45) if r["captured_at"] > moment]
    control(percentage_of_dropped_buffers=0)
    frames = records[-1]["frame"] - records[0]["frame"]
    rate = frames / (records[-1]["captured_at"] - records[0]["captured_at"])
    expect(0.2 * FPS < rate < 0.7 * FPS, f"{rate:.1f} of {FPS:g} fps are captured")
    gone = [r["frame"] for r in records if not known <= {track["id"] for track in r["tracks"]}]
    expect(not gone, f"frames {gone} have not all of the tracks {known}")
    seen = sum(known <= confirmed(record) for record in records) / len(records)
    first(mark(), lambda record: known <= confirmed(record), f"the tracks {known}, confirmed")
    expect(status()["source"]["openings"] == openings, "it was opened anew")
    return f"{rate:.1f} of {FPS:g} fps, tracks in all of them, confirmed in {100 * seen:.0f} %"


def silent() -> str:
    """The driver gives neither picture nor error: lost at the deadline, tried until it does."""
    return same_process(_silent)


def _silent() -> str:
    place = mark()
    lost_s = lost_after(lambda: control(percentage_of_dropped_buffers=100))
    expect(lost_s < DEADLINE_S + 1, f"lost only after {lost_s:.1f} s")
    absent = first(place, lambda r: r.get("condition") == "absent", "a record of its absence")
    time.sleep(2 * DEADLINE_S)  # it is opened anew, and still gives nothing
    expect(state() in {"lost", "recovering"}, f"it is {state()}")
    place, moment = mark(), control(percentage_of_dropped_buffers=0)
    picture_s = streams_again(place, moment)
    return f"lost after {lost_s:.1f} s, {absent['state']}; first picture after {picture_s:.2f} s"


def busy() -> str:
    """Another program has the camera: one line says so, and it streams when that one ends."""
    good, began = SETTINGS.read_text(), time.time()
    SETTINGS.write_text(good.replace("platform-vivid.0", "platform-none.0"))
    must("systemctl", "reload", FRONT)
    reaches("lost")
    other = subprocess.Popen(
        [PYTHON, "/check/hold.py", node()], stdout=subprocess.PIPE, text=True, cwd="/tmp"
    )
    try:
        report = json.loads(next(iter(other.stdout or ())))
        SETTINGS.write_text(good)
        must("systemctl", "reload", FRONT)
        until(lambda: "EBUSY" in status()["source"]["reason"], PATIENCE_S, "EBUSY as the reason")
        reason = status()["source"]["reason"]
        time.sleep(4)  # it is tried again and again
        place = mark()
    finally:
        other.kill()
        moment = time.monotonic()
        other.wait()
    picture_s = streams_again(place, moment)
    lines = [line for line in journal(began).splitlines() if "EBUSY" in line]
    expect(len(lines) == 1, f"{len(lines)} lines: {lines}")
    expect(report["clocks"] == ["driver"], f"{report}")
    return f"{reason!r}; first picture {picture_s:.2f} s after it ended; the other had {report}"


CLAIMS = (disconnected, fatal, does_not_start, damaged_pictures, dropped, silent, busy)
