import errno
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import FileSettings
from edge.errors import SinkError
from edge.sinks import open_sink
from edge.sinks.detached import Detached
from edge.sinks.output import Output
from edge.types import Frame, Record, Track

BOX = (10.0, 20.0, 40.5, 80.25)
REAL_WRITE = os.write
SMALL = FileSettings(max_mb=0.008)  # 8000 bytes in files of 1000
DAY_S = 86_400.0


def track(ident=7):
    return Track(ident, "face", BOX, 0.93, 0.98, "confirmed", (1.0, -2.0), BOX)


def record(frame=0, tracks=1, **more):
    fields = dict(schema=1, camera="front", run="r", frame=frame, time=1.5, captured_at=frame / 25)
    fields |= dict(age_ms=18.2, size=(64, 48), dropped=2, tracks=[track()] * tracks, events=[])
    return Record(**fields | more)


def noise(seed):
    image = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    return Frame(image, seed, seed / 25, "driver", 0.0)


def write(uri, frames, files=SMALL):
    sink = open_sink(uri, keep=True, files=files)
    write_on(sink, frames)
    sink.close()


def write_on(sink, frames):
    for frame in frames:
        sink.write(record(frame), noise(frame) if sink.wants_frame else None)


def parts(path):
    """The numbered files and the one that is written to, oldest first."""
    numbered = sorted(path.parent.glob(f"{path.name}.*"), key=lambda p: int(p.suffix[1:]))
    return [*numbered, path]


def frames_in(paths):
    return [json.loads(line)["frame"] for path in paths for line in path.read_text().splitlines()]


def held(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def age(path, seconds):
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_a_full_file_gets_a_number_and_the_oldest_goes(tmp_path):
    write(f"file:{tmp_path}/a.jsonl", range(100))
    found = parts(tmp_path / "a.jsonl")
    frames = frames_in(found)
    assert held(tmp_path) <= 8000
    assert max(path.stat().st_size for path in found) <= 1000
    assert frames == list(range(frames[0], 100))
    assert len(frames) > 20
    assert int(found[0].suffix[1:]) > 1


@pytest.mark.parametrize("kind", ["file", "mot", "csv"])
def test_the_bound_counts_what_earlier_runs_left(kind, tmp_path):
    for run in range(30):
        write(f"{kind}:{tmp_path}/a.x", range(run * 10, run * 10 + 10))
        assert held(tmp_path) <= 8000
    assert len(list(tmp_path.iterdir())) > 4


def test_a_restart_goes_on_with_the_file_that_is_not_full(tmp_path):
    write(f"file:{tmp_path}/a.jsonl", [0])
    write(f"file:{tmp_path}/a.jsonl", [1])
    assert frames_in([tmp_path / "a.jsonl"]) == [0, 1]
    assert len(list(tmp_path.iterdir())) == 1


def test_every_file_of_a_csv_has_the_header(tmp_path):
    write(f"csv:{tmp_path}/a.csv", range(80))
    found = parts(tmp_path / "a.csv")
    assert len(found) > 4
    for path in found:
        lines = path.read_text().splitlines()
        assert [line.startswith("frame,") for line in lines] == [True] + [False] * (len(lines) - 1)


@given(st.lists(st.integers(1, 60) | st.just(0), max_size=60))
def test_whole_lines_are_kept_the_newest_of_them_and_never_too_many(tmp_path_factory, lengths):
    path = tmp_path_factory.mktemp("ring") / "a"
    files = FileSettings(max_mb=160 / 1e6)
    output = Output("a", str(path), keep=True, files=files)
    written = b""
    for number, length in enumerate(lengths):
        if length == 0:  # a restart
            output.close()
            output = Output("a", str(path), keep=True, files=files)
            continue
        line = b"%d" % (number % 10) * length + b"\n"
        output.append(line)
        written += line
        assert held(path.parent) <= 160
    output.close()
    kept = [part.read_bytes() for part in parts(path)]
    assert written.endswith(b"".join(kept))
    assert all(part.endswith(b"\n") for part in kept if part)
    assert len(b"".join(kept)) >= min(len(written), 160 - 20 - 2 * 61)


def test_a_larger_file_of_an_unbounded_run_is_let_go_as_a_whole(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n" * 5000)
    write(f"file:{tmp_path}/a.jsonl", [5])
    assert frames_in([tmp_path / "a.jsonl"]) == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_one_record_that_is_more_than_the_bound_is_refused_and_the_next_is_taken(tmp_path):
    sink = open_sink(f"file:{tmp_path}/a.jsonl", keep=True, files=SMALL)
    with pytest.raises(SinkError, match=r"bytes at once are more than files\.max_mb allows; raise"):
        sink.write(record(0, tracks=100))
    sink.write(record(1))
    sink.close()
    assert frames_in([tmp_path / "a.jsonl"]) == [1]


def test_what_is_too_old_is_removed_and_what_is_not_stays(tmp_path):
    path = tmp_path / "a.jsonl"
    for name, days in (("a.jsonl.1", 9.0), ("a.jsonl.2", 7.1), ("a.jsonl.3", 5.0)):
        (tmp_path / name).write_text('{"frame":0}\n')
        age(tmp_path / name, days * DAY_S)
    write(f"file:{path}", [1], FileSettings(max_age_h=7 * 24))
    assert [part.name for part in parts(path)] == ["a.jsonl.3", "a.jsonl"]


def test_nothing_older_than_the_limit_stays_however_slowly_a_file_grows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"frame":0}\n')
    age(path, DAY_S)  # not in this eighth of a week
    write(f"file:{path}", [1], FileSettings(max_age_h=7 * 24))
    assert [frames_in([part]) for part in parts(path)] == [[0], [1]]


def test_a_record_without_tracks_still_lets_old_files_go(tmp_path):
    path = tmp_path / "a.csv"
    write(f"csv:{path}", [0])
    age(path, 8 * DAY_S)
    sink = open_sink(f"csv:{path}", keep=True, files=FileSettings(max_age_h=7 * 24))
    sink.write(record(1, tracks=0))
    sink.close()
    assert [part.name for part in parts(path)] == ["a.csv"]
    assert len(path.read_text().splitlines()) == 1


def test_a_clock_that_went_back_loses_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    write(f"file:{path}", [0])
    age(path, -30 * DAY_S)
    write(f"file:{path}", [1])
    write(f"file:{path}", [2])
    assert [frames_in([part]) for part in parts(path)] == [[0], [1, 2]]


def test_no_other_file_is_ever_touched(tmp_path):
    names = ["a.jsonl.bak", "a.jsonl.01", "a.jsonl.1.gz", "b.jsonl.1", "a.jsonl.-1", "xa.jsonl.1"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(5000))
        age(tmp_path / name, 300 * DAY_S)
    (tmp_path / "a.jsonl.3").mkdir()
    (tmp_path / "a.jsonl.5").symlink_to("a.jsonl.bak")
    write(f"file:{tmp_path}/a.jsonl", range(100))
    assert all((tmp_path / name).stat().st_size == 5000 for name in names)
    assert (tmp_path / "a.jsonl.3").is_dir()
    assert (tmp_path / "a.jsonl.5").is_symlink()
    numbered = {path.name for path in tmp_path.glob("a.jsonl.[0-9]*")}
    assert not numbered & {"a.jsonl.1", "a.jsonl.2", "a.jsonl.4"}


def test_the_file_behind_a_link_is_bounded_where_it_lies(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "a.jsonl").symlink_to("there/b.jsonl")
    write(f"file:{tmp_path}/a.jsonl", range(10))
    assert (tmp_path / "a.jsonl").is_symlink()
    assert frames_in(parts(tmp_path / "there" / "b.jsonl")) == list(range(10))


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_file_that_somebody_takes_away_is_begun_again(how, tmp_path):
    path = tmp_path / "a.jsonl"
    sink = open_sink(f"file:{path}", keep=True, files=SMALL)
    sink.write(record(0))
    path.rename(tmp_path / "mine") if how == "moved" else path.unlink()
    sink.write(record(1))
    sink.close()
    assert frames_in([path]) == [1]
    assert (tmp_path / "mine").exists() == (how == "moved")


def test_a_kill_between_the_two_steps_of_a_change_of_files_costs_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    write(f"file:{path}", [0])
    path.rename(tmp_path / "a.jsonl.1")
    write(f"file:{path}", [1])
    assert frames_in(parts(path)) == [0, 1]


def test_two_processes_that_write_to_one_file_share_its_bound(tmp_path):
    uri = f"file:{tmp_path}/a.jsonl"
    sinks = [open_sink(uri, keep=True, files=SMALL) for _ in range(2)]
    for frame in range(100):
        sinks[frame % 2].write(record(frame))
    for sink in sinks:
        sink.close()
    frames = frames_in(parts(tmp_path / "a.jsonl"))
    assert held(tmp_path) <= 8000
    assert frames == list(range(frames[0], 100))


def test_a_video_begins_another_file_and_the_oldest_goes(tmp_path):
    write(f"video:{tmp_path}/a.mp4", range(60), FileSettings(max_mb=0.08))
    names = sorted(tmp_path.iterdir(), key=lambda path: int(path.stem[2:] or 1))
    assert held(tmp_path) <= 80_000
    assert names[0].name != "a.mp4"
    assert len(names) > 4
    for path in names:
        video = cv2.VideoCapture(str(path))
        times = []
        while video.read()[0]:
            times.append(video.get(cv2.CAP_PROP_POS_MSEC))
        assert times == pytest.approx(40.0 * np.arange(len(times)), abs=1.0)
        assert times


def test_a_video_of_another_day_is_followed_by_a_new_file(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4", keep=True, files=FileSettings())
    sink.write(record(0), noise(0))
    age(tmp_path / "a.mp4", 2 * DAY_S)
    sink.write(record(1), noise(1))
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.mp4", "a.mp4"]


def test_the_bound_of_videos_counts_earlier_runs_and_nobody_elses_files(tmp_path):
    (tmp_path / "a-2024.mp4").write_bytes(bytes(90_000))
    age(tmp_path / "a-2024.mp4", 300 * DAY_S)
    for _ in range(12):
        write(f"video:{tmp_path}/a.mp4", range(5), FileSettings(max_mb=0.08))
    assert (tmp_path / "a-2024.mp4").stat().st_size == 90_000
    assert held(tmp_path) <= 80_000 + 90_000
    numbers = [int(path.stem[2:] or 1) for path in tmp_path.iterdir()]
    assert min(numbers) == 2024
    assert max(numbers) > 2024 + 12


def test_a_video_frame_that_is_more_than_the_bound_is_refused(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4", keep=True, files=FileSettings(max_mb=0.001))
    with pytest.raises(SinkError, match=r"bytes at once are more than files\.max_mb allows; raise"):
        sink.write(record(0), noise(0))
    sink.close()


def test_devices_and_pipes_have_no_bound(tmp_path):
    write("file:/dev/null", range(100))
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    write(f"file:{tmp_path}/fifo", range(100))
    with os.fdopen(reader) as lines:
        assert len(lines.readlines()) == 100
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 1


def test_standard_output_has_no_bound_even_where_it_is_a_file(tmp_path):
    code = "import tests.test_sinks_bounded as case; case.write('-', range(100))"
    root = Path(__file__).parents[1]
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], cwd=root, stdout=out, check=True)
    assert frames_in([tmp_path / "out"]) == list(range(100))


def test_without_a_bound_one_file_holds_everything(tmp_path):
    write(f"file:{tmp_path}/a.jsonl", range(200), files=None)
    assert frames_in([tmp_path / "a.jsonl"]) == list(range(200))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_bound_larger_than_the_disk_ends_as_a_full_disk_does(mounted, caplog):
    caplog.set_level(logging.INFO)
    place = mounted("size=64k")
    (place / "ballast").write_bytes(bytes(40_000))
    sink = Detached(open_sink(f"file:{place}/a.jsonl", keep=True, files=FileSettings()), depth=999)
    for frame in range(300):
        sink.write(record(frame))
    sink.close(timeout_s=30.0)
    kept = frames_in([place / "a.jsonl"])
    assert kept == list(range(len(kept)))
    assert (sink.written, sink.dropped) == (len(kept), 300 - len(kept))
    warnings = [entry.message for entry in caplog.records if entry.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "no space left on device; free some space" in warnings[0]


@pytest.mark.parametrize(
    ("kind", "frames"), [("file", 2000), ("csv", 6000), ("video", 200), ("record", 60)]
)
def test_with_a_bound_larger_than_the_disk_the_oldest_files_make_way(kind, frames, mounted, caplog):
    place = mounted("size=256k")
    write(f"{kind}:{place}/a.mp4", range(frames), FileSettings(max_mb=0.4))
    told = [entry.message for entry in caplog.records]
    assert "removed, the disk is full; so will be others while it is" in told[0]
    assert "files removed, the disk was full" in told[1]
    assert len(told) == 2
    files = [path for path in place.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 128 * 1024
    if kind == "file":
        kept = frames_in(parts(place / "a.mp4"))
        assert kept == list(range(kept[0], frames))


class FullDisk:
    """Refuses to write while there are more files than it has room for."""

    def __init__(self, folder, room):
        self._folder, self._room, self.refused = folder, room, 0

    def write(self, fd, data):
        if len(list(self._folder.iterdir())) > self._room:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return REAL_WRITE(fd, data)


def test_no_more_files_make_way_than_the_disk_asks_for(tmp_path, monkeypatch, caplog):
    write(f"file:{tmp_path}/a.jsonl", range(40))
    names = [path.name for path in parts(tmp_path / "a.jsonl")]
    disk = FullDisk(tmp_path, len(names) - 2)
    monkeypatch.setattr("edge.sinks.output.os.write", disk.write)
    sink = open_sink(f"file:{tmp_path}/a.jsonl", keep=True, files=SMALL)
    sink.write(record(40))
    sink.close()
    assert [path.name for path in parts(tmp_path / "a.jsonl")] == names[2:]
    assert frames_in(parts(tmp_path / "a.jsonl"))[-1] == 40
    assert disk.refused == 2
    assert f"{tmp_path}: 2 files removed, the disk was full" in caplog.text


def test_a_disk_that_stays_full_costs_the_record_and_is_told(tmp_path, monkeypatch):
    write(f"file:{tmp_path}/a.jsonl", range(40))
    sink = open_sink(f"file:{tmp_path}/a.jsonl", keep=True, files=SMALL)
    monkeypatch.setattr("edge.sinks.output.os.write", FullDisk(tmp_path, 0).write)
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        sink.write(record(40))
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_bound_within_the_disk_never_fills_it(mounted):
    place = mounted("size=64k")
    write(f"file:{place}/a.jsonl", range(500), FileSettings(max_mb=0.016))
    assert frames_in(parts(place / "a.jsonl"))[-1] == 499


def test_a_disk_without_room_for_another_file_drops_and_works_again(mounted):
    place = mounted("size=64k,nr_inodes=4")  # its root, one file, and two of ballast
    for name in "bc":
        (place / name).touch()
    sink = open_sink(f"file:{place}/a.jsonl", keep=True, files=SMALL)
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        write_on(sink, range(10))
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        sink.write(record(77))
    (place / "b").unlink()
    sink.write(record(88))
    sink.close()
    frames = frames_in(parts(place / "a.jsonl"))
    assert frames == [*range(len(frames) - 1), 88]


@pytest.fixture
def own():
    """An ordinary user's folder; root would be refused nothing."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        if user == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        yield Path(name)
        os.seteuid(user)


@pytest.mark.parametrize("kind", ["file", "video", "record"])
def test_a_folder_that_no_longer_takes_files_is_told_and_works_again(kind, own):
    path = own / "a.mp4"
    sink = open_sink(f"{kind}:{path}", keep=True, files=FileSettings(max_mb=0.08))
    folder = path if kind == "record" else own
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(SinkError, match="permission denied; write where this user may write"):
        write_on(sink, range(1000))
    folder.chmod(stat.S_IRWXU)
    sink.write(record(2000), noise(2000))
    sink.close()
    assert held(folder) <= 80_000
