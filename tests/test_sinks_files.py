import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.errors import OutputClosed, SinkError, UsageError
from edge.sinks import open_sink, output_path
from edge.types import Event, Record, Track

BOX = (10.0, 20.0, 40.5, 80.25)
CODE = """
import os, sys
from edge.sinks import open_sink
from edge.types import Record
sink = open_sink(sys.argv[1])
def record(frame):
    return Record(schema=1, camera="front", run="r", frame=frame, time=1.5, captured_at=0.5,
                  age_ms=0.0, size=(640, 480), dropped=0, tracks=[], events=[])
"""


def track(status="confirmed", label="face", ident=7):
    return Track(ident, label, BOX, 0.93, 0.98, status, (1.0, -2.0), BOX)


def record(*tracks, frame=0, **more):
    fields = dict(schema=1, camera="front", run="r", frame=frame, time=1.5, captured_at=0.5)
    fields |= dict(age_ms=18.2, size=(640, 480), dropped=2, tracks=list(tracks), events=[])
    return Record(**fields | more)


def write(uri, *records, keep=False):
    sink = open_sink(uri, keep=keep)
    for one in records:
        sink.write(one)
    sink.close()


def write_until_full(sink, path, sizes):
    for frame in range(10_000):
        sink.write(record(track(), track(), frame=frame))
        sizes.append(path.stat().st_size)


def frames_in(path):
    return [json.loads(line)["frame"] for line in path.read_text().splitlines()]


def child(code, uri, **options):
    command = [sys.executable, "-c", CODE + code, uri]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, **options)


def test_a_json_line_is_the_whole_record(tmp_path):
    path = tmp_path / "a.jsonl"
    write(f"file:{path}", record(track(), events=[Event("new", 7)]))
    assert path.read_text() == (
        '{"schema":1,"camera":"front","run":"r","frame":0,"time":1.5,"captured_at":0.5,'
        '"age_ms":18.2,"size":[640,480],"dropped":2,"tracks":[{"id":7,"label":"face",'
        '"box":[10.0,20.0,40.5,80.25],"score":0.93,"presence":0.98,"status":"confirmed",'
        '"velocity":[1.0,-2.0],"box_now":[10.0,20.0,40.5,80.25]}],'
        '"events":[{"type":"new","id":7}]}\n'
    )


def test_json_lines_read_back_as_the_records_that_were_written(tmp_path):
    records = [record(*[track(ident=i)] * i, frame=i, condition="frozen") for i in (3, 0, 1)]
    write(f"file:{tmp_path}/a.jsonl", *records)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Record) for line in lines] == records


def test_values_may_hold_numpy_numbers_and_arrays(tmp_path):
    values = {"class": "wave", "p": np.array([0.5, 0.25]), "n": np.float32(0.5), "bad": np.nan}
    write(f"file:{tmp_path}/a.jsonl", record(values=values))
    found = json.loads((tmp_path / "a.jsonl").read_text())["values"]
    assert found == {"class": "wave", "p": [0.5, 0.25], "n": 0.5, "bad": None}


def test_mot_text_counts_frames_from_one_and_leaves_out_unconfirmed_tracks(tmp_path):
    path = tmp_path / "a.txt"
    write(
        f"mot:{path}",
        record(track(), track("tentative", ident=8)),
        record(),
        record(track("lost"), track(ident=9), frame=2),
    )
    assert path.read_text() == (
        "1,7,10.00,20.00,30.50,60.25,0.93,-1,-1,-1\n3,9,10.00,20.00,30.50,60.25,0.93,-1,-1,-1\n"
    )


def test_mot_text_parses_back_to_the_boxes(tmp_path):
    write(f"mot:{tmp_path}/a.txt", *[record(track(), frame=frame) for frame in range(3)])
    rows = np.loadtxt(tmp_path / "a.txt", delimiter=",")
    assert rows[:, 0].tolist() == [1, 2, 3]
    assert (rows[:, 2:4] + rows[:, 4:6]).tolist() == [list(BOX[2:])] * 3


def test_csv_has_a_header_and_a_row_for_every_track(tmp_path):
    path = tmp_path / "a.csv"
    write(f"csv:{path}", record(track("lost", label='a "big", face')), record(frame=1))
    assert path.read_text() == (
        "frame,time,captured_at,id,label,left,top,right,bottom,score,presence,status\n"
        '0,1.5,0.5,7,"a ""big"", face",10.0,20.0,40.5,80.25,0.93,0.98,lost\n'
    )


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old\n")
    write(f"mot:{path}", record(track()))
    assert path.read_text().startswith("1,7,")


def test_keeping_appends_after_the_end_of_a_torn_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("whole\nto")
    write(f"mot:{path}", record(track()), keep=True)
    assert path.read_text().startswith("whole\nto\n1,7,")


def test_keeping_writes_the_csv_header_once(tmp_path):
    for _ in range(2):
        write(f"csv:{tmp_path}/a.csv", record(track()), keep=True)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert [line[:7] for line in lines] == ["frame,t", "0,1.5,0", "0,1.5,0"]


@pytest.mark.parametrize("uri", ["-", "file:-"])
def test_a_dash_is_standard_output(uri, capfd):
    write(uri, record(frame=4))
    assert json.loads(capfd.readouterr().out)["frame"] == 4


def test_mot_and_csv_go_to_standard_output_too(capfd):
    write("mot:-", record(track()))
    assert capfd.readouterr().out[:7] == "1,7,10."
    write("csv:-", record())
    assert capfd.readouterr().out[:11] == "frame,time,"


@pytest.mark.parametrize("uri", ["", "-:x", "file:", "out.txt", "gif:a.gif"])
def test_an_unknown_kind_of_output_is_refused(uri):
    with pytest.raises(UsageError, match="no such kind of output; use - or file:PATH"):
        open_sink(uri)
    with pytest.raises(UsageError, match="no such kind of output; use - or file:PATH"):
        output_path(uri)


@pytest.mark.parametrize("kind", ["file", "mot", "csv", "video"])
def test_where_a_sink_would_write_is_known_without_opening_it(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_path(f"{kind}:~/a.mp4") == tmp_path / "a.mp4"
    assert output_path(f"{kind}:b:c") == Path("b:c")
    assert output_path(f"{kind}:-") is output_path("-") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("kind", ["file", "video"])
def test_the_home_of_an_unknown_user_is_a_missing_folder(kind, keep):
    with pytest.raises(SinkError, match="folder ~nobody-of-that-name does not exist"):
        open_sink(f"{kind}:~nobody-of-that-name/a.mp4", keep=keep)


def test_a_missing_folder_is_named(tmp_path):
    uri = f"file:{tmp_path}/no/a.jsonl"
    with pytest.raises(SinkError) as caught:
        open_sink(uri)
    assert str(caught.value) == f"{uri}: folder {tmp_path}/no does not exist; create it"


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SinkError, match="is a directory; name a file in it"):
        open_sink(f"csv:{tmp_path}")


@pytest.fixture
def nobody(tmp_path):  # made while still root
    """Closes the folder and makes the test an ordinary user: root may write anywhere."""
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("nobody")
def test_a_folder_without_permission_is_refused(tmp_path):
    with pytest.raises(SinkError, match="permission denied; write where this user may write"):
        open_sink(f"file:{tmp_path}/a.jsonl")


def test_a_read_only_file_system_is_refused(mounted):
    with pytest.raises(SinkError, match="read-only file system; write elsewhere"):
        open_sink(f"file:{mounted('ro')}/a.jsonl")


def test_a_full_device_is_a_sink_error():
    sink = open_sink("file:/dev/full")
    with pytest.raises(SinkError, match="file:/dev/full: no space left on device; free some"):
        sink.write(record())
    sink.close()


def test_a_full_disk_leaves_whole_lines_and_writing_goes_on_once_there_is_space(mounted):
    place = mounted()
    (place / "ballast").write_bytes(bytes(20_000))
    sink = open_sink(f"file:{place}/a.jsonl")
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        write_until_full(sink, place / "a.jsonl", [])
    kept = frames_in(place / "a.jsonl")
    (place / "ballast").unlink()
    sink.write(record(frame=77_777))
    sink.close()
    assert kept == list(range(len(kept)))
    assert frames_in(place / "a.jsonl") == [*kept, 77_777]


def test_a_full_disk_leaves_a_video_of_whole_frames(mounted):
    place = mounted()
    sink = open_sink(f"video:{place}/a.mp4")
    sizes = [0]
    with pytest.raises(SinkError, match="no space left on device; free some space"):
        write_until_full(sink, place / "a.mp4", sizes)
    sink.close()
    assert (place / "a.mp4").stat().st_size == sizes[-1] > 0


@pytest.mark.parametrize("kind", ["file", "mot", "csv"])
def test_a_killed_process_loses_nothing_it_wrote(kind, tmp_path):
    code = """
from edge.types import Track
track = Track(7, "face", (0.0, 0.0, 9.0, 9.0), 0.5, 0.5, "confirmed", (0.0, 0.0), (0.0,) * 4)
for frame in range(500):
    one = record(frame)
    one.tracks.append(track)
    sink.write(one)
print("written", flush=True)
sys.stdin.read()
"""
    with child(code, f"{kind}:{tmp_path}/out", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    lines = (tmp_path / "out").read_text().splitlines(keepends=True)
    assert len(lines) == 500 + (kind == "csv")
    assert all(line.endswith("\n") for line in lines)


def test_a_reader_that_went_away_ends_the_run_without_a_traceback(tmp_path):
    code = """
from edge.errors import OutputClosed
try:
    for frame in range(1_000_000):
        sink.write(record(frame))
except OutputClosed as error:
    sys.exit(error.exit_code)
sys.exit(3)
"""
    with (tmp_path / "log").open("w+") as log, child(code, "-", stderr=log) as process:
        head = subprocess.run(["head", "-1"], stdin=process.stdout, capture_output=True, text=True)
        process.stdout.close()
        assert process.wait() == 0
    assert json.loads(head.stdout)["frame"] == 0
    assert (tmp_path / "log").read_text() == ""


def test_a_closed_standard_output_is_refused():
    command = [sys.executable, "-c", CODE, "-"]
    root = Path(__file__).parents[1]
    closed = {"preexec_fn": lambda: os.close(1), "stderr": subprocess.PIPE, "text": True}
    result = subprocess.run(command, cwd=root, check=False, **closed)
    assert "-: standard output is closed; name a file" in result.stderr


def test_a_non_blocking_pipe_gets_whole_lines():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = "for frame in range(2000): sink.write(record(frame))"
    command = [sys.executable, "-c", CODE + code, "-"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=writer) as process, os.fdopen(reader) as lines:
        os.close(writer)
        frames = [json.loads(line)["frame"] for line in lines]
        assert process.wait() == 0
    assert frames == list(range(2000))


def test_a_broken_pipe_is_output_closed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(f"file:{fifo}")
    os.close(reader)
    with pytest.raises(OutputClosed, match="the reader closed the pipe"):
        sink.write(record())
    sink.close()
    sink.close()


@pytest.mark.parametrize(
    ("kind", "keep"), [("file", False), ("file", True), ("csv", True), ("video", False)]
)
def test_a_pipe_without_a_reader_is_refused_at_once(kind, keep, tmp_path):
    uri = f"{kind}:{tmp_path}/fifo.mp4"
    os.mkfifo(tmp_path / "fifo.mp4")
    with pytest.raises(SinkError) as caught:
        open_sink(uri, keep=keep)
    assert str(caught.value) == f"{uri}: nobody reads this pipe; start the reader first"


def test_a_pipe_with_a_slow_reader_gets_every_line(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(f"file:{fifo}")
    assert os.get_blocking(sink._output._fd)
    sink.write(record(frame=3))
    sink.close()
    with os.fdopen(reader) as lines:
        assert json.loads(lines.read())["frame"] == 3


def test_a_folder_that_takes_no_files_is_not_called_missing():
    with pytest.raises(SinkError) as caught:
        open_sink("file:/proc/x")
    assert str(caught.value) == "file:/proc/x: cannot be created in /proc; write elsewhere"


@pytest.mark.parametrize("kind", ["file", "video"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_name_that_is_too_long_is_refused(kind, keep, tmp_path):
    with pytest.raises(SinkError, match="file name too long; check the path"):
        open_sink(f"{kind}:{tmp_path}/{'a' * 300}.mp4", keep=keep)
