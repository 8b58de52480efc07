import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge import bundle, store
from edge.errors import BundleError, SinkError
from tests.conftest import ENVIRONMENT, MODELS

NAME = "lstm-step"


@pytest.fixture
def place(tmp_path, monkeypatch):
    folder = tmp_path / "place"
    monkeypatch.setenv("EDGETRACK_MODELS", str(folder))
    return folder


@pytest.fixture
def made(tmp_path):
    """Makes a sound bundle of the given version."""

    def make(version, **changes):
        folder = shutil.copytree(MODELS / NAME, tmp_path / f"made-{version.replace('/', '_')}")
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version} | changes))
        return bundle.load(folder)

    return make


def links(place, name=NAME):
    return [os.readlink(place / name / link)[0] for link in ("current", "previous")]


def entries(place, name=NAME):
    return sorted(path.name for path in (place / name).iterdir())


def test_the_current_version_is_found_by_name_and_by_folder(place, made):
    folder, changed = store.install(made("1"), place)
    assert changed
    assert folder.name.startswith("1-")
    assert len(folder.name) == len("1-") + 8
    assert bundle.find(NAME) == bundle.find(str(place / NAME)) == folder
    assert bundle.find(str(place / NAME / "current")) == folder
    assert bundle.installed()[NAME] == folder
    assert bundle.load(folder).manifest.version == "1"


def test_a_second_version_becomes_current_and_the_first_previous(place, made):
    store.install(made("1"), place)
    store.install(made("2"), place)
    assert links(place) == ["2", "1"]
    assert bundle.load(bundle.find(NAME)).manifest.version == "2"


def test_a_path_found_before_a_switch_still_leads_to_the_old_version(place, made):
    store.install(made("1"), place)
    found = bundle.find(NAME)
    store.install(made("2"), place)
    assert bundle.load(found).manifest.version == "1"


def test_what_is_neither_current_nor_previous_is_removed(place, made):
    folders = [store.install(made(version), place)[0].name for version in ("1", "2", "3")]
    assert entries(place) == [*folders[1:], "current", "previous"]


def test_the_same_bundle_twice_changes_nothing(place, made):
    first = made("1")
    store.install(first, place)
    assert store.install(first, place) == (bundle.find(NAME), False)
    assert not (place / NAME / "previous").exists()


def test_a_version_that_is_damaged_on_the_disk_is_written_again(place, made):
    first = made("1")
    folder, _ = store.install(first, place)
    (folder / "golden.npz").write_bytes(b"rot")
    assert store.install(first, place) == (folder, True)
    assert bundle.load(folder).manifest == first.manifest


def test_rollback_exchanges_the_two_and_again_brings_the_new_one_back(place, made):
    store.install(made("1"), place)
    store.install(made("2"), place)
    assert store.rollback(place / NAME) == bundle.find(NAME)
    assert links(place) == ["1", "2"]
    store.rollback(place / NAME)
    assert links(place) == ["2", "1"]


def test_after_a_rollback_an_install_keeps_what_ran(place, made):
    store.install(made("1"), place)
    store.install(made("2"), place)
    store.rollback(place / NAME)
    store.install(made("3"), place)
    assert links(place) == ["3", "1"]


def test_the_only_version_cannot_be_rolled_back(place, made):
    store.install(made("1"), place)
    with pytest.raises(BundleError, match="has no previous version, only 1-"):
        store.rollback(place / NAME)
    assert bundle.load(bundle.find(NAME)).manifest.version == "1"


def test_rolling_back_the_first_version_of_a_built_in_name_uses_the_built_in_one(place, made):
    built_in = bundle.find("face")
    store.install(made("1", name="face"), place)
    assert bundle.find("face").parent == place / "face"
    assert store.rollback(place / "face") is None
    assert bundle.find("face") == built_in
    store.activate(store.choose(place / "face", "1"))
    assert bundle.find("face").parent == place / "face"


def test_a_damaged_previous_version_is_not_returned_to(place, made):
    folder, _ = store.install(made("1"), place)
    store.install(made("2"), place)
    (folder / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"golden\.npz: No such file"):
        store.rollback(place / NAME)
    assert links(place) == ["2", "1"]


def test_a_version_is_meant_by_its_name_or_by_a_beginning_that_fits_one(place, made):
    first, _ = store.install(made("1"), place)
    tenth, _ = store.install(made("10"), place)
    home = place / NAME
    assert store.choose(home, "1") == first
    assert store.choose(home, "10") == store.choose(home, tenth.name[:6]) == tenth
    with pytest.raises(BundleError, match=r"lstm-step 2: no such version, there are 1-\w+, 10-"):
        store.choose(home, "2")
    with pytest.raises(BundleError, match=r"not one version alone, there are 1-\w+, 10-"):
        store.choose(home, "")


def test_a_plain_bundle_of_the_name_is_left_alone(place, made):
    shutil.copytree(MODELS / NAME, place / NAME)
    with pytest.raises(BundleError, match=r"is a plain bundle.* move it elsewhere"):
        store.install(made("2"), place)
    assert bundle.find(NAME) == place / NAME


@pytest.mark.parametrize("version", ["", "../../up", "a/b", ".hidden", "1 2", "x" * 65])
def test_a_version_that_cannot_name_a_folder_is_refused(place, made, version):
    with pytest.raises(BundleError, match="cannot name a folder; use letters"):
        store.install(made(version), place)
    assert not place.exists()


def test_a_link_that_leads_nowhere_is_said_rather_than_another_model_used(place, made):
    folder, _ = store.install(made("1", name="face"), place)
    shutil.rmtree(folder)
    with pytest.raises(BundleError, match=r"manifest\.json: cannot be read, No such file"):
        bundle.load(bundle.find("face"))


def test_a_full_disk_is_one_line_and_leaves_the_old_version(place, made, monkeypatch):
    store.install(made("1"), place)
    before, second, other = entries(place), made("2"), made("3", name="other")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(SinkError, match="cannot be changed, No space left on device; free space"):
        store.install(second, place)
    with pytest.raises(SinkError, match="No space"):
        store.install(other, place)
    assert entries(place) == before
    assert [path.name for path in place.iterdir()] == [NAME]


DIE = """import os, sys
from pathlib import Path
from edge import bundle, store
left, sync = int(sys.argv[1]), store._sync
def sync_or_die(path):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    sync(path)
store._sync = sync_or_die
store.install(bundle.load(Path(sys.argv[2])), Path(sys.argv[3]))"""


def test_whenever_an_install_dies_a_whole_version_runs_and_the_next_install_cleans_up(place, made):
    first, second = made("1"), made("2")
    old, _ = store.install(first, place)
    for steps in range(100):
        words = [sys.executable, "-c", DIE, str(steps), str(second.folder), str(place)]
        code = subprocess.run(words, env=ENVIRONMENT, timeout=60, check=False).returncode
        found = bundle.load(bundle.find(NAME)).manifest.version
        assert found in ("1", "2")
        if code == 0:
            break
        assert code == 9
        new, _ = store.install(second, place)
        assert entries(place) == sorted([old.name, new.name, "current", "previous"])
        shutil.rmtree(place)
        store.install(first, place)
    assert steps >= len(list(second.manifest.files()))
    assert found == "2"


class Disk:
    """Knows what a power cut would lose: contents and entries that nobody had synced."""

    def __init__(self, monkeypatch):
        self.unsynced, self.unsynced_at_switch = set(), []
        self._real = {name: getattr(os, name) for name in ("mkdir", "symlink", "rename", "replace")}
        self._fsync, self._copyfile = os.fsync, shutil.copyfile
        for name in ("mkdir", "symlink", "rename", "replace", "fsync"):
            monkeypatch.setattr(os, name, getattr(self, name))
        monkeypatch.setattr(shutil, "copyfile", self.copyfile)

    def copyfile(self, source, target):
        self._copyfile(source, target)
        self.unsynced |= {("content", Path(target)), ("entry", Path(target))}

    def mkdir(self, path, *mode):
        self._real["mkdir"](path, *mode)
        self.unsynced.add(("entry", Path(path)))

    def symlink(self, target, link, *rest):
        self._real["symlink"](target, link, *rest)
        self.unsynced.add(("entry", Path(link)))

    def rename(self, source, target):
        self._real["rename"](source, target)
        self._move(Path(source), Path(target))

    def replace(self, source, target):
        self._real["replace"](source, target)
        self._move(Path(source), Path(target))
        if Path(target).name == "current":
            self.unsynced_at_switch.append(self.unsynced - {("entry", Path(target))})

    def fsync(self, descriptor):
        self._fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced = {(kind, at) for kind, at in self.unsynced if kind == "entry" and at.parent == path}
        self.unsynced -= synced | {("content", path)}

    def _move(self, source, target):
        moved = {what for what in self.unsynced if what[1].is_relative_to(source)}
        self.unsynced -= moved
        self.unsynced |= {(kind, target / at.relative_to(source)) for kind, at in moved}
        self.unsynced.add(("entry", target))


def test_a_power_cut_at_the_switch_or_after_it_loses_nothing_of_the_new_version(
    place, made, monkeypatch
):
    first, second = made("1"), made("2")
    disk = Disk(monkeypatch)
    for loaded in (first, second):
        store.install(loaded, place)
    store.rollback(place / NAME)
    assert disk.unsynced_at_switch == [set(), set(), set()]
    assert not any(at.is_relative_to(place / NAME) for _, at in disk.unsynced)


def test_a_bundle_that_changes_while_it_is_copied_is_refused(place, made):
    loaded = made("1")
    path = loaded.folder / "lstm-step.onnx"
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(BundleError, match="its sha256 is"):
        store.install(loaded, place)
    assert not list(place.iterdir())
