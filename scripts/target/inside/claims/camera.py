"""A day of a camera: absent at boot, plugged in, unplugged, back, under another number."""

import os
import sys
import time
from itertools import pairwise
from statistics import mean

from system import (
    FRONT,
    configure,
    confirmed,
    expect,
    journal,
    must,
    pid,
    shown,
    status,
    until,
)
from vivid import (
    DEADLINE_S,
    FPS,
    NAME,
    PATIENCE_S,
    PLAYER,
    after,
    emitted,
    first,
    fresh,
    lost_after,
    mark,
    node,
    plug_in,
    said,
    same_process,
    shown_since,
    since,
    streams_again,
    unplug,
)

BOOT: dict[str, int] = {}
"""The process that systemd started at boot, and its descriptors when it first streamed."""


def absent_at_boot() -> str:
    """Started at boot without a camera: READY, and it says once that it is lost and why."""
    until(lambda: "no such device" in shown("StatusText"), PATIENCE_S, "a status that says so")
    BOOT["pid"] = pid()
    expect(shown("ActiveState") == "active", f"it is {shown('ActiveState')}")
    time.sleep(5)  # it is tried again and again
    lines = [line for line in journal(0).splitlines() if "camera lost" in line]
    expect("/dev/video0: no such device" in lines[-1], f"{lines}")
    expect(len(lines) == len(set(lines)), f"{lines}")
    return shown("StatusText")


def plugged_in() -> str:
    """Plugged in, as installed, with no setting changed: the same process streams."""
    place, moment = mark(), plug_in()
    first_s = streams_again(place, moment)
    expect(pid() == BOOT["pid"], "it is another process")
    return f"first picture {first_s:.1f} s after the driver had it; {shown('StatusText')}"


def found() -> str:
    """`edgetrack devices` names it, and `edgetrack doctor front` finds it in use by the service."""
    code, listed = said("devices")
    expect(code == 0 and str(node()) in listed and "vivid" in listed, listed)
    _, told = said("doctor front")
    lines = [line for line in told.splitlines() if NAME.name in line]
    expect(bool(lines), told)
    return " ".join(lines[0].split())


def turned() -> str:
    """A reload turns to its name under /dev/v4l/by-path, smaller, in the same process."""
    configure(
        source=f'"{NAME}"',
        capture=f"{{width = 320, height = 240, fps = {FPS}}}",
        detection="{every = 10, second_looks = 0}",  # floating point is slow in software
    )
    before, place = pid(), mark()
    must("systemctl", "reload", FRONT)
    first(place, lambda r: r["size"] == [320, 240], "a picture of the new size")
    expect(pid() == before == BOOT["pid"], "it is another process")
    until(lambda: str(NAME) in status()["source"]["description"], PATIENCE_S, "its new name")
    BOOT["descriptors"] = descriptors()
    return str(status()["source"]["description"])


def stamps() -> str:
    """Pictures have the kernel's time stamps: they grow in whole periods and are of just now."""
    place = mark()
    records, now = after(place, 60), time.monotonic()
    times = [record["captured_at"] for record in records]
    steps = [b - a for a, b in pairwise(times)]
    expect(min(steps) > 0, f"a step of {min(steps):.6f} s")
    expect(0 < now - times[-1] < 1, f"the newest picture is {now - times[-1]:.2f} s old")
    off = sorted(abs(step * FPS - round(step * FPS)) / FPS for step in steps)
    worst = off[int(0.9 * len(off))]  # arrivals would be anywhere within a period
    expect(worst < 0.1 / FPS, f"a tenth of the steps is off whole periods by {worst:.4f} s or more")
    ages = [record["age_ms"] for record in records]
    rate = (records[-1]["frame"] - records[0]["frame"]) / (times[-1] - times[0])
    expect(rate > 0.5 * FPS, f"only {rate:.1f} of {FPS:g} pictures a second are captured")
    return (
        f"{rate:.1f} of {FPS:g} fps captured, {(len(times) - 1) / (times[-1] - times[0]):.1f} "
        f"tracked, 90 % of the steps within {1000 * worst:.1f} ms of whole periods, "
        f"age {mean(ages):.0f} ms"
    )


def tracks() -> str:
    """Faces that are shown to the camera are tracked: two, each with one id for 3 s."""
    place, moment = mark(), time.monotonic()
    PLAYER.start()
    moment = shown_since(moment)
    record = first(place, lambda r: len(confirmed(r)) == 2, "two tracks")
    first(place, lambda r: r["captured_at"] > record["captured_at"] + 3, "3 s of records")
    ids = set().union(*map(confirmed, since(place)))
    expect(len(ids) <= 3, f"ids {ids}")
    return f"both {emitted(record) - moment:.1f} s after they were shown, ids {sorted(ids)}"


def replugged() -> str:
    """Unplugged: lost in time, absent in the records, tracks end; back: the process goes on."""
    return same_process(_replugged)


def _replugged() -> str:
    before, place = since(mark_of_tracks())[-1], mark()
    lost_s = lost_after(unplug)
    expect(lost_s < DEADLINE_S, f"lost only after {lost_s:.1f} s")
    absent = first(place, lambda r: r.get("condition") == "absent", "a record of its absence")
    expect(absent["state"] == "lost", f"the record's state is {absent['state']}")
    first(place, lambda r: not r["tracks"], "the end of its tracks")
    ended = {e["id"] for r in since(place) for e in r["events"] if e["type"] == "end"}
    expect(confirmed(before) <= ended, f"tracks {confirmed(before)}, ended {ended}")
    place, back = mark(), plug_in()
    picture_s = streams_again(place, back)
    moment = shown_since(back)
    record = first(place, confirmed, "a track")
    expect(record["frame"] > before["frame"], f"index {before['frame']}, then {record['frame']}")
    new = confirmed(record)
    expect(min(new) > max(confirmed(before)), f"ids {confirmed(before)}, then {new}")
    return (
        f"lost after {lost_s:.2f} s; back: first picture after {picture_s:.2f} s, first track "
        f"{emitted(record) - moment:.2f} s after the faces were shown again"
    )


def mark_of_tracks() -> int:
    """Wait until two faces are tracked; return a mark before that."""
    place = mark()
    first(place, lambda r: len(confirmed(r)) == 2, "two tracks")
    return place


def renumbered() -> str:
    """Back under another number, as somebody holds the old device: the lasting name is enough."""
    return same_process(_renumbered)


def _renumbered() -> str:
    before = node()
    held = os.open(before, os.O_RDWR)  # as a program that has not noticed would
    try:
        lost_after(unplug)
        place, back = mark(), plug_in()
        picture_s = streams_again(place, back)
        after = node()
    finally:
        os.close(held)
    expect(after != before, f"it is {after} again")
    return f"{before} became {after}, first picture after {picture_s:.2f} s"


def loose() -> str:
    """Unplugged and replugged five times without a pause: it streams, and holds nothing of old."""
    return same_process(_loose)


def _loose() -> str:
    openings, place, back = fresh()["source"]["openings"], mark(), 0.0
    for _ in range(5):
        unplug()
        back = plug_in()
    picture_s = streams_again(place, back)
    openings = fresh()["source"]["openings"] - openings
    until(lambda: descriptors() <= BOOT["descriptors"], 10, f"{descriptors()} descriptors")
    return f"{openings} openings, first picture {picture_s:.2f} s after the last"


def descriptors() -> int:
    """Count what the service holds open."""
    return len(os.listdir(f"/proc/{pid()}/fd"))


def one_process() -> str:
    """All of that was one process, and its journal is readable: no traceback, few lines."""
    expect(pid() == BOOT["pid"], f"process {BOOT['pid']} became {pid()}")
    expect(shown("NRestarts") == "0", f"{shown('NRestarts')} restarts")
    text = journal(0)
    print(text, file=sys.stderr, flush=True)
    expect("Traceback" not in text and "VIDIOC" not in text, text)
    openings = status()["source"]["openings"]
    lines = len(text.splitlines())
    expect(lines < 6 * openings, f"{lines} lines for {openings} openings")
    return f"{openings} openings, {status()['frames']} frames, {lines} lines, {descriptors()} files"


CLAIMS = (absent_at_boot, plugged_in, turned, found, stamps, tracks, replugged, renumbered)
LAST = (loose, one_process)
