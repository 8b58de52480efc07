"""`edgetrack eval` as a user meets it: folders of pictures and truth, reports, refusals."""

import csv
import io
import json
import shutil

import cv2
import numpy as np
import pytest

from edge.errors import DataError, SourceError, UsageError
from edge.evaluation.protocols import named
from edge.evaluation.results import METRICS
from edge.evaluation.sequences import find_sequences, read_sequence
from tests.conftest import call, refusal


def write(folder, rows, frames=None, inner="", name="groundtruth.txt"):
    """A sequence on disk: grey pictures and these rows of truth."""
    place = folder / inner
    place.mkdir(parents=True)
    for number in range(1, (len(rows) if frames is None else frames) + 1):
        cv2.imwrite(str(place / f"{number:04}.png"), np.full((48, 64, 3), number, np.uint8))
    if name:
        (folder / name).write_text("\n".join(rows) + "\n")
    return folder


def test_truth_is_read_with_commas_tabs_or_spaces_and_pictures_from_img(tmp_path):
    write(tmp_path / "a", ["1,2,3,4", "NaN,NaN,NaN,NaN", "1,2,0,0"])
    write(tmp_path / "b", ["1\t2\t3\t4"], inner="img", name="groundtruth_rect.txt")
    write(tmp_path / "c", ["1.5 2  3 4"], frames=3)
    cv2.imwrite(str(tmp_path / "overview.png"), np.zeros((9, 9, 3), np.uint8))
    a, b, c = find_sequences(tmp_path)
    assert a.truth[0].tolist() == b.truth[0].tolist() == [1, 2, 4, 6]
    assert np.isnan(a.truth[1:]).all()
    assert (len(c), c.truth[0].tolist()) == (1, [1.5, 2, 4.5, 6])
    assert a.decode()[2][0, 0].tolist() == [3, 3, 3]
    assert [one.name for one in find_sequences(tmp_path, ["c", "a"])] == ["c", "a"]
    assert [one.name for one in find_sequences(tmp_path / "b")] == ["b"]
    assert len(find_sequences(tmp_path, frames=2)[0]) == 2


def test_a_folder_that_is_no_set_of_sequences_is_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"holds no sequences; put NAME/0001\.jpg"):
        find_sequences(tmp_path)
    with pytest.raises(SourceError, match="cannot be read"):
        find_sequences(tmp_path / "none")
    write(tmp_path / "a", ["1,2,3,4"])
    with pytest.raises(UsageError, match="has no sequence 'b'; choose from a"):
        find_sequences(tmp_path, ["b"])
    write(tmp_path / "b", ["1,2,3,4"], name="")
    with pytest.raises(DataError, match=r"b: has pictures and no groundtruth\.txt; write x,y,w,h"):
        find_sequences(tmp_path)


@pytest.mark.parametrize(
    ("rows", "frames", "said"),
    [
        (["1,2,3,4", "1,2,x,4"], 2, r"groundtruth\.txt:2: is '1,2,x,4'; write x,y,w,h"),
        (["1,2,3,4,5,6,7,8"], 1, r"groundtruth\.txt:1: is '1,2,3,4,5,6,7,8'"),
        (["1,2,3,4", "", "1,2,3,4"], 3, r"groundtruth\.txt:2: is ''"),
        (["1,2,3,4"] * 3, 2, r"has 2 pictures for the 3 rows of groundtruth\.txt"),
        (["NaN,NaN,NaN,NaN"], 1, "has no box in its first 1 rows"),
        ([""], 1, "is empty"),
    ],
)
def test_truth_that_is_damaged_is_refused_in_one_line(tmp_path, rows, frames, said):
    with pytest.raises(DataError, match=said):
        read_sequence(write(tmp_path / "a", rows, frames))


def test_an_unknown_protocol_is_refused():
    with pytest.raises(UsageError, match="protocol 'r11': is unknown; choose from ope, r10"):
        named(["r10", "r11"])


@pytest.fixture
def folder(tmp_path):
    for name, step in (("slow", 0), ("fast", 4)):
        rows = [f"{10 + step * k},10,20,20" for k in range(12)]
        write(tmp_path / "set" / name, rows)
    return tmp_path / "set"


def test_the_command_reports_sequences_their_mean_and_subsets(folder):
    words = ("eval", folder, "--protocols", "ope,r10", "--subset", "tune=slow", "--format", "csv")
    code, out, _ = call(*words)
    lines = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [line["sequences"] for line in lines[::3]] == [
        "fast",
        "slow",
        "mean of 2",
        "tune, mean of 1",
    ]
    assert [line["protocol"] for line in lines[:3]] == ["ope", "r10", "all"]
    fast, slow, both, tune = (float(line["iou"]) for line in lines[::3])
    assert fast < slow == tune
    assert both == pytest.approx((fast + slow) / 2, abs=1e-4)


@pytest.mark.usefixtures("needs_onnx")
def test_a_tracker_bundle_is_measured_beside_the_box_that_stays(tmp_path):
    bundle = tmp_path / "bright"
    pytest.importorskip("onnx", reason="needs onnx")
    from tests import tracker_models

    tracker_models.write(bundle)
    write(tmp_path / "set" / "light", [f"{10 + 4 * k},20,16,16" for k in range(12)])
    for number, path in enumerate(sorted((tmp_path / "set" / "light").glob("*.png"))):
        image = np.zeros((60, 90, 3), np.uint8)
        image[20:36, 10 + 4 * number : 26 + 4 * number] = 200
        cv2.imwrite(str(path), image)
    shutil.copytree(tmp_path / "set" / "light", tmp_path / "set" / "lit")
    words = ("--model", "stays", "--model", str(bundle), "--protocols", "r10", "--format", "csv")
    code, out, _ = call("eval", tmp_path / "set", *words)
    _, _, stays, _, _, tracked = csv.DictReader(io.StringIO(out))
    assert (code, stays["model"], tracked["model"]) == (0, "stays", str(bundle))
    assert float(stays["iou"]) < 0.4 < 0.7 < float(tracked["iou"])
    assert float(tracked["f100"]) < float(stays["f100"])


def test_the_command_prints_the_same_bytes_with_one_process_or_two(folder):
    words = ("eval", folder, "--seeds", "2")
    code, out, _ = call(*words)
    assert code == 0
    assert out == call(*words, "--jobs", "2")[1]
    assert out.split()[:4] == ["model", "sequences", "protocol", "iou"]


def test_the_command_writes_json_and_markdown(folder, tmp_path):
    words = ("eval", folder, "--only", "slow", "--protocols", "r10")
    out = tmp_path / "out.json"
    assert call(*words, "--format", "json", "--out", str(out))[:2] == (0, "")
    first, mean = json.loads(out.read_text())
    assert (first["model"], first["sequences"], mean["sequences"]) == ("stays", "slow", "mean of 1")
    assert first["recovered"] is None
    assert first["recovered_of"] == 0
    assert {*METRICS} < {*first}
    heads, rule, row, _ = call(*words, "--format", "markdown")[1].splitlines()
    assert heads.startswith("| model | sequences | protocol | iou |")
    assert rule.startswith("| --- | --- | --- | ---: |")
    assert row.startswith("| stays | slow | r10 | 0.8")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--protocols", "r11"), 2, "protocol 'r11': is unknown"),
        (("--only", "none"), 2, "has no sequence 'none'"),
        (("--subset", "a=none"), 2, "--subset a: 'none' is not measured"),
        (("--model", "stays", "--model", "stays"), 2, "names one twice"),
        (("--model", "no-such-model"), 65, "no-such-model"),
        (("--out", "none/out.csv"), 73, "does not exist"),
    ],
)
def test_the_command_refuses_what_it_cannot_do_in_one_line(folder, words, code, said):
    found, out, line = refusal("eval", folder, *words)
    assert (found, out) == (code, "")
    assert said in line


def test_the_command_refuses_a_folder_without_sequences(tmp_path):
    code, out, line = refusal("eval", tmp_path)
    assert (code, out) == (65, "")
    assert line.endswith("holds no sequences; put NAME/0001.jpg ... and NAME/groundtruth.txt there")
