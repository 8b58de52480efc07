"""The recurrent stage: geometry as the runtime has it, a step that starts as the look, a memory."""

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[train]")

from edge import forecast as runtime  # noqa: E402
from edge.errors import DataError  # noqa: E402
from train.config import SceneSettings, Settings  # noqa: E402
from train.crops import region  # noqa: E402
from train.dice import Dice  # noqa: E402
from train.following import Following, Tracker, surprise  # noqa: E402
from train.geometry import centre, described, guarded, jittered, moved, read  # noqa: E402
from train.looking import Appearance  # noqa: E402
from train.memory import Forgetful, Geometry, Step, Still  # noqa: E402
from train.model import EVIDENCE  # noqa: E402
from train.motion import MOVES, MotionLSTM  # noqa: E402
from train.render import Renderer  # noqa: E402
from train.sets import Stills  # noqa: E402
from train.trajectories import Trajectories, random_walks  # noqa: E402

SCENE = SceneSettings(crop_size=48, frame_size=96, largest=40)
SETTINGS = Settings(stage="following", scenes=3, length=12, pauses=(4, 4), scene=SCENE)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def renderer():
    random = seeded(1)
    tiles = torch.randint(0, 255, (4, 3, 96, 96), generator=random, dtype=torch.uint8)
    things = torch.randint(0, 255, (4, 4, 96, 96), generator=random, dtype=torch.uint8)
    things[:, 3] = 255
    motion = Trajectories(random_walks(np.random.default_rng(0), 8, 60), torch.device("cpu"))
    return Renderer(Stills(tiles, things, torch.ones(4)), motion, SETTINGS)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Tracker(SETTINGS)


def boxes(count=5):
    low = torch.rand(count, 2, generator=seeded(2)) * 50
    return torch.cat([low, low + 5 + 20 * torch.rand(count, 2, generator=seeded(3))], 1)


def looked(step, count=2):
    random = seeded(4)
    features = torch.rand(count, 12, 12, 64, generator=random)
    template = torch.randn(count, 36, 48, generator=random)
    last = boxes(count)
    motion = described(torch.full((count,), 1 / 30), last, region(last, 2.0, 0.4))
    return step.eval(), (features, template, motion)


def test_a_forecast_is_read_as_the_runtime_reads_it():
    forecast = torch.randn(6, 5, 6, generator=seeded()) * 0.3
    times = torch.tensor([0.0, 0.02, 1 / 30, 0.2, 0.9, 4.0])
    wanted, _ = runtime.read(forecast.numpy(), times.numpy())
    assert read(forecast, times).numpy() == pytest.approx(wanted, abs=1e-6)
    there = runtime.moved(boxes(6).numpy().astype(np.float64), wanted)
    assert moved(boxes(6), read(forecast, times)).numpy() == pytest.approx(there, abs=1e-4)


def test_moves_are_the_displacement_of_what_was_seen_from_the_last_box():
    last, seen = boxes(), moved(boxes(), torch.tensor([[0.2, -0.1, 0.3, -0.2]]))
    views = region(moved(last, torch.tensor([[0.1, 0.1, 0.1, 0.0]])), 2.0, 0.4)
    motion = described(torch.full((5,), 0.1), last, views)
    geometry, extent = Geometry(SceneSettings()), views[:, 2:] - views[:, :2]
    reference = geometry.reference(motion) * extent
    growth = ((seen[:, 2:] - seen[:, :2]) / reference).log()
    moves = geometry.moves(motion, (centre(seen) - centre(views)) / extent, growth)
    wanted = torch.tensor([0.1, 0.2, -0.1, 0.3, -0.2]).expand(5, MOVES)
    assert torch.allclose(moves, wanted, atol=1e-4)


def test_the_reference_is_the_box_that_was_cut_around():
    cut = boxes()
    views = region(cut, 2.0, 0.4)
    motion = described(torch.zeros(5), boxes(), views)
    share = (cut[:, 2:] - cut[:, :2]) / (views[:, 2:] - views[:, :2])
    assert torch.allclose(Geometry(SceneSettings()).reference(motion), share, atol=1e-5)


def test_before_it_is_fitted_memory_changes_neither_box_nor_presence():
    step, given = looked(Step(SceneSettings()))
    memory = torch.randn(2, 64), torch.randn(2, 64)
    fresh = step(*given, torch.zeros(2, 64), torch.zeros(2, 64))
    assert all(torch.equal(a, b) for a, b in zip(step(*given, *memory)[:2], fresh[:2], strict=True))
    assert not torch.equal(step(*given, *memory)[2], fresh[2])  # but it does what is foreseen


def test_what_a_look_says_counts_alike_with_and_without_a_memory():
    step, given = looked(Step(SceneSettings()))
    still, _ = looked(Still(SceneSettings()))
    torch.nn.init.constant_(step.matcher.judge[-1].bias, 5.0)  # the target is there
    torch.nn.init.constant_(step.matcher.read.bias, 1.0)  # and grows
    still.matcher = step.matcher
    box = step(*given, torch.zeros(2, 64), torch.zeros(2, 64))[0]
    assert torch.allclose(box, still(*given)[0], atol=1e-6)
    cut = step.geometry.reference(given[2])
    assert ((box[:, 2:] - box[:, :2]) < cut * 1.3).all()  # of a change of size little is believed


def test_the_control_is_the_same_step_with_an_empty_memory():
    step, given = looked(Step(SceneSettings()))
    whole = step(*given, torch.zeros(2, 64), torch.zeros(2, 64))
    alone = Forgetful(step)(*given)
    assert len(alone) == 3
    assert all(torch.allclose(a, b) for a, b in zip(alone, whole[:3], strict=True))


def test_the_baseline_foresees_no_motion_and_is_surer_of_what_it_sees():
    step, given = looked(Still(SceneSettings()))
    _, presence, forecast = step(*given)
    assert torch.equal(forecast[..., :4], torch.zeros(2, 5, 4))
    assert forecast[0, 0, 4].item() == pytest.approx(np.log(0.3) - presence[0, 0].item(), abs=1e-5)


def test_a_step_takes_over_what_looks_and_moves_have_taught(net):
    appearance, motion = Appearance(), MotionLSTM(MOVES + 1)
    net.begin(appearance.state_dict(), motion.state_dict())
    assert torch.equal(net.step.matcher.read.weight, appearance.matcher.read.weight)
    told = torch.randn(3, MOVES + 1, generator=seeded()).abs()
    more = torch.cat([told, torch.randn(3, 8)], 1)
    memory = torch.randn(3, 64), torch.randn(3, 64)
    assert torch.allclose(net.step.motion(more, *memory)[0], motion(told, *memory)[0], atol=1e-6)
    with pytest.raises(DataError, match="of another net"):
        net.begin({}, motion.state_dict())


def test_a_loss_is_of_the_closed_loop_and_reaches_the_memory_but_not_the_encoder(net, renderer):
    terms = Following(net.train(), renderer, renderer, SETTINGS).loss(seeded())
    assert set(terms) == {"box", "map", "cells", "presence", "followed", "forecast"}
    sum(terms.values()).backward()
    assert net.step.motion.gates.weight.grad[:, -64:].abs().sum() > 0
    assert all(p.grad is None for p in net.encoder.parameters())
    assert net.step.hints.weight.shape == (8, EVIDENCE)


def test_batch_statistics_stay_as_the_first_stage_measured_them(net, renderer):
    before = net.step.matcher.even.running_mean.clone()
    Following(net.train(), renderer, renderer, SETTINGS).loss(seeded())
    assert torch.equal(net.step.matcher.even.running_mean, before)


def test_without_memory_every_step_begins_anew(net, renderer):
    forgetful = msgspec.structs.replace(SETTINGS, memory="empty")
    terms = Following(net.train(), renderer, renderer, forgetful).loss(seeded())
    sum(terms.values()).backward()
    assert net.step.motion.gates.weight.grad[:, -64:].abs().sum() == 0


def test_the_look_alone_learns_in_the_same_loop_and_has_no_lstm(renderer):
    alone = msgspec.structs.replace(SETTINGS, memory="none")
    net = Tracker(alone)
    net.begin(Appearance().state_dict(), MotionLSTM(MOVES + 1).state_dict())
    terms = Following(net.train(), renderer, renderer, alone).loss(seeded())
    assert set(terms) == {"box", "map", "cells", "presence", "followed"}
    sum(terms.values()).backward()
    assert net.step.matcher.read.weight.grad.abs().sum() > 0
    assert not any("motion" in name for name, _ in net.named_parameters())


def test_held_out_sequences_are_the_same_every_time(net, renderer):
    stage = Following(net, renderer, renderer, SETTINGS)
    assert stage.validate(net.eval()) == stage.validate(net.eval())


def test_a_forecast_is_least_surprised_by_what_it_said_with_the_spread_that_it_said():
    torch.manual_seed(5)
    start = boxes(400)
    off = torch.distributions.Laplace(0, 0.1).sample((400, 5, 2))
    said = torch.zeros(400, 5, 6)
    said[..., 4:] = np.log(0.1)
    later = torch.stack([moved(start, torch.cat([off[:, i], off[:, i]], 1)) for i in range(5)], 1)
    known = torch.ones(400)
    best = surprise(said, start, later, known)
    for change in (-0.7, 0.7):
        worse = said.clone()
        worse[..., 4:] += change
        assert surprise(worse, start, later, known) > best
    shifted = said.clone()
    shifted[..., 0] += 0.1
    assert surprise(shifted, start, later, known) > best


def test_horizons_beyond_the_end_count_for_nothing():
    start = boxes(2)
    later = start[:, None].repeat(1, 5, 1)
    said = torch.zeros(2, 5, 6)
    said[:, 4, 0] = 100.0
    later[:, 4] = torch.nan
    assert surprise(said, start, later, torch.ones(2)).item() == pytest.approx(0.0, abs=1e-6)


def test_what_is_looked_for_stays_in_the_frame_and_has_a_size():
    wild = torch.tensor([[-500.0, 10, -400, 20], [10, 10, 10.5, 10.5], [0, 0, 9000, 9000]])
    kept = guarded(wild, 96)
    middle, extent = centre(kept), kept[:, 2:] - kept[:, :2]
    assert ((middle >= 0) & (middle <= 96)).all()
    assert ((extent >= 4) & (extent <= 192)).all()


def test_given_boxes_are_off_by_a_tenth():
    true = torch.tensor([[10.0, 10, 50, 30]]).repeat(2000, 1)
    given = jittered(Dice(seeded()), true)
    off = (centre(given) - centre(true)) / (true[:, 2:] - true[:, :2])
    assert off.std(0).tolist() == pytest.approx([0.1, 0.1], abs=0.02)
