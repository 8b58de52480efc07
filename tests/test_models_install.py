"""Installing models as a user does: what is switched to has been proven on this device."""

import json
import os
import re
import shutil

import pytest

from edge.backends import available
from tests.conftest import MODELS, call, refusal

NAME = "lstm-step"


@pytest.fixture
def made(tmp_path):
    """Makes a bundle, changed as told."""

    def make(version, **changes):
        folder = shutil.copytree(MODELS / NAME, tmp_path / f"made-{version}")
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text()) | {"version": version} | changes
        if changes.get("golden", "") is None:
            del manifest["sha256"]["golden.npz"]
        path.write_text(json.dumps(manifest))
        return folder

    return make


@pytest.fixture
def models(tmp_path):
    """Runs `edgetrack models` with a model folder of its own."""
    return lambda *words, run=call, **options: run(
        "models", *words, env={"EDGETRACK_MODELS": str(tmp_path / "place")}, **options
    )


@pytest.fixture
def current(tmp_path):
    """Tells which version is current; empty where none is."""
    link = tmp_path / "place" / NAME / "current"
    return lambda: os.readlink(link)[0] if link.is_symlink() else ""


def golden_differs():
    manifest = json.loads((MODELS / NAME / "manifest.json").read_text())
    manifest["state"]["tensors"][0]["initial"] = 0.5
    return {"state": manifest["state"]}


def test_install_proves_the_bundle_in_every_interpreter_and_the_name_works(models, made):
    code, out, err = models("install", made("1"))
    assert (code, err) == (0, "")
    assert out.count("differs from the recording by") == len(available())
    assert out.endswith(": installed, current\n")
    assert json.loads(models("show", NAME)[1])["version"] == "1"
    assert models("verify", NAME)[0] == 0


def test_installing_twice_is_fine_and_says_so(models, made):
    first = made("1")
    models("install", first)
    code, out, _ = models("install", first)
    assert code == 0
    assert out.endswith(": current already, unchanged\n")


def test_list_shows_versions_and_which_is_current(models, made):
    models("install", made("1"))
    models("install", made("2"))
    lines = [line.split("  ") for line in models("list")[1].splitlines() if NAME in line]
    assert [(line[0], line[2], line[-1]) for line in lines] == [
        (NAME, "1", "previous"),
        (NAME, "2", "current"),
    ]


def test_rollback_and_activate_go_back_and_forth(models, made, current):
    models("install", made("1"))
    models("install", made("2"))
    code, out, _ = models("rollback", NAME)
    assert (code, current()) == (0, "1")
    assert "/1-" in out
    code, out, _ = models("activate", NAME, "2")
    assert (code, current()) == (0, "2")
    assert out.count("differs from the recording by") == len(available())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (golden_differs(), "differs from the recording by .* is allowed"),
        ({"sha256": {}}, "its sha256 is .* the manifest says nothing"),
        ({"outputs": {"z": {"shape": [1, 2]}}}, "the network has no output 'z'"),
        ({"format": 2}, "format is 2, this edgetrack reads 1"),
    ],
)
def test_a_bundle_that_is_not_sound_is_refused_and_nothing_changes(
    models, made, current, change, message
):
    models("install", made("1"))
    code, _, line = models("install", made("2", **change), run=refusal)
    assert code == 65
    assert re.search(message, line)
    assert current() == "1"
    assert models("activate", NAME, "2", run=refusal)[0] == 65


def test_without_an_interpreter_nothing_is_installed(models, made, tmp_path):
    without = ("ai_edge_litert", "tflite_runtime", "onnxruntime")
    code, out, line = models("install", made("1"), run=refusal, without=without)
    assert (code, out) == (69, "")
    assert "no interpreter for it is installed; pip install" in line
    assert not (tmp_path / "place").exists()


def test_a_bundle_without_a_recording_is_installed_with_a_warning(models, made, current):
    code, out, err = models("install", made("1", golden=None))
    assert (code, current()) == (0, "1")
    assert "differs" not in out
    assert "warning: " in err
    assert "has no golden recording" in err


def test_a_name_that_is_a_plain_folder_is_refused_with_what_to_do(models, made, tmp_path):
    shutil.copytree(MODELS / NAME, tmp_path / "place" / NAME)
    for words in (("install", made("2")), ("activate", NAME, "2"), ("rollback", NAME)):
        code, _, line = models(*words, run=refusal)
        assert code == 65
        assert "is a plain bundle" in line
        assert "move it elsewhere and `edgetrack models install` it" in line


def test_another_place_is_used_where_it_is_named(models, made, tmp_path):
    other = tmp_path / "other"
    models("install", made("1"), "--place", other)
    models("install", made("2"), "--place", other)
    assert models("rollback", NAME, "--place", other)[0] == 0
    assert json.loads(models("show", other / NAME)[1])["version"] == "1"
    code, _, line = models("rollback", NAME, run=refusal)
    assert code == 65
    assert "no version of it is installed; see `edgetrack models list`" in line


def test_an_installed_version_that_rotted_is_not_activated(models, made, current, tmp_path):
    models("install", made("1"))
    models("install", made("2"))
    (next((tmp_path / "place" / NAME).glob("1-*")) / "lstm-step.onnx").write_bytes(b"rot")
    code, _, line = models("activate", NAME, "1", run=refusal)
    assert code == 65
    assert "its sha256 is" in line
    assert current() == "2"


@pytest.mark.parametrize("name", ["..", "", "a/b"])
def test_a_name_that_no_model_can_have_is_refused_as_usage(models, name):
    code, _, err = models("rollback", name)
    assert code == 2
    assert "names are of a-z" in err
