import json
import logging
import zipfile
from pathlib import Path

import pytest

from edge.cli import main
from edge.errors import DataError
from edge.recording import segments
from edge.recording.reader import open_recording
from edge.recording.segment import FORMAT, SIGNATURE, Head, head_bytes
from edge.report import FORMAT as REPORT_FORMAT
from edge.sources.synthetic import SyntheticPortrait
from edge.types import Counts
from edge.vitals import Vitals
from tests.conftest import call, refusal
from tests.recording_case import (
    lines_of,
    noise,
    plain_frames,
    recorded,
    replay,
    shots_of,
)

CONFIG = """
camera = "gate"
source = "rtsp://me:s3cret@10.0.0.7:554/live?token=s3cret"
sinks = ["mqtt://me:s3cret@broker/cam", "-"]
[detection]
every = 3
[tracking]
max_lost_s = 1.5
"""


def packed(tmp_path, *words, config=CONFIG):
    recorded(tmp_path / "a", list(iter(SyntheticPortrait(frames=6).read, None)))
    (tmp_path / "c.toml").write_text(config)
    out = tmp_path / "r.zip"
    files = ["--pack", tmp_path / "a", "--out", out, "--config", tmp_path / "c.toml"]
    assert main(["record", *map(str, files), *words]) == 0
    return out


def test_a_report_says_what_computed_with_what_and_no_password(tmp_path):
    path = packed(tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["recording/segment-1.edgerec", "report.json"]
        text = archive.read("report.json")
    about = json.loads(text)
    assert b"s3cret" not in text
    assert about["format"] == 1
    assert about["settings"]["source"] == "rtsp://10.0.0.7:554/..."
    assert about["settings"]["sinks"] == ["mqtt://broker/cam", "-"]
    assert about["settings"]["tracking"]["max_lost_s"] == 1.5
    assert set(about["packages"]) > {"numpy", "msgspec"}
    assert [model["name"] for model in about["models"]] == ["face", "face-near"]
    assert {len(model["manifest_sha256"]) for model in about["models"]} == {64}
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_report_is_replayed_with_its_own_settings_unless_told_otherwise(tmp_path, capfd):
    path = packed(tmp_path, config=CONFIG.replace("every = 3", "every = 3\nscore_threshold = 1.0"))
    capfd.readouterr()
    assert not any(line["tracks"] for line in lines_of(replay(capfd, path)))
    (tmp_path / "other.toml").write_text("")
    other = lines_of(replay(capfd, path, "--config", tmp_path / "other.toml"))
    assert other[-1]["tracks"]
    assert {line["camera"] for line in other} == {"front"}


def recorded_by_a_run(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    words = ("run", tmp_path / "c.toml", "--source", "synthetic:portrait?frames=8")
    code, _, err = call(*words, "--sink", f"record:{tmp_path}/a")
    assert (code, "Traceback" in err) == (0, False)


def test_a_recording_carries_the_settings_of_its_run_and_no_password(tmp_path, capfd):
    blind = "[detection]\nscore_threshold = 1.0"
    recorded_by_a_run(tmp_path, CONFIG.replace("[detection]", blind))
    out = tmp_path / "r.zip"
    assert main(["record", "--pack", f"{tmp_path}/a", "--out", str(out)]) == 0
    assert b"s3cret" not in out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        settings = json.loads(archive.read("report.json"))["settings"]
    assert (settings["camera"], settings["tracking"]["max_lost_s"]) == ("gate", 1.5)
    assert settings["source"] == "synthetic:portrait?frames=8"
    capfd.readouterr()
    for recording in (tmp_path / "a", out):
        lines = lines_of(replay(capfd, recording))
        assert lines
        assert not any(line["tracks"] for line in lines)


def test_the_settings_of_the_last_run_count_where_there_were_several(tmp_path):
    for name in ("first", "second"):
        recorded_by_a_run(tmp_path, f'camera = "{name}"')
    assert open_recording(tmp_path / "a").settings["camera"] == "second"
    last = segments(tmp_path / "a").files()[-1]
    last.write_bytes(b"")
    assert open_recording(tmp_path / "a").settings["camera"] == "first"


def test_settings_that_this_edgetrack_does_not_have_are_refused(tmp_path, capfd):
    frames = list(iter(SyntheticPortrait(frames=2).read, None))
    vitals = Vitals("front", "r", Counts(), 0.0)
    vitals.settings = {"camera": "front", "novelty": 1}
    recorded(tmp_path / "a", frames, vitals=vitals)
    code, _, line = refusal("replay", tmp_path / "a")
    assert code == 65
    assert "its settings are none of this edgetrack's, Object contains unknown field" in line
    (tmp_path / "c.toml").write_text("")
    assert len(lines_of(replay(capfd, tmp_path / "a", "--config", tmp_path / "c.toml"))) == 2


def test_settings_too_large_for_a_head_are_left_out(tmp_path):
    vitals = Vitals("front", "r", Counts(), 0.0)
    vitals.settings = {"camera": "x" * 70_000}
    recorded(tmp_path / "a", [noise(0)], vitals=vitals)
    assert open_recording(tmp_path / "a").settings == {}
    assert len(shots_of(tmp_path / "a")) == 1


def test_another_model_than_the_reports_is_told(tmp_path, capfd, caplog):
    path = packed(tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(names["report.json"])
    about["models"][0] |= {"manifest_sha256": "0" * 64, "version": "9"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (names | {"report.json": json.dumps(about)}).items():
            archive.writestr(name, data)
    caplog.set_level(logging.WARNING)
    replay(capfd, path)
    (line,) = [entry.message for entry in caplog.records]
    assert line.startswith("model face: is ")
    assert line.endswith("here, was 9 (00000000) in the report")


def test_a_model_that_is_missing_is_said_in_the_report_and_stops_no_report(tmp_path):
    path = packed(tmp_path, config='models = ["nobody-has-this"]')
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("report.json"))
    assert "no such model" in about["models"][0]["error"]


def test_a_report_takes_the_newest_segments_that_fit(tmp_path, capfd):
    for _ in range(4):
        recorded(tmp_path / "a", [noise(n) for n in range(10)])
    size = (tmp_path / "a" / "segment-1.edgerec").stat().st_size
    words = ["record", "--pack", str(tmp_path / "a"), "--out", str(tmp_path / "r.zip")]
    assert main([*words, "--max-mb", str(2.5 * size / 1e6)]) == 0
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        names = [Path(name).stem for name in archive.namelist()]
    assert names == ["report", "segment-3", "segment-4"]
    assert main([*words, "--max-mb", str(0.5 * size / 1e6)]) == 2
    assert "no segment is within these limits; raise them" in capfd.readouterr().err


def test_only_a_folder_is_packed(tmp_path, capfd):
    segment = recorded(tmp_path / "a", [noise(0)]) / "segment-1.edgerec"
    for name in (segment, tmp_path / "no"):
        words = ["record", "--pack", str(name), "--out", str(tmp_path / "r.zip")]
        assert main(words) == 2
        assert "is no folder that was recorded into; name one" in capfd.readouterr().err


def test_a_report_appears_whole_or_not_at_all(mounted, tmp_path, capfd):
    recorded(tmp_path / "a", [noise(n) for n in range(10)])
    place = mounted("size=32k")
    words = ["record", "--pack", str(tmp_path / "a"), "--out", str(place / "r.zip")]
    assert main(words) == 73
    assert "r.zip: cannot be written, No space left on device" in capfd.readouterr().err
    assert not list(place.iterdir())


def empty(path):
    path.mkdir()


def pictures(path):
    path.mkdir()
    (path / "a.png").write_bytes(b"\x89PNG")


def foreign(path):
    path.write_bytes(b"RIFF" * 1000)


def foreign_segment(path):
    path.mkdir()
    (path / "segment-1.edgerec").write_bytes(bytes(1000))


def newer(path):
    head = Head(format=FORMAT + 1, camera="c", run="r")
    path.mkdir()
    (path / "segment-1.edgerec").write_bytes(head_bytes(head) + b"what it may have")


def no_stamp(path):
    recorded(path, plain_frames(2))
    file = path / "segment-1.edgerec"
    data = head_bytes(Head(format=FORMAT, camera="c", run="r"))
    file.write_bytes(data + file.read_bytes()[len(SIGNATURE) :])


def mixed(path):
    recorded(path, plain_frames(2, at=100.0))
    recorded(path, plain_frames(2, at=50.0))


def damaged_zip(path):
    path.write_bytes(b"PK\x03\x04" + bytes(1000))


def foreign_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("segment-1.edgerec", b"x")


def report_with(path, about):
    recorded(path.with_suffix(""), plain_frames(3))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("report.json", about)
        archive.write(path.with_suffix("") / "segment-1.edgerec", "recording/segment-1.edgerec")


def newer_report(path):
    report_with(path, json.dumps({"format": REPORT_FORMAT + 1}))


def strange_report(path):
    report_with(path, json.dumps({"format": REPORT_FORMAT}))


def no_json(path):
    report_with(path, b"{")


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a", empty, "holds no frames; name a folder that was recorded into"),
        ("a", pictures, "holds no frames; name a folder that was recorded into"),
        ("a.mp4", foreign, "is no recording of edgetrack; name a folder, segment or report"),
        ("a", foreign_segment, "segment-1.edgerec: is no recording of edgetrack; name a folder"),
        ("a", newer, f"format is {FORMAT + 1}, this edgetrack reads {FORMAT}; read it with the"),
        ("a", no_stamp, "has a second head; copy it again"),
        ("a", mixed, "frame 0 was captured before frame 1; segments of other recordings"),
        ("a.zip", damaged_zip, "is damaged, File is not a zip file; copy it again"),
        ("a.zip", foreign_zip, "is no report of edgetrack, it has no report.json; name another"),
        ("a.zip", newer_report, f"the report's format is {REPORT_FORMAT + 1}, this edgetrack"),
        ("a.zip", strange_report, "report.json is not as this edgetrack writes it"),
        ("a.zip", no_json, "report.json is not as this edgetrack writes it"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(name, make, says, tmp_path):
    make(tmp_path / name)
    code, _, line = refusal("replay", tmp_path / name)
    assert code == 65
    assert says in line
    assert str(tmp_path / name) in line


def test_what_is_not_there_cannot_be_replayed(tmp_path):
    code, _, line = refusal("replay", tmp_path / "nothing")
    assert code == 69
    assert "there is no such file or folder; name a recording" in line


def test_a_report_cut_anywhere_is_refused_or_replayed_in_one_line(tmp_path, capfd):
    path = tmp_path / "a.zip"
    recorded(tmp_path / "a", plain_frames(2))
    assert main(["record", "--pack", str(tmp_path / "a"), "--out", str(path)]) == 0
    data = path.read_bytes()
    for cut in range(0, len(data), 97):
        path.write_bytes(data[:cut])
        assert main(["replay", str(path)]) == 65
        assert (
            len([line for line in capfd.readouterr().err.splitlines() if "edgetrack: " in line])
            == 1
        )


def test_a_report_with_any_byte_changed_never_ends_in_a_traceback(tmp_path):
    path = tmp_path / "a.zip"
    recorded(tmp_path / "a", plain_frames(2))
    assert main(["record", "--pack", str(tmp_path / "a"), "--out", str(path)]) == 0
    data = path.read_bytes()
    told = 0
    for place in range(0, len(data), 19):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            shots_of(path)
        except DataError:
            told += 1
    assert told > 40
