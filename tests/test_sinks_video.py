import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import FileSettings
from edge.errors import SinkError
from edge.sinks import open_sink
from edge.sinks.fmp4 import fragment, padding
from edge.sinks.overlay import TRAIL, Trails, colour_of, draw, readable
from edge.types import Frame, Record, Track

GREY = 100


def track(box=(100.0, 60.0, 200.0, 160.0), status="confirmed", ident=7, presence=0.98):
    return Track(ident, "face", box, 0.93, presence, status, (0.0, 0.0), box)


def record(*tracks, at=0.0, size=(320, 240), **more):
    fields = dict(schema=1, camera="c", run="r", frame=0, time=0.0, captured_at=at)
    fields |= dict(age_ms=0.0, size=size, dropped=0, tracks=list(tracks), events=[])
    return Record(**fields | more)


def grey(width=320, height=240):
    return np.full((height, width, 3), GREY, np.uint8)


def frame(image, at=0.0):
    return Frame(image, 0, at, "driver", 0.0)


def read_video(path):
    """Returns the frames and their times in seconds."""
    video = cv2.VideoCapture(str(path))
    images, times = [], []
    while True:
        there, image = video.read()
        if not there:
            return images, np.array(times)
        images.append(image[:, :, ::-1].astype(int))
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)


def changed(picture):
    return (picture != GREY).any(axis=2)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "MP4"])
def test_a_video_reads_back_with_its_frames_at_the_time_of_capture(suffix, tmp_path):
    times = [5.0, 5.04, 5.08, 5.3, 5.31, 5.9]
    sink = open_sink(f"video:{tmp_path}/a.{suffix}")
    for at in times:
        sink.write(record(track(), at=at), frame(grey(), at))
    sink.close()
    images, found = read_video(tmp_path / f"a.{suffix}")
    assert found == pytest.approx(np.array(times) - 5.0, abs=0.002)
    assert images[5].shape == (240, 320, 3)


def test_colours_survive_the_way_into_the_file(tmp_path):
    image = grey()
    image[:] = (200, 30, 30)
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    sink.write(record(), frame(image))
    sink.close()
    images, _ = read_video(tmp_path / "a.mp4")
    assert images[0][100, 100] == pytest.approx([200, 30, 30], abs=6)


def test_a_camera_that_was_away_or_starts_anew_leaves_time_going_on(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    for at in (100.0, 5000.0, 0.0, 0.5):
        sink.write(record(at=at), frame(grey()))
    sink.close()
    _, times = read_video(tmp_path / "a.mp4")
    assert times == pytest.approx([0.0, 10.0, 10.001, 10.501])


def test_a_frame_of_another_size_is_fitted_between_black_bars(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    sink.write(record(), frame(grey()))
    sink.write(record(size=(100, 200)), frame(grey(100, 200)))
    sink.close()
    images, _ = read_video(tmp_path / "a.mp4")
    row = images[1][120]
    assert images[1].shape == (240, 320, 3)
    assert row[[40, 160, 280], 0] == pytest.approx([0, GREY, 0], abs=6)


def test_without_frames_the_tracks_are_drawn_on_black(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    sink.write(record(track()))
    sink.close()
    images, _ = read_video(tmp_path / "a.mp4")
    assert images[0][120, 100] == pytest.approx(colour_of(7), abs=60)
    assert images[0][200, 250].max() < 10


def test_a_killed_writer_leaves_a_video_with_every_frame(tmp_path):
    code = """
import sys, numpy as np
from edge.sinks import open_sink
from edge.types import Record
sink = open_sink(sys.argv[1])
for n in range(40):
    sink.write(Record(schema=1, camera="c", run="r", frame=n, time=0.0, captured_at=n / 25,
                      age_ms=0.0, size=(320, 240), dropped=0, tracks=[], events=[]))
print("written", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, f"video:{tmp_path}/a.mp4"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], **pipes) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    _, times = read_video(tmp_path / "a.mp4")
    assert times == pytest.approx(np.arange(40) / 25, abs=0.002)


def test_a_video_torn_at_any_page_plays_up_to_there(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    ends = []
    for n in range(40):
        sink.write(record(at=n / 25, size=(64, 48)), frame(np.roll(noise // (n + 1), n)))
        ends.append((tmp_path / "a.mp4").stat().st_size)
    sink.close()
    whole = (tmp_path / "a.mp4").read_bytes()
    for cut in range(ends[0] // 4096 * 4096 + 4096, len(whole), 4096):
        (tmp_path / "torn.mp4").write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        assert complete <= len(read_video(tmp_path / "torn.mp4")[0]) <= complete + 1


def test_padding_keeps_the_head_of_a_fragment_within_a_page():
    moof_length = fragment(1, 0, 40, b"").index(b"mdat") - 4
    starts = np.array([position + len(padding(position)) for position in range(8192)])
    assert (starts // 4096 == (starts + moof_length - 1) // 4096).all()


def test_a_full_disk_is_told(tmp_path):
    (tmp_path / "a.mp4").symlink_to("/dev/full")
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        sink.write(record(), frame(grey()))
    sink.close()


@pytest.mark.parametrize(("width", "height"), [(65_501, 2), (2, 70_000)])
def test_a_picture_larger_than_jpeg_allows_is_refused(width, height, tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    with pytest.raises(SinkError, match=f"pictures of {width}x{height} are too large for a video"):
        sink.write(record(size=(width, height)), frame(grey(width, height)))
    sink.close()
    assert (tmp_path / "a.mp4").stat().st_size == 0


def test_the_largest_picture_that_jpeg_allows_is_written(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4")
    sink.write(record(size=(65_500, 2)), frame(grey(65_500, 2)))
    sink.close()
    assert (tmp_path / "a.mp4").stat().st_size > 65_500 // 50


def test_another_kind_of_video_is_refused_by_naming_what_works(tmp_path):
    with pytest.raises(SinkError, match=r"cannot write this kind of video; use \.mp4 or \.mov"):
        open_sink(f"video:{tmp_path}/a.avi")


def test_a_restart_keeps_the_earlier_video(tmp_path):
    for _ in range(3):
        sink = open_sink(f"video:{tmp_path}/a.mp4", keep=True)
        sink.write(record(), frame(grey()))
        sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.mp4", "a-3.mp4", "a.mp4"]


def test_a_live_run_that_saw_nothing_leaves_no_video(tmp_path):
    sink = open_sink(f"video:{tmp_path}/a.mp4", keep=True)
    sink.write(record(condition="absent"), frame(grey()))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    sink.close()
    assert not list(tmp_path.iterdir())


def test_a_live_video_may_go_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    reader = os.open(tmp_path / "a.mp4", os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(f"video:{tmp_path}/a.mp4", keep=True, files=FileSettings())
    for n in range(2):
        sink.write(record(at=n / 25, size=(64, 48)), frame(grey(64, 48)))
    sink.close()
    (tmp_path / "copy.mp4").write_bytes(os.read(reader, 1 << 16))
    os.close(reader)
    assert len(read_video(tmp_path / "copy.mp4")[0]) == 2
    assert stat.S_ISFIFO((tmp_path / "a.mp4").stat().st_mode)


def test_a_confirmed_box_is_drawn_on_its_edge_and_not_inside():
    image = grey()
    picture = draw(image, record(track()))
    for y, x in ((110, 100), (110, 199), (159, 150)):
        assert tuple(picture[y, x]) == colour_of(7)
    assert not changed(picture)[70:150, 110:190].any()
    assert not changed(picture)[170:220].any()
    assert (image == GREY).all()


def test_a_lost_track_is_dashed_and_a_tentative_one_is_thin():
    edges = {
        status: changed(draw(grey(), record(track(status=status))))[70:150, 97:103]
        for status in ("confirmed", "tentative", "lost")
    }
    assert edges["tentative"].sum(axis=1).tolist() == [1] * 80
    assert edges["confirmed"].sum(axis=1).min() > 1
    assert 20 < edges["lost"].any(axis=1).sum() < 60


def test_a_lost_track_has_its_id_in_its_colour_and_no_plate_or_trail():
    trail = {7: [(110, 110), (190, 110)]}
    picture = draw(grey(), record(track(status="lost")), trail)
    name = picture[46:59, 100:160]
    assert 0.02 < changed(name).mean() < 0.3
    assert not changed(name)[:, 25:].any()
    assert (np.abs(name.astype(int) - colour_of(7)).max(axis=2) < 60).any()
    assert not changed(picture)[70:150, 110:190].any()


def test_a_lost_track_that_faded_is_not_drawn():
    faded, fading = (record(track(status="lost", presence=p)) for p in (0.19, 0.2))
    assert (draw(grey(), faded) == draw(grey(), record())).all()
    assert not (draw(grey(), fading) == draw(grey(), record())).all()
    seen = draw(grey(), record(track(presence=0.1)))
    assert (seen == draw(grey(), record(track()))).all()


def test_the_name_stands_above_the_box_and_inside_the_picture():
    assert changed(draw(grey(), record(track())))[46:59, 100:160].mean() > 0.95
    outside = draw(grey(), record(track((-50.0, -40.0, 20.0, 20.0))))
    assert tuple(outside[1, 1]) == colour_of(7)


def test_the_condition_makes_the_line_at_the_bottom_longer():
    plain = changed(draw(grey(), record()))
    frozen = changed(draw(grey(), record(condition="frozen", age_ms=12.0, dropped=3)))
    assert not plain[:225].any()
    assert plain[239].sum() < frozen[239].sum() < 320


def test_values_are_written_at_the_top_left():
    values = {"gesture": "wave", "probabilities": [0.1, np.float32(0.8)]}
    marked = changed(draw(grey(), record(values=values)))
    assert marked[:28, :40].mean() > 0.95
    assert not marked[29:220].any()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"label": "wave", "score": 0.931, "scores": {"wave": 0.931, "none": 0.069}}, "wave 0.93"),
        ({"pan": 0.12345, "tilt": -2.0}, "pan 0.123 tilt -2"),
        ([0.1, np.float32(0.8), 1234.56, 3e12], "0.1 0.8 1235 3e+12"),
        ([0.0] * 100, "0 0 0 0 0 0 0 0"),
        (float("nan"), "nan"),
        ("wave", "wave"),
    ],
)
def test_a_value_is_said_in_a_few_words(value, words):
    assert readable(value) == words


def test_lines_and_letters_grow_with_the_picture():
    small = changed(draw(grey(), record(track()))).mean()
    box = (600.0, 270.0, 900.0, 720.0)
    large = changed(draw(grey(1920, 1080), record(track(box), size=(1920, 1080))))
    assert large[300:700, 590:610].sum(axis=1).min() >= 5
    assert large.mean() > small / 8


def test_a_box_far_outside_the_picture_is_harmless():
    picture = draw(grey(), record(track((-1e12, 50.0, 1e12, 90.0)), track((5.0, 5.0, 5.0, 5.0))))
    assert picture.shape == (240, 320, 3)


def test_ids_keep_their_colour_and_differ():
    assert colour_of(3) == colour_of(3)
    assert len({colour_of(ident) for ident in range(100)}) == 100


def test_trails_follow_the_centre_and_forget_ids_that_left():
    trails = Trails()
    for n in range(TRAIL + 5):
        found = trails.follow(record(track((n, 0.0, n + 20.0, 10.0)), track(ident=n + 100)))
    assert list(found[7])[-1] == (TRAIL + 4 + 10, 5)
    assert (len(found[7]), len(found)) == (TRAIL, 2)


def test_a_trail_is_drawn_in_the_colour_of_its_track():
    picture = draw(grey(), record(track()), {7: [(110, 110), (190, 110)]}).astype(int)
    assert picture[110, 150] == pytest.approx(colour_of(7), abs=25)  # smoothed
    assert (picture[120, 110:190] == GREY).all()
