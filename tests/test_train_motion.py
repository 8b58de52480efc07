"""The motion LSTM: its data are true, its memory counts, and a short fit beats staying."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[train]")

from edge.errors import DataError  # noqa: E402
from train import fit_motion  # noqa: E402
from train.dice import Dice  # noqa: E402
from train.fit_motion import centre_errors, foreseen, judged, split  # noqa: E402
from train.motion import HORIZONS_S, UNITS, MotionLSTM  # noqa: E402
from train.motion_data import (  # noqa: E402
    Noise,
    Track,
    Tracks,
    kitti_tracks,
    mot_tracks,
    otb_tracks,
    sizes,
)
from train.rivals import Kalman, Velocity, tuned  # noqa: E402

EXACT = Noise(least=1e-9, most=1e-9, outliers=0.0)
CONFIG = """
scenes = 32
length = 16
[data]
trajectories = "{folder}"
[fitting]
steps = {steps}
rate = 5e-3
warm_up = 10
validate_every = 50
"""


def dice(seed=0):
    return Dice(torch.Generator().manual_seed(seed))


def steady(speed, fps=30.0, frames=600, name="steady"):
    """A target of 40 x 90 pixels, 60 in size, that moves right by so many pixels a second."""
    boxes = np.tile([0.0, 50.0, np.log(40.0), np.log(90.0)], (frames, 1))
    boxes[:, 0] = speed * np.arange(frames) / fps
    return Track(name, fps, boxes)


@pytest.fixture
def folder(tmp_path):
    """Eight trajectories at a steady pace, each another one."""
    place = tmp_path / "boxes"
    place.mkdir()
    for k in range(8):
        x = 500 + (k - 4) * 1.5 * np.arange(400)
        rows = [f"{left:.2f},100,40,90" for left in x]
        (place / f"{k}.txt").write_text("\n".join(rows))
    return place


def test_a_sequence_at_once_is_the_same_as_step_by_step():
    torch.manual_seed(0)
    net, features = MotionLSTM(), torch.randn(3, 9, 6)
    hidden, cell, found = torch.zeros(3, UNITS), torch.zeros(3, UNITS), []
    for step in features.unbind(1):
        forecast, hidden, cell = net(step, hidden, cell)
        found.append(forecast)
    torch.testing.assert_close(torch.stack(found, 1), net.unrolled(features), rtol=1e-4, atol=1e-5)
    assert found[0].shape == (3, 5, 6)


def test_more_features_can_be_told_to_it():
    net = MotionLSTM(features=9)
    forecast, hidden, cell = net(torch.randn(2, 9), torch.zeros(2, UNITS), torch.zeros(2, UNITS))
    assert (forecast.shape, hidden.shape, cell.shape) == ((2, 5, 6), (2, UNITS), (2, UNITS))


def test_the_control_forgets_and_the_net_does_not():
    torch.manual_seed(0)
    net, tracks = MotionLSTM(), Tracks([steady(60.0)])
    one = tracks.stretches(dice(1), torch.zeros(1, dtype=torch.long), 12)
    other = tracks.stretches(dice(2), torch.zeros(1, dtype=torch.long), 12)
    other.dt[:, -1], other.scores[:, -1] = one.dt[:, -1], one.scores[:, -1]
    other.measured[:, -2:] = one.measured[:, -2:]
    for control in (True, False):
        last = [foreseen(net, seen, control)[:, -1] for seen in (one, other)]
        assert torch.allclose(*last, atol=1e-6) == control


def test_the_truth_is_where_the_target_was():
    seen = Tracks([steady(60.0)]).stretches(
        dice(), torch.zeros(4, dtype=torch.long), 8, noise=EXACT
    )
    wanted = seen.wanted()
    known = seen.known.bool()
    moved = torch.tensor(HORIZONS_S).expand(4, 8, 5)  # sizes: one a second
    torch.testing.assert_close(wanted[..., 0][known], moved[known], rtol=1e-3, atol=1e-4)
    assert wanted[..., 1:][known].abs().max() < 1e-4
    torch.testing.assert_close(seen.features()[..., 1], seen.dt, rtol=1e-3, atol=1e-4)


def test_beyond_its_end_nothing_is_known_of_a_track():
    track = steady(60.0, frames=60)
    seen = Tracks([track]).stretches(dice(), torch.zeros(64, dtype=torch.long), 16)
    elapsed = seen.dt.cumsum(1)
    assert seen.known[elapsed > 2.0].sum() == 0
    assert 0 < seen.known[..., 4].sum() < seen.known[..., 0].sum() < seen.known[..., 0].numel()


def test_errors_are_as_large_as_they_are_said_to_be():
    which = torch.zeros(2000, dtype=torch.long)
    noise = Noise(least=0.01, most=0.01, outliers=0.0)
    seen = Tracks([steady(0.0)]).stretches(dice(), which, 8, noise=noise)
    off = (seen.measured - seen.truth[:, :, 0])[..., :2] / sizes(seen.truth[:, :, 0])
    doubt = 1.3 - 0.6 * seen.scores.mean().item()
    assert off.std().item() == pytest.approx(0.01 * doubt, rel=0.1)


def test_a_turned_stretch_tells_the_same_story():
    seen = Tracks([steady(60.0)]).draw(dice(), 64, 8, EXACT)
    way = seen.truth[:, :, 1, :2] - seen.truth[:, :, 0, :2]  # (B, T, 2)
    sure = seen.known[:, :, 1] == 1
    assert ((way.abs() > 1e-3).sum(-1)[sure] == 1).all()  # along one axis only
    assert {tuple(row) for row in way[sure].sign().tolist()} == {(1, 0), (-1, 0), (0, 1), (0, -1)}
    assert torch.isfinite(foreseen(MotionLSTM(), seen)).all()


def test_detections_come_at_many_rates_and_none_faster_than_frames():
    which = torch.zeros(500, dtype=torch.long)
    dt = Tracks([steady(0.0, fps=10.0)]).stretches(dice(), which, 16).dt[:, 1:]
    assert dt.min() > 0.099
    assert dt.max() <= 2.0
    assert len(dt.round(decimals=3).unique()) > 10


def test_files_of_three_kinds_become_tracks(tmp_path):
    (tmp_path / "otb.txt").write_text("\n".join(f"{k},10,20,40" for k in range(50)))
    (tmp_path / "mot").write_text("\n".join(f"{k},7,{k},10,20,40,1" for k in range(1, 51)))
    car = "\n".join(f"{k} 3 Car 0 0 0 {k} 10 {k + 20} 50 0 0" for k in range(50))
    (tmp_path / "0001.txt").write_text(car + "\n0 -1 DontCare 0 0 0 1 1 2 2 0 0")
    found = [
        mot_tracks(tmp_path / "mot", "walk", 25.0),
        kitti_tracks(tmp_path / "0001.txt"),
    ]
    (tmp_path / "0001.txt").unlink()
    found.append(otb_tracks(tmp_path, 30.0))
    assert [[track.name for track in tracks] for tracks in found] == [
        ["walk/7"],
        ["KITTI-0001/3"],
        ["otb"],
    ]
    for (track,) in found:
        assert track.boxes.shape == (50, 4)
        assert track.boxes[-1, 0] - track.boxes[0, 0] == pytest.approx(49.0)
        assert track.boxes[0, 1:] == pytest.approx((30.0, np.log(20), np.log(40)))


def test_a_short_gap_is_bridged_and_a_long_one_cuts(tmp_path):
    frames = [*range(40), *range(45, 80), *range(140, 200)]
    (tmp_path / "a").write_text("\n".join(f"{k},1,{k},10,20,40,1" for k in frames))
    first, second = mot_tracks(tmp_path / "a", "a", 25.0)
    assert (len(first.boxes), len(second.boxes)) == (80, 60)
    assert first.boxes[42, 0] == pytest.approx(52.0)


@pytest.mark.parametrize("text", ["1,2,three,4", "1,2,3"])
def test_what_are_no_boxes_is_refused_by_name(tmp_path, text):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(DataError, match=r"bad\.txt: .*; give 4 numbers a line"):
        otb_tracks(tmp_path, 30.0)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no \*\.txt; name a folder of trajectories"):
        otb_tracks(tmp_path, 30.0)


def test_every_fourth_trajectory_is_held_out():
    tracks = [steady(1.0, name=name) for name in "hgfedcba"]
    learnt, held = split(tracks)
    assert [track.name for track in held] == ["e", "a"]
    assert len(learnt) == 6


def test_a_kalman_filter_forecasts_a_steady_pace():
    which = torch.zeros(8, dtype=torch.long)
    seen = Tracks([steady(60.0)]).stretches(dice(), which, 24, noise=EXACT)
    with torch.no_grad():
        off = centre_errors(Kalman(fading=False)(seen), seen) * seen.known  # (B, T, 5)
    assert off[:, 12:].max() < 0.05


def test_rivals_are_fitted_until_they_are_better():
    sources = [(Tracks([steady(60.0), steady(-90.0)]), 1.0)]
    which = torch.arange(64) % 2
    seen = sources[0][0].stretches(dice(5), which, 24)

    def error(rival):
        with torch.no_grad():
            return float((centre_errors(rival(seen), seen) * seen.known)[:, 4:, 3].mean())

    for rival in (Velocity(), Kalman(), Kalman(nervous=True)):
        before = error(rival)
        assert error(tuned(rival, sources, batches=30)) < before


def test_a_scale_that_says_what_the_error_is_costs_least():
    seen = Tracks([steady(60.0)]).stretches(dice(), torch.zeros(64, dtype=torch.long), 8)
    forecast = torch.zeros(64, 8, 5, 6)
    off = (seen.wanted()[..., :4].abs() * seen.known[..., None]).sum((0, 1))  # (5, 4)
    right = (off / seen.known.sum((0, 1))[:, None]).unflatten(1, (2, 2)).mean(2).log()  # (5, 2)
    costs = []
    for shift in (-0.7, 0.0, 0.7):
        forecast[..., 4:] = right + shift
        costs.append(float(judged(forecast, seen)["likelihood"]))
    assert min(costs) == costs[1]


def test_a_short_fit_beats_staying_and_goes_on_where_it_stopped(tmp_path, folder):
    config = tmp_path / "motion.toml"
    words = ["--config", str(config), "--out", str(tmp_path / "run"), "--seed", "3"]
    for steps in (50, 100):
        config.write_text(CONFIG.format(folder=folder, steps=steps))
        assert fit_motion.main(words) == 0
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["50", "100"]
    _, held = split(otb_tracks(folder, 30.0))
    seen = Tracks(held).stretches(dice(), torch.arange(64) % len(held), 16)
    stays = (centre_errors(torch.zeros(64, 16, 5, 2), seen) * seen.known).sum((0, 1))
    stays = stays / seen.known.sum((0, 1))
    assert float(rows[-1]["held-out 333 ms"]) < 0.7 * stays[3].item()


def test_without_trajectories_a_fit_is_refused(tmp_path, capsys):
    (tmp_path / "motion.toml").write_text("scenes = 8")
    words = ["--config", str(tmp_path / "motion.toml"), "--out", str(tmp_path / "run")]
    assert fit_motion.main(words) == 2
    assert "data.trajectories is empty; name a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_converted_model_steps_as_the_net_does(tmp_path):
    pytest.importorskip("litert_torch", reason="needs edgetrack[convert-torch]")
    from edge.step import load_step
    from train.export_motion import write

    torch.manual_seed(4)
    net = MotionLSTM()
    write(net, Tracks([steady(60.0)]), tmp_path / "motion", "1")
    model = load_step(tmp_path / "motion")
    state = model.initial_state(3)
    features = torch.randn(3, 20, 6)
    with torch.no_grad():
        wanted = net.unrolled(features).numpy()
    for step in range(20):
        outputs, state = model.step({"motion": features[:, step].numpy()}, state)
        np.testing.assert_allclose(outputs["forecast"], wanted[:, step], atol=1e-4)
