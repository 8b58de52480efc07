"""Video files: presentation times, damage, and what is said about it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import SourceSettings
from edge.errors import DataError, SourceError
from edge.sources import FrameSource, open_source
from edge.sources.container import stated_size
from edge.types import Frame

SETTINGS = SourceSettings()
Make = Callable[..., Path]


def frames_of(source: FrameSource) -> list[Frame]:
    frames = list(iter(source.read, None))
    source.close()
    return frames


def frames_until_damage(path: Path) -> tuple[int, str]:
    source, frames = open_source(str(path), SETTINGS), []
    with pytest.raises(DataError) as raised:
        frames.extend(iter(source.read, None))
    assert source.read() is None
    return len(frames), str(raised.value)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes a test video with ffmpeg: 96x64, 30 fps."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")

    def run(name: str, *options: str, size: str = "96x64", seconds: float = 2.0) -> Path:
        picture = f"testsrc=s={size}:r=30:d={seconds}"
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, *options]
        subprocess.run([*command, str(tmp_path / name)], check=True)
        return tmp_path / name

    return run


@pytest.fixture
def h264(make: Make) -> Path:
    return make("clip.mp4", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-g", "10")


def test_frames_carry_pts_index_and_rgb(make: Make) -> None:
    red = make("red.mp4", "-vf", "drawbox=c=red:t=fill", "-pix_fmt", "yuv420p", seconds=0.2)
    source = open_source(str(red), SETTINGS)
    frames = frames_of(source)
    assert not source.live
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.captured_at for frame in frames] == pytest.approx([k / 30 for k in range(6)])
    assert {frame.clock for frame in frames} == {"pts"}
    assert all(frame.time == frame.captured_at for frame in frames)
    red_level, green, blue = frames[3].image.mean(axis=(0, 1))
    assert red_level > 200
    assert max(green, blue) < 50


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv", "vfr.gif"])
def test_times_of_a_variable_rate_are_those_that_ffprobe_reads(make: Make, name: str) -> None:
    uneven = "select=not(between(n\\,15\\,33))*not(eq(mod(n\\,7)\\,3))"
    path = make(name, "-vf", uneven, "-fps_mode", "vfr")
    ask = ["ffprobe", "-v", "error", "-show_entries", "frame=best_effort_timestamp_time"]
    answer = subprocess.check_output([*ask, "-of", "csv=p=0", str(path)], text=True)
    expected = [float(line.strip(",")) for line in answer.split()]
    frames = frames_of(open_source(str(path), SETTINGS))
    assert [frame.captured_at for frame in frames] == pytest.approx(expected, abs=1e-6)
    assert max(np.diff(expected)) > 0.5


def test_a_stream_without_times_counts_at_its_rate(make: Make) -> None:
    path = make("raw.h264", "-pix_fmt", "yuv420p", seconds=0.5)
    source = open_source(str(path), SETTINGS)
    frames = frames_of(source)
    expected = [k / source.fps for k in range(15)]
    assert [frame.captured_at for frame in frames] == pytest.approx(expected)
    assert frames[-1].clock == "nominal"


def test_times_that_jump_back_never_decrease(make: Make, tmp_path: Path) -> None:
    part = make("part.ts", "-c:v", "mpeg2video", seconds=0.5)
    twice = tmp_path / "twice.ts"
    twice.write_bytes(part.read_bytes() * 2)
    frames = frames_of(open_source(str(twice), SETTINGS))
    steps = np.diff([frame.captured_at for frame in frames])
    assert len(frames) > 20
    assert steps == pytest.approx(np.full(len(steps), 1 / 30))


def test_a_changing_size_goes_on_in_the_first_size_or_is_found_frozen(
    make: Make, tmp_path: Path
) -> None:
    small = make("small.mjpeg", "-c:v", "mjpeg", seconds=0.5)
    large = make("large.mjpeg", "-c:v", "mjpeg", size="192x128", seconds=0.5)
    both = tmp_path / "both.mjpeg"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = frames_of(open_source(str(both), SETTINGS))
    assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 30
    if int(cv2.__version__.split(".")[0]) >= 5:  # OpenCV 4 repeats its last picture
        again = np.abs(frames[20].image.astype(int) - frames[5].image)
        assert again.mean() < 15


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_a_cut_file_gives_its_frames_and_then_says_how_many(make: Make, name: str) -> None:
    path = make(name, "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-g", "10")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    count, message = frames_until_damage(path)
    assert 5 < count < 60
    assert message.startswith(f"{path}: the file is cut short, {len(whole) * 6 // 10} of ")
    assert f", {count} of 60 frames were readable; copy it again" in message


def test_damage_in_the_middle_is_skipped_and_reported_at_the_end(h264: Path) -> None:
    content = bytearray(h264.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1200] = bytes((k * 7919) & 255 for k in range(1200))
    h264.write_bytes(content)
    count, message = frames_until_damage(h264)
    assert 30 < count < 60
    assert f"the file is damaged, {count} of 60 frames were readable" in message


def test_healthy_files_are_not_called_damaged(make: Make, h264: Path, tmp_path: Path) -> None:
    trimmed, cut_in = tmp_path / "trimmed.mp4", tmp_path / "joined.ts"
    command = ["ffmpeg", "-v", "error", "-ss", "0.9", "-i", str(h264), "-c", "copy", str(trimmed)]
    subprocess.run(command, check=True)
    broadcast = make("broadcast.ts", "-c:v", "mpeg2video").read_bytes()
    cut_in.write_bytes(broadcast[188 * 40 :])  # as when a recording starts amid a programme
    fragmented = make("live.mp4", "-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov")
    for path in (trimmed, cut_in, fragmented, make("clip.avi"), make("clip.webm")):
        assert len(frames_of(open_source(str(path), SETTINGS))) > 20


def test_the_size_a_container_states_is_that_of_the_file(make: Make) -> None:
    for path in (make("a.mp4"), make("a.mkv"), make("a.avi")):
        assert stated_size(path) == path.stat().st_size
    assert stated_size(make("a.ts")) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"just text\n" * 20, "not a video that can be read"),
        (bytes(range(256)) * 40, "not a video that can be read"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(12) + b"\x00\x01\x00\x00mdat" + bytes(99), "cut sh"),
    ],
)
def test_what_is_no_video_is_refused_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"clip.mp4: .*{message}"):
        open_source(str(path), SETTINGS)
    assert capfd.readouterr().err == ""  # OpenCV keeps quiet


def test_a_sound_file_is_refused(tmp_path: Path) -> None:
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    path = tmp_path / "sound.mp4"
    tone = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=1", str(path)]
    subprocess.run(tone, check=True)
    with pytest.raises(DataError, match="not a video that can be read"):
        open_source(str(path), SETTINGS)


def test_an_absent_file_is_an_absent_source() -> None:
    with pytest.raises(SourceError, match=r"nowhere\.mp4: there is no such file or folder"):
        open_source("nowhere.mp4", SETTINGS)


def test_a_colon_in_a_name_is_no_protocol(
    h264: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h264.rename(tmp_path / "take:2.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(open_source("take:2.mp4", SETTINGS))) == 60


def test_frames_are_never_written_to_again(h264: Path) -> None:
    source = open_source(str(h264), SETTINGS)
    first = source.read()
    assert first is not None
    kept = first.image.copy()
    while source.read() is not None:
        pass
    assert np.array_equal(first.image, kept)


def test_closing_ends_the_frames_and_may_be_repeated(h264: Path) -> None:
    source = open_source(str(h264), SETTINGS)
    assert source.read() is not None
    source.close()
    source.close()
    assert source.read() is None
