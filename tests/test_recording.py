import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.config import FileSettings, SourceSettings
from edge.errors import DataError, SinkError, UsageError
from edge.recording.reader import open_recording
from edge.sinks import open_sink, output_path
from edge.sinks.record import Recorder
from edge.sources import open_source
from edge.sources.synthetic import SyntheticPortrait
from tests.conftest import plain_frame
from tests.recording_case import noise, plain_frames, record_of, recorded, same, shots_of, write_all


def test_frames_and_clocks_come_back_as_they_were_to_the_bit(tmp_path):
    frames = [noise(n) for n in range(5)]
    frames[1] = replace(
        frames[1], captured_at=1 / 30 + 1e-15, clock="arrival", time=1769152000.1234567
    )
    frames[2] = replace(frames[2], image=frames[2].image[:17, :31])
    shots = shots_of(recorded(tmp_path / "a", frames))
    assert [same(shot, frame) for shot, frame in zip(shots, frames, strict=True)] == [True] * 5
    assert {(shot.head.camera, shot.head.run, shot.state) for shot in shots} == {
        ("front", "r", "streaming")
    }


def test_a_picture_that_stands_still_is_written_once_and_read_each_time(tmp_path):
    still = [replace(noise(3), index=n, captured_at=n / 30) for n in range(50)]
    still[1:] = [replace(f, condition="frozen", image=f.image.copy()) for f in still[1:]]
    one = recorded(tmp_path / "one", still[:1]) / "segment-1.edgerec"
    many = recorded(tmp_path / "many", still) / "segment-1.edgerec"
    assert many.stat().st_size < one.stat().st_size + 50 * 150
    shots = shots_of(tmp_path / "many")
    assert all(same(shot, frame) for shot, frame in zip(shots, still, strict=True))


def test_a_still_picture_after_one_that_was_not_recorded_is_written(tmp_path):
    frames = [noise(0), replace(noise(1), condition="repeated")]
    shots = shots_of(recorded(tmp_path / "a", frames))
    assert all(same(shot, frame) for shot, frame in zip(shots, frames, strict=True))


def test_the_newest_frames_are_kept_within_the_bound_and_every_segment_reads_alone(tmp_path):
    still = [replace(noise(n // 5), index=n, captured_at=n / 30) for n in range(200)]
    frames = [f if n % 5 == 0 else replace(f, condition="repeated") for n, f in enumerate(still)]
    folder = recorded(tmp_path / "a", frames, files=FileSettings(max_mb=0.2))
    segments = list(folder.iterdir())
    assert sum(path.stat().st_size for path in segments) <= 200_000
    shots = shots_of(folder)
    assert [shot.frame.index for shot in shots] == list(range(200 - len(shots), 200))
    assert len(shots) > 40
    alone = [shots_of(path) for path in segments]
    assert sum(map(len, alone)) == len(shots)
    assert all(same(shot, frames[shot.frame.index]) for part in alone for shot in part)


def test_a_restart_begins_a_segment_and_the_bound_counts_what_was_left(tmp_path):
    for run in range(20):
        recorded(
            tmp_path / "a",
            [noise(n) for n in range(6)],
            files=FileSettings(max_mb=0.2),
            run=str(run),
        )
        assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) <= 200_000
    runs = [shot.head.run for shot in shots_of(tmp_path / "a")]
    assert runs == sorted(runs, key=int)
    assert runs[-1] == "19"


def test_no_foreign_file_in_the_folder_is_touched(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "segment-1.edgerec").write_bytes(bytes(500_000))
    (tmp_path / "a" / "notes.txt").write_text("mine")
    recorded(tmp_path / "a", [noise(n) for n in range(50)], files=FileSettings(max_mb=0.1))
    assert (tmp_path / "a" / "segment-1.edgerec").stat().st_size == 500_000
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"


def test_a_recording_cut_off_anywhere_gives_every_whole_frame_and_one_line(tmp_path, caplog):
    folder = tmp_path / "a"
    sink = Recorder("record:x", folder)
    path, ends = folder / "segment-1.edgerec", []
    for frame in (frames := plain_frames(4)):
        sink.write(record_of(frame), frame)
        ends.append(path.stat().st_size)
    sink.close()
    data = path.read_bytes()
    for cut in sorted({*range(ends[0], len(data), 7), *ends[:-1], *(end - 1 for end in ends[1:])}):
        path.write_bytes(data[:cut])
        caplog.clear()
        shots = shots_of(path)
        assert len(shots) == sum(end <= cut for end in ends)
        assert same(shots[-1], frames[len(shots) - 1])
        assert len(caplog.records) == (cut not in ends)
    assert "are no whole frame, as after a kill; they are left out" in caplog.text


@pytest.mark.parametrize("size", [0, 3, 8, 20, 60])
def test_a_segment_whose_writer_came_no_further_than_its_head_is_passed_over(size, tmp_path):
    recorded(tmp_path / "a", plain_frames(3))
    path = tmp_path / "a" / "segment-1.edgerec"
    (tmp_path / "a" / "segment-2.edgerec").write_bytes(path.read_bytes()[:size])
    assert len(shots_of(tmp_path / "a")) == 3


def test_a_tail_of_zeros_as_after_a_power_cut_is_left_out(tmp_path, caplog):
    path = recorded(tmp_path / "a", plain_frames(3)) / "segment-1.edgerec"
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert len(shots_of(path)) == 3
    assert "its last 10000 bytes are no whole frame" in caplog.text


def test_damage_amid_a_recording_is_told_after_the_frames_before_it(tmp_path):
    folder = tmp_path / "a"
    sink = Recorder("record:x", folder)
    ends = []
    for frame in plain_frames(6):
        sink.write(record_of(frame), frame)
        ends.append((folder / "segment-1.edgerec").stat().st_size)
    sink.close()
    data = bytearray((folder / "segment-1.edgerec").read_bytes())
    for place in range(ends[2], ends[3], 3):
        damaged = data.copy()
        damaged[place] ^= 0x55
        (folder / "segment-1.edgerec").write_bytes(damaged)
        shots = open_recording(folder).shots()
        assert [next(shots).frame.index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match=f"is damaged at byte {ends[2]}; copy it again"):
            next(shots)


def test_any_damaged_byte_is_noticed_or_harmless(tmp_path):
    path = recorded(tmp_path / "a", plain_frames(3)) / "segment-1.edgerec"
    data = path.read_bytes()
    for place in [*range(150), *range(150, len(data), 5)]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            shots = shots_of(path)
        except DataError:
            continue
        assert len(shots) == 2  # the last was taken for torn


def test_a_killed_recorder_leaves_every_frame_that_it_said_was_written(tmp_path):
    code = """
import sys
from edge.sinks.record import Recorder
from tests.recording_case import noise, record_of
from pathlib import Path
sink = Recorder("record:x", Path(sys.argv[1]))
for n in range(1_000_000):
    sink.write(record_of(noise(n)), noise(n))
    print(n, flush=True)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    pipes = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], **pipes) as process:
        seen = [int(process.stdout.readline()) for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        seen += [int(line) for line in process.stdout if line.endswith("\n")]
    shots = shots_of(tmp_path / "a")
    assert [shot.frame.index for shot in shots][: len(seen)] == seen
    assert len(shots) <= len(seen) + 1
    assert all(same(shot, noise(shot.frame.index)) for shot in shots)


def test_on_a_full_disk_the_oldest_segments_make_way_and_recording_goes_on(mounted, caplog):
    place = mounted("size=128k")
    (place / "ballast").write_bytes(bytes(60_000))
    sink = Recorder("record:x", place / "a", files=FileSettings(max_mb=0.1))
    write_all(sink, [noise(n) for n in range(40)])
    sink.close()
    indices = [shot.frame.index for shot in shots_of(place / "a")]
    assert indices == list(range(indices[0], 40))
    assert 1 < len(indices) < 8  # a frame is 9.3 kB
    warnings = [entry.message for entry in caplog.records]
    assert "segment-1.edgerec: removed, the disk is full; so will be others" in warnings[0]
    assert re.fullmatch(r".*/a: \d+ files removed, the disk was full", warnings[1])
    assert len(warnings) == 2


def test_a_full_disk_without_older_segments_drops_frames_until_there_is_space(mounted):
    place = mounted("size=128k")
    ballast = place / "ballast"
    ballast.write_bytes(bytes(112_000))
    sink = Recorder("record:x", place / "a", files=FileSettings(max_mb=0.8))
    frames = [noise(n) for n in range(40)]
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        write_all(sink, frames)
    ballast.unlink()
    sink.write(record_of(frames[39]), frames[39])
    sink.close()
    indices = [shot.frame.index for shot in shots_of(place / "a")]
    assert indices == [*range(len(indices) - 1), 39]


def test_lossy_pictures_are_small_near_and_said_to_be_lossy(tmp_path):
    image = SyntheticPortrait().image(0)
    frame = replace(plain_frame(0, 0.0), image=image)
    exact = recorded(tmp_path / "exact", [frame]) / "segment-1.edgerec"
    lossy = recorded(tmp_path / "lossy", [frame], quality=85) / "segment-1.edgerec"
    (shot,) = shots_of(lossy)
    assert exact.stat().st_size < 0.5 * image.nbytes
    assert lossy.stat().st_size < 0.2 * exact.stat().st_size
    assert np.abs(shot.frame.image.astype(int) - image).mean() < 2.0
    assert (shot.head.quality, shots_of(exact)[0].head.quality) == (85, None)


def test_the_sink_takes_a_folder_and_a_quality(tmp_path):
    uri = f"record:{tmp_path}/a?quality=85"
    assert output_path(uri) == tmp_path / "a"
    open_sink(uri, keep=True).close()
    assert not list((tmp_path / "a").iterdir())
    for word in ("quality=0", "quality=101", "quality=x", "size=3"):
        with pytest.raises(UsageError, match=f"{word} is no option here; use quality=Q, 1 to 100"):
            open_sink(f"record:{tmp_path}/a?{word}")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="file is a file; name a folder"):
        open_sink(f"record:{tmp_path}/file")
    with pytest.raises(SinkError, match=f"folder {tmp_path}/no does not exist; create it"):
        open_sink(f"record:{tmp_path}/no/a")


def test_as_a_source_a_recording_goes_on_over_a_restart_and_leaves_absence_out(tmp_path):
    for run, at, wall in (("first", 5000.0, 100.0), ("second", 3.0, 160.0)):
        frames = [replace(plain_frame(n, at + n), time=wall + n) for n in range(3)]
        absent = replace(frames[-1], captured_at=at + 2.5, time=wall + 2.5, condition="absent")
        recorded(tmp_path / "a", [*frames, absent], run=run)
    source = open_source(str(tmp_path / "a"), SourceSettings())
    frames = list(iter(source.read, None))
    source.close()
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert [frame.captured_at for frame in frames] == pytest.approx(
        [5000.0, 5001.0, 5002.0, 5060.0, 5061.0, 5062.0]
    )
    assert source.read() is None
    assert "recorded from front" in source.description
