import json
import shutil

import msgspec
import pytest

from edge import bundle
from edge.errors import BundleError
from tests.conftest import MODELS


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(MODELS / "lstm-step", tmp_path / "model")


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sound_bundle_loads_with_everything_its_manifest_says(copy):
    loaded = bundle.load(copy)
    assert loaded.manifest.name == "lstm-step"
    assert loaded.network("step")["onnx"] == copy / "lstm-step.onnx"
    assert [s.name for s in loaded.manifest.state.tensors] == ["h", "c"]


def test_a_missing_file_is_named(copy):
    (copy / "lstm-step.onnx").unlink()
    with pytest.raises(BundleError, match=r"lstm-step\.onnx: No such file"):
        bundle.load(copy)


def test_a_changed_file_is_refused_by_its_hash(copy):
    with (copy / "lstm-step.tflite").open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=r"lstm-step\.tflite: its sha256 is .* manifest says"):
        bundle.load(copy)


def test_a_future_format_is_refused_with_what_this_version_reads(copy):
    edit(copy, format=3)
    with pytest.raises(BundleError, match="format is 3, this edgetrack reads 1"):
        bundle.load(copy)


def test_an_unknown_decode_family_is_refused(copy):
    edit(copy, decode={"family": "crystal-ball"})
    with pytest.raises(BundleError, match=r"crystal-ball.*decode"):
        bundle.load(copy)


def test_a_mistyped_key_is_refused(copy):
    edit(copy, lisence="MIT")
    with pytest.raises(BundleError, match="lisence"):
        bundle.load(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', "\xff"])
def test_a_manifest_that_is_none_is_refused(copy, text):
    (copy / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        bundle.load(copy)


def test_a_file_outside_the_folder_is_refused(copy):
    edit(copy, networks={"step": {"onnx": "../secret.onnx"}})
    with pytest.raises(BundleError, match="outside its folder"):
        bundle.load(copy)


def test_a_detector_without_labels_is_refused(copy):
    edit(copy, kind="detector", networks={"detector": {"onnx": "lstm-step.onnx"}})
    with pytest.raises(BundleError, match="needs input, decode and labels"):
        bundle.load(copy)


def test_a_tracker_needs_an_encoder_a_crop_and_a_way_to_read_its_box(copy):
    edit(copy, kind="tracker")
    with pytest.raises(BundleError, match="a tracker needs the network encoder with a file"):
        bundle.load(copy)
    edit(copy, networks={"encoder": {"onnx": "lstm-step.onnx"}, "step": {"onnx": "lstm-step.onnx"}})
    with pytest.raises(BundleError, match="needs an input that is a crop and decode of family"):
        bundle.load(copy)


def test_a_crop_is_of_the_boxs_own_shape_unless_the_manifest_says_how_square(copy):
    plain = {"name": "image", "size": [96, 96], "fit": "crop", "context": 2.0}
    edit(copy, input=plain)
    assert bundle.load(copy).manifest.input.square == 0.0
    edit(copy, input=plain | {"square": 0.4})
    assert bundle.load(copy).manifest.input.square == 0.4
    edit(copy, input=plain | {"square": 1.1})
    with pytest.raises(BundleError, match=r"input\.square"):
        bundle.load(copy)


def test_a_bundle_without_its_network_says_what_it_is(copy):
    with pytest.raises(BundleError, match="has no detector network, only step; it is a sequence"):
        bundle.load(copy).network("detector")


def test_saving_writes_what_loading_reads_and_refuses_an_existing_folder(copy, tmp_path):
    first = bundle.load(copy)
    files = {name: (copy / name).read_bytes() for name in first.manifest.files()}
    second = bundle.save(first.manifest, files, tmp_path / "again")
    assert second.manifest == first.manifest
    with pytest.raises(BundleError, match="already exists"):
        bundle.save(first.manifest, files, tmp_path / "again")


def test_saving_other_files_than_the_manifest_names_leaves_nothing_behind(copy, tmp_path):
    manifest = bundle.load(copy).manifest
    with pytest.raises(BundleError, match="name them alike"):
        bundle.save(manifest, {"x": b""}, tmp_path / "new")
    unsound = msgspec.structs.replace(manifest, kind="detector")
    files = {name: (copy / name).read_bytes() for name in manifest.files()}
    with pytest.raises(BundleError):
        bundle.save(unsound, files, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_users_bundle_comes_before_a_built_in_one_of_the_same_name(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETRACK_MODELS", str(tmp_path))
    assert bundle.find("face").parent.name == "models"
    shutil.copytree(bundle.find("face"), tmp_path / "face")
    assert bundle.find("face") == tmp_path / "face"


def test_an_unknown_name_lists_what_is_installed():
    with pytest.raises(BundleError, match=r"no such model; installed are .*face, face-near"):
        bundle.find("fase")


def test_a_folder_that_is_no_bundle_is_told_so(tmp_path):
    with pytest.raises(BundleError, match=r"is no bundle, it has no manifest\.json"):
        bundle.find(str(tmp_path))


def test_a_user_without_a_home_has_the_systems_models_and_the_built_in_ones(monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("EDGETRACK_MODELS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert bundle.user_folder() == bundle.SYSTEM
    assert bundle.find("face").parent.parent.name == "edge"
