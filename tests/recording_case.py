"""Recordings for tests, and what is in them."""

import json
from dataclasses import replace

import numpy as np

from edge.cli import main
from edge.recording.reader import open_recording
from edge.sinks.record import Recorder
from edge.types import Record
from tests.conftest import plain_frame


def record_of(frame, camera="front", run="r", state="streaming"):
    about = dict(
        schema=1, camera=camera, run=run, frame=frame.index, time=frame.time, size=(64, 48)
    )
    about |= dict(captured_at=frame.captured_at, age_ms=0.0, dropped=0, tracks=[], events=[])
    return Record(condition=frame.condition, state=state, **about)


def recorded(folder, frames, *, files=None, quality=None, vitals=None, **about):
    sink = Recorder("record:x", folder, quality=quality, files=files, vitals=vitals)
    write_all(sink, frames, **about)
    sink.close()
    return folder


def write_all(sink, frames, **about):
    for frame in frames:
        sink.write(record_of(frame, **about), frame)


def plain_frames(count, at=1000.0):
    return [
        replace(plain_frame(n, at + n / 30), clock="driver", time=5e8 + n) for n in range(count)
    ]


def noise(index):
    image = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
    return replace(plain_frame(index, index / 30), image=image)


def shots_of(path):
    return list(open_recording(path).shots())


def same(shot, frame):
    clocks = ("index", "captured_at", "clock", "time", "condition")
    return np.array_equal(shot.frame.image, frame.image) and all(
        getattr(shot.frame, name) == getattr(frame, name) for name in clocks
    )


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


def replay(capfd, *words):
    assert main(["replay", *map(str, words)]) == 0
    return capfd.readouterr().out
