"""What was fitted becomes a bundle that the runtime follows with."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[train]")
pytest.importorskip("litert_torch", reason="needs edgetrack[convert-torch]")

from edge import bundle as bundles  # noqa: E402
from edge.errors import DataError, UsageError  # noqa: E402
from edge.recurrent import open_follower  # noqa: E402
from tests.train_case import write_stills  # noqa: E402
from train import export  # noqa: E402
from train.config import Settings, load_settings  # noqa: E402
from train.following import Tracker  # noqa: E402
from train.looking import Appearance  # noqa: E402

CONFIG = """
scenes = 2
length = 8
[data]
stills = "{stills}"
"""


@pytest.fixture
def fitted(tmp_path):
    """Weights of both stages, never fitted, and a configuration of noise."""
    torch.manual_seed(0)
    looking, following = Appearance(), Tracker(Settings())
    torch.save(looking.state_dict(), tmp_path / "looking.pt")
    torch.save(following.state_dict(), tmp_path / "following.pt")
    config = tmp_path / "tracker.toml"
    config.write_text(CONFIG.format(stills=write_stills(tmp_path / "stills")))
    return tmp_path


def run(folder, *words):
    return export.main(["--config", str(folder / "tracker.toml"), *map(str, words)])


def test_weights_half_way_are_the_mean_of_both():
    one, other = Appearance().matcher, Appearance().matcher
    wanted = (one.read.weight + other.read.weight) / 2
    export.mix(one, other, 0.5)
    assert torch.allclose(one.read.weight, wanted)
    export.mix(one, other, 0.0)
    assert torch.equal(one.read.weight, other.read.weight)


def test_sample_crops_are_what_a_step_is_given(fitted):
    crops = export.sample_crops(load_settings(fitted / "tracker.toml"))
    assert crops["image"].shape == crops["target"].shape == (2, 7, 96, 96, 3)
    assert crops["motion"].shape == (2, 7, 6)
    assert np.isfinite(crops["motion"]).all()
    assert (crops["motion"][..., 0] > 0).all()  # seconds


def test_a_tracker_is_exported_and_follows_with_a_memory(fitted):
    out = fitted / "track"
    weights = ("--following", fitted / "following.pt", "--looking", fitted / "looking.pt")
    assert run(fitted, *weights, "--mixed", "0.5", "--steps", "20", "--out", out) == 0
    manifest = bundles.load(out).manifest
    assert manifest.kind == "tracker"
    assert [state.name for state in manifest.state.tensors] == ["hidden", "cell"]
    assert (manifest.input.context, manifest.input.square) == (2.0, 0.4)
    follower = open_follower(out)
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    follower.start(image, (40.0, 30.0, 80.0, 70.0), 0.0)
    found = follower.step(image, 1 / 30)
    assert 0 <= found.presence <= 1
    assert np.isfinite(found.box).all()


@pytest.mark.parametrize("memory", ["empty", "none"])
def test_the_baseline_and_the_controls_have_no_state(fitted, memory):
    config = fitted / "tracker.toml"
    config.write_text(f'memory = "{memory}"\n{config.read_text()}')
    torch.save(Tracker(load_settings(config)).state_dict(), fitted / "control.pt")
    for weights in (("--looking", fitted / "looking.pt"), ("--following", fitted / "control.pt")):
        out = fitted / weights[0][2:]
        assert run(fitted, *weights, "--steps", "20", "--to", "tflite", "--out", out) == 0
        assert bundles.load(out).manifest.state is None


@pytest.mark.parametrize("words", [(), ("--looking", "x.pt", "--mixed", "2")])
def test_weights_that_are_not_named_are_one_line(fitted, capsys, words):
    assert run(fitted, *words, "--out", fitted / "b") == UsageError.exit_code
    assert "name weights" in capsys.readouterr().err


def test_weights_of_another_net_are_one_line(fitted, capsys):
    words = ("--following", fitted / "looking.pt", "--out", fitted / "b")
    assert run(fitted, *words) == DataError.exit_code
    assert "another net" in capsys.readouterr().err
