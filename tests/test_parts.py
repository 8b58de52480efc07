"""What a live run is made of, from real words, files and bundles."""

import json
import shutil

import pytest

from edge.cli import _parser
from edge.commands.parts import Opener, wanted
from edge.errors import BundleError, ConfigError, EdgeError, SinkError, SourceError, UsageError
from edge.types import Counts
from edge.vitals import Vitals
from tests.conftest import ROOT

FACE = ROOT / "edge" / "models" / "face"
SOURCE = "synthetic:portrait"


@pytest.fixture
def config(tmp_path):
    """Writes the configuration file: these keys and those of a small run."""

    def write(**keys):
        table = {"source": SOURCE, "models": [str(tmp_path / "face")]} | keys
        table.setdefault("sinks", [f"file:{tmp_path}/out.jsonl"])
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        path = tmp_path / "front.toml"
        path.write_text("\n".join(sorted(lines, key=lambda line: "." in line.partition("=")[0])))
        return path

    shutil.copytree(FACE, tmp_path / "face")
    return write


def said(*words):
    words = ("run", *map(str, words))
    return _parser(words).parse_args(words)


@pytest.fixture
def started(config):
    """An opener and the parts that it opened first; outputs are closed in the end."""
    opener = Opener(said(config()), Vitals("camera", "run", Counts(), 0.0))
    parts = opener.first(wanted(opener.args))
    yield opener, parts
    for output in parts.outputs.values():
        output.close()


def test_the_words_come_before_the_file_each_time(config):
    args = said(config(source="7"), "--source", SOURCE, "--sink", "-", "--detect-every", 3)
    settings = wanted(args)
    assert (settings.source, settings.sinks, settings.detection.every) == (SOURCE, ("-",), 3)
    config(camera="back", source="8")
    assert (wanted(args).camera, wanted(args).source) == ("back", SOURCE)


def test_a_reload_takes_what_changed_and_keeps_open_what_did_not(started, config, tmp_path):
    opener, before = started
    same, other = f"file:{tmp_path}/out.jsonl", f"mot:{tmp_path}/out.txt"
    path = config(sinks=[other, same])
    path.write_text(path.read_text() + "\n[detection]\nevery = 4\n")
    after = opener.again(before)
    assert list(after.outputs) == [other, same]
    assert after.outputs[same] is before.outputs[same]
    assert after.tracker is not before.tracker
    assert (before.tracker.every, after.tracker.every) == (1, 4)
    after.outputs[other].close()


def rotten(folder):
    network = next(folder.glob("*.tflite"))
    network.write_bytes(network.read_bytes()[:-1] + b"!")


def forgetful(folder):
    """The recording is of another model: hashes fit, answers do not."""
    import hashlib

    import numpy as np

    path, manifest = folder / "golden.npz", json.loads((folder / "manifest.json").read_text())
    arrays = {n: v + (1.0 if n.startswith("outputs/") else 0) for n, v in np.load(path).items()}
    np.savez(path, **arrays)
    manifest["sha256"]["golden.npz"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rotten, "its sha256 is"),
        (forgetful, "differs from the recording by"),
        (shutil.rmtree, "is no bundle|no such model"),
    ],
)
def test_a_model_that_is_not_sound_is_refused(started, tmp_path, damage, message):
    opener, before = started
    damage(tmp_path / "face")
    with pytest.raises(BundleError, match=message):
        opener.again(before)


def test_a_file_that_is_none_any_more_is_refused(started, config):
    opener, before = started
    config().write_text("camera = \n")
    with pytest.raises(ConfigError, match=r"front\.toml: is no TOML"):
        opener.again(before)


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"camera": "back"}, ConfigError, "front.toml: camera: was changed, which only a restart"),
        ({"fps": 3}, ConfigError, "fps: unknown key"),
        ({"source": "nothing.mp4"}, SourceError, "nothing.mp4: there is no such file"),
        ({"source": "ftp://x"}, UsageError, "no source of this kind"),
        ({"models": ["nobody"]}, BundleError, "nobody: no such model"),
        ({"models": ["track"]}, UsageError, "a tracker bundle follows what others find"),
        ({"sinks": ["tape:1"]}, UsageError, "no such kind of output"),
        ({"sinks": ["file:/nowhere/x"]}, SinkError, "does not exist"),
        ({"sinks": ["file:/dev/../tmp/x", "file:/tmp/x"]}, UsageError, "goes to the same place"),
    ],
)
def test_what_cannot_be_is_refused_with_its_own_line(started, config, keys, error, message):
    opener, before = started
    config(**keys)
    with pytest.raises(error, match=message):
        opener.again(before)


def test_how_much_files_may_grow_needs_a_restart(started, config):
    opener, before = started
    path = config()
    path.write_text(path.read_text() + "\n[files]\nmax_mb = 1.0\n")
    with pytest.raises(ConfigError, match="files: was changed, which only a restart takes up"):
        opener.again(before)


def test_options_of_an_open_page_need_a_restart_and_no_password_is_said(config):
    address = "mqtt://me:secret@broker/{}?qos={}"
    opener = Opener(said(config()), Vitals("camera", "run", Counts(), 0.0))
    before = wanted(said(config(sinks=[address.format("a", 0)])))
    opener._refuse_fixed(before, wanted(said(config(sinks=[address.format("b", 1)]))))
    with pytest.raises(ConfigError) as refused:
        opener._refuse_fixed(before, wanted(said(config(sinks=[address.format("a", 1)]))))
    assert "options of mqtt://broker/a?qos=1 were changed, which only a restart" in str(
        refused.value
    )
    assert "secret" not in str(refused.value)


def test_a_sink_that_fails_leaves_no_other_open(config, tmp_path):
    sinks = [f"file:{tmp_path}/first.jsonl", "file:/nowhere/x"]
    opener = Opener(said(config(sinks=sinks)), Vitals("camera", "run", Counts(), 0.0))
    with pytest.raises(EdgeError, match="does not exist"):
        opener.first(wanted(opener.args))
