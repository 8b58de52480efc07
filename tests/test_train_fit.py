"""Fitting: the net compares, a run goes on to the step, several processes fit one net."""

import csv
import os
import subprocess
import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[train]")

from edge.errors import DataError  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.train_case import write_stills  # noqa: E402
from train import fit  # noqa: E402
from train.config import FittingSettings  # noqa: E402
from train.crowd import Crowd  # noqa: E402
from train.fitting import LOG, STATE, WEIGHTS  # noqa: E402
from train.looking import Looking  # noqa: E402
from train.losses import Truth, corners, giou, iou, judged, score_map  # noqa: E402
from train.model import Encoder, Matcher  # noqa: E402

CONFIG = """
scenes = 3
searches = 2
[data]
stills = "{stills}"
[scene]
crop_size = 48
frame_size = 96
largest = 40
[fitting]
steps = {steps}
validate_every = 50
checkpoint_s = 1e-6
"""


@pytest.fixture
def stills(tmp_path):
    return write_stills(tmp_path / "stills")


@pytest.fixture
def config(tmp_path, stills):
    def write(steps):
        path = tmp_path / f"{steps}.toml"
        path.write_text(CONFIG.format(stills=stills, steps=steps))
        return path

    return write


def run(config, out, *more):
    return fit.main(["--config", str(config), "--out", str(out), *more])


def rows(out):
    with (out / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_template_is_the_middle_of_the_crop_alone():
    encoder = Encoder().eval()
    image = torch.randint(0, 255, (1, 96, 96, 3), dtype=torch.uint8)
    features, template = encoder(image)
    assert features.shape == (1, 12, 12, 64)
    own = features.permute(0, 3, 1, 2)[:, :, 3:9, 3:9]
    assert torch.allclose(template, encoder.code(own).flatten(2).transpose(1, 2))


def test_before_any_fitting_the_matched_filter_points_at_a_shifted_copy():
    matcher = Matcher().eval()
    cells = torch.randn(1, 12, 12, 64, generator=torch.Generator().manual_seed(0))
    template = matcher.code(cells.permute(0, 3, 1, 2)[:, :, 1:7, 4:10]).flatten(2).transpose(1, 2)
    code = matcher.code(cells.permute(0, 3, 1, 2)).flatten(2)
    maps = torch.matmul(template, code).unflatten(2, (12, 12))
    found = matcher.filter(torch.nn.functional.pad(maps, (3, 2, 3, 2)))[0, 0]
    assert divmod(int(found.argmax()), 12) == (4, 7)  # 3 cells below and right of the corner


def test_a_look_is_of_its_own_row_alone():
    encoder, matcher = Encoder().eval(), Matcher().eval()
    images = torch.randint(0, 255, (3, 96, 96, 3), dtype=torch.uint8)
    features, templates = encoder(images)
    together = matcher(features, templates)
    alone = matcher(features[1:2], templates[1:2])
    assert torch.allclose(together.shift[1], alone.shift[0], atol=1e-5)
    assert torch.allclose(together.presence[1], alone.presence[0], atol=1e-4)


def test_overlap_is_what_it_is_by_hand():
    one, other = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]])
    assert iou(one, other).item() == pytest.approx(1 / 3)
    assert giou(one, other).item() == pytest.approx(1 / 3)
    apart = torch.tensor([[4.0, 0, 6, 2]])
    assert giou(one, apart).item() == pytest.approx(-1 / 3)


def test_the_score_map_sums_to_one_and_peaks_at_the_centre():
    wanted = score_map(torch.tensor([[0.125, -0.29167]]), 12)  # in cells: 7.5 and 2.5
    assert wanted.sum().item() == pytest.approx(1.0)
    y, x = divmod(int(wanted.argmax()), 12)
    assert (x, y) == (7, 2)


def truth(**changes):
    box = Truth(
        torch.tensor([[0.1, -0.1]]),
        torch.tensor([[0.2, 0.0]]),
        torch.tensor([[0.5, 0.4]]),
        torch.ones(1),
    )
    return replace(box, **changes)


def test_a_perfect_look_costs_no_box_and_a_hidden_target_costs_presence_alone():
    encoder, matcher = Encoder().eval(), Matcher().eval()
    sight = matcher(*encoder(torch.zeros(1, 96, 96, 3, dtype=torch.uint8)))
    perfect = replace(sight, shift=truth().shift, growth=truth().growth)
    assert judged(perfect, truth())["box"].item() == pytest.approx(0, abs=1e-6)
    hidden = judged(sight, truth(visible=torch.zeros(1)))
    assert [hidden[name].item() for name in ("box", "map", "cells")] == [0, 0, 0]
    assert hidden["presence"].item() > 0


def test_corners_are_around_the_middle_of_the_crop():
    box = corners(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[0.5, 0.25]]))
    assert box[0].tolist() == pytest.approx([-0.25, -0.125, 0.25, 0.125])


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    config, tmp_path, monkeypatch
):
    assert run(config(6), tmp_path / "whole") == 0
    calls, loss = [], Looking.loss

    def interrupted(self, generator):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(self, generator)

    monkeypatch.setattr(Looking, "loss", interrupted)
    assert run(config(6), tmp_path / "parts") == 130
    assert torch.load(tmp_path / "parts" / STATE)["step"] == 3
    assert run(config(6), tmp_path / "parts") == 0
    whole, parts = (torch.load(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_log_has_every_term_and_what_held_out_pictures_say(config, tmp_path):
    assert run(config(100), tmp_path / "run") == 0
    first, last = rows(tmp_path / "run")
    assert [first["step"], last["step"]] == ["50", "100"]
    assert float(last["map"]) < float(first["map"])  # even noise teaches where a target may be
    assert 0 <= float(last["held-out iou"]) <= 1


def test_time_that_is_up_stops_a_run_that_can_go_on(config, tmp_path):
    assert run(config(100_000), tmp_path / "run", "--minutes", "0.02") == 0
    done = torch.load(tmp_path / "run" / STATE)["step"]
    assert 0 <= done < 100_000


def test_two_processes_under_torchrun_fit_one_net(config, tmp_path):
    out = tmp_path / "run"
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "train.fit", "--config", str(config(4)), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *words]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    state = torch.load(out / STATE)
    assert state["step"] == 4
    one, other = state["generators"]
    assert not torch.equal(one, other)  # each renders scenes of its own
    assert run(config(4), tmp_path / "alone") == 0
    alone = torch.load(tmp_path / "alone" / STATE)["net"]
    assert any(not torch.equal(state["net"][name], alone[name]) for name in alone)


def test_gradients_are_averaged_over_processes(tmp_path):
    script = tmp_path / "average.py"
    script.write_text(
        "import torch\n"
        "from train.crowd import Crowd\n"
        "with Crowd() as crowd:\n"
        "    value = torch.full((3,), float(crowd.rank))\n"
        "    crowd.average([value])\n"
        f"open(r'{tmp_path}/' + str(crowd.rank), 'w').write(str(value.tolist()))\n"
    )
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, *words, str(script)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["[0.5, 0.5, 0.5]"] * 2


def test_one_process_averages_nothing():
    value = torch.tensor([1.0, 2.0])
    Crowd().average([value])
    assert value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_checkpoint_that_is_none_is_refused_in_one_line(config, tmp_path, capsys, content):
    out = tmp_path / "run"
    out.mkdir()
    if content is None:
        torch.save({"step": 3}, out / STATE)
    else:
        (out / STATE).write_bytes(content)
    assert run(config(4), out) == DataError.exit_code
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert str(out / STATE) in line
    assert "another folder" in line


def test_the_rate_rises_stays_and_falls_to_nothing():
    settings = FittingSettings(steps=1000, warm_up=99, fall=0.4)
    shares = [settings.share(step) for step in (0, 99, 500, 800, 999)]
    assert shares == pytest.approx([0.01, 1.0, 1.0, 0.5, 0.0], abs=1e-3)
