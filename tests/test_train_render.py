"""Scenes: seeded, boxes where the target is, presence as it is seen, crops as OpenCV cuts them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[train]")

from edge.errors import ConfigError, DataError  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from train.config import DataSettings, LightSettings, SceneSettings, Settings, load_settings  # noqa: E402
from train.crops import crop, region, to_view  # noqa: E402
from train.dice import Dice  # noqa: E402
from train.layers import Layer, measure  # noqa: E402
from train.light import jpeg  # noqa: E402
from train.plan import Director  # noqa: E402
from train.preview import sheet  # noqa: E402
from train.render import Renderer, draw  # noqa: E402
from train.sets import Stills  # noqa: E402
from train.trajectories import Trajectories, load_trajectories, random_walks  # noqa: E402

CPU = torch.device("cpu")
QUIET = SceneSettings(
    cameras=0, cutouts=1, distractors=0, occluders=0, disappearances=0, harmonised=0, warped=0
)


@pytest.fixture
def stills():
    """Tiles of noise, and one cut-out: an ellipse."""
    random = torch.Generator().manual_seed(1)
    tiles = torch.randint(0, 255, (6, 3, 96, 96), generator=random, dtype=torch.uint8)
    mask = np.zeros((96, 96), np.uint8)
    cv2.ellipse(mask, (48, 48), (47, 47), 0, 0, 360, 255, -1)
    cover = torch.from_numpy(mask)[None, None]
    colours = torch.randint(0, 255, (1, 3, 96, 96), generator=random, dtype=torch.uint8)
    return Stills(tiles, torch.cat([colours, cover], 1), torch.tensor([1.5]))


@pytest.fixture
def motion():
    return Trajectories(random_walks(np.random.default_rng(0), 8, 60), CPU)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def white_on_black(plan):
    """The same scenes with a white target and all else black."""
    white = plan.target.sprites.clone()
    white[:, :3] = 1.0
    target = replace(plan.target, sprites=white)
    return replace(plan, photos=torch.zeros_like(plan.photos), target=target)


def scenes(stills, motion, settings, count=6, frames=12, seed=0):
    return Director(stills, motion, settings).plan(Dice(seeded(seed)), count, frames)


def pictures(stills):
    return stills.tiles, stills.cutouts


def whole(plan, size):
    return torch.tensor([0.0, 0.0, size, size]).expand_as(plan.boxes)


def square(centre, size):
    """A solid layer of one scene and one frame."""
    return Layer(
        torch.ones(1, 4, 32, 32),
        torch.tensor([[centre]]),
        torch.tensor([[size]]),
        torch.zeros(1, 1),
        torch.ones(1, 1),
    )


@pytest.mark.parametrize("what", ["sequences", "crops"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(stills, motion, what):
    settings = Settings(
        scenes=4, length=8, searches=3, scene=SceneSettings(frame_size=96, largest=40)
    )
    render = getattr(Renderer(stills, motion, settings), what)
    one, two, other = render(seeded(3)), render(seeded(3)), render(seeded(4))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.boxes, two.boxes)
    assert not torch.equal(one.images, other.images)
    assert one.images.dtype == torch.uint8
    assert one.images.shape[:3] == (4, 8 if what == "sequences" else 4, 3)


def test_the_box_is_where_the_target_is(stills, motion):
    plan = scenes(stills, motion, QUIET)
    images = draw(white_on_black(plan), whole(plan, 256), 256, 256)[:, :, 0]  # (B, T, H, W)
    checked = 0
    for image, box in zip(images.flatten(0, 1), plan.boxes.flatten(0, 1), strict=True):
        rows, columns = (image > 0.5).nonzero(as_tuple=True)
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        if box.min() > 1 and box.max() < 255:
            assert (found - box).abs().max() <= 1.0
            checked += 1
    assert checked > 30


def test_a_crop_that_is_drawn_shows_what_a_crop_of_the_frame_shows(stills, motion):
    smooth = [torch.nn.functional.avg_pool2d(x.float(), 15, 1, 7).byte() for x in pictures(stills)]
    plan = scenes(Stills(*smooth, stills.aspects), motion, QUIET, 2, 4)
    frames = draw(plan, whole(plan, 256), 256, 256).flatten(0, 1)
    boxes = plan.boxes.flatten(0, 1)
    cut = crop(frames, region(boxes, 2.0, 0.4), 48)
    drawn = draw(plan, region(plan.boxes, 2.0, 0.4), 48, 256).flatten(0, 1)
    assert (cut - drawn).abs().mean() < 0.03


def test_presence_is_the_visible_share():
    target, half = square((50.0, 50.0), (40.0, 20.0)), square((40.0, 50.0), (20.0, 40.0))
    nothing = replace(half, opacity=torch.zeros(1, 1))
    assert measure(target, nothing, 100)[1].item() == pytest.approx(1.0)
    assert measure(target, half, 100)[1].item() == pytest.approx(0.5, abs=0.02)
    assert measure(square((0.0, 50.0), (40.0, 20.0)), nothing, 100)[1].item() == pytest.approx(0.5)
    assert measure(target, nothing, 100)[0].tolist() == [[pytest.approx([30, 40, 70, 60])]]


def test_presence_is_the_share_of_the_white_that_is_still_drawn(stills, motion):
    plan = white_on_black(scenes(stills, motion, structured(occluders=1), 6, 8, seed=2))
    black = plan.occluder.sprites.clone()
    black[:, :3] = 0.0
    hidden = draw(
        replace(plan, occluder=replace(plan.occluder, sprites=black)), whole(plan, 256), 256, 256
    )
    free = replace(plan.occluder, opacity=torch.zeros_like(plan.occluder.opacity))
    seen = draw(replace(plan, occluder=free), whole(plan, 256), 256, 256)
    share = hidden.sum((2, 3, 4)) / seen.sum((2, 3, 4))
    assert (share - plan.presence).abs().max() < 0.05
    assert plan.presence.min() < 0.9


def structured(**changes):
    names = QUIET.__struct_fields__
    return SceneSettings(**({name: getattr(QUIET, name) for name in names} | changes))


def test_a_target_that_disappears_is_gone_for_a_while_and_comes_back(stills, motion):
    plan = scenes(stills, motion, structured(disappearances=1), 24, 24)
    gone = plan.presence < 0.02
    assert gone.any(1).float().mean() > 0.9
    assert (plan.presence[:, :3] > 0.9).all()
    assert (plan.presence[:, -1] > 0.9).float().mean() > 0.6
    left = plan.boxes[..., 2] <= 0
    assert left.any()
    assert (gone & ~left).any()


def test_frames_that_stand_alone_begin_with_a_template_seen_whole(stills, motion):
    settings = Settings(scenes=16, scene=structured(occluders=1), light=LightSettings())
    batch = Renderer(stills, motion, settings).crops(seeded())
    assert batch.presence[:, 0].min() > 0.99
    assert batch.presence[:, 1:].min() < 0.8
    width = batch.boxes[:, 0, 2] - batch.boxes[:, 0, 0]
    assert (width - 48).abs().max() < 8


def test_time_is_frames_skipped_over_frames_a_second(stills, motion):
    tiny = structured(frame_size=64, largest=32.0)
    settings = Settings(scenes=32, length=9, data=DataSettings(fps=25), scene=tiny)
    dt = Renderer(stills, motion, settings).sequences(seeded()).dt
    assert set((dt * 25).round().int().flatten().tolist()) == {1, 2, 3, 4}
    assert torch.equal(dt[:, 0], torch.full((32,), 1 / 25))


def test_a_stretch_keeps_steps_in_sizes_and_growth():
    frames = np.arange(40.0)
    boxes = np.stack([10 * frames, 0 * frames, 20 + 0 * frames, 80 + 0 * frames], 1)
    steps = torch.full((8, 5), 2)
    path = Trajectories([boxes], CPU).stretches(Dice(seeded()), steps)
    moved = path[:, 1, 0].abs()  # 2 frames of 10 pixels, in sizes of 40
    assert moved.median() == pytest.approx(0.5)
    assert path[:, 0].abs().max() == 0
    assert path[..., 2:].abs().max() == 0


def test_real_trajectories_are_read_and_their_absence_is_said(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(f"{i},2,10,20" for i in range(30)))
    assert len(load_trajectories(str(tmp_path), CPU)) == 1
    assert len(load_trajectories(str(tmp_path / "none"), CPU)) == 64
    assert "has no *.txt; motion is a random walk" in capsys.readouterr().err
    (tmp_path / "a.txt").write_text("1,2,3\n4,5,6")
    with pytest.raises(DataError, match=r"a\.txt: has 3 columns; a line is x,y,w,h"):
        load_trajectories(str(tmp_path), CPU)


@pytest.mark.parametrize(
    "box", [(20.0, 15.0, 60.5, 75.25), (-20.0, -9.5, 30.0, 40.0), (80, 50, 140, 99)]
)
def test_a_crop_is_the_one_that_opencv_cuts(box):
    # Smooth, for OpenCV 4 rounds where it reads to a 32nd of a pixel.
    random = np.random.default_rng(0).uniform(0, 255, (7, 9, 3)).astype(np.float32)
    frame = np.clip(cv2.resize(random, (120, 90), interpolation=cv2.INTER_CUBIC), 0, 255)
    left, top, right, bottom = region(torch.tensor([box]), 2.0, 0.0)[0].tolist()
    x, y = (right - left) / 96, (bottom - top) / 96
    matrix = np.array([[x, 0, left + x / 2 - 0.5], [0, y, top + y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    wanted = cv2.warpAffine(frame, matrix, (96, 96), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    got = crop(image, region(torch.tensor([box]), 2.0, 0.0), 96)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - wanted).max() <= 1.0


def test_a_box_fills_the_middle_of_its_own_crop():
    box = torch.tensor([[10.0, 20.0, 40.0, 80.0]])
    assert to_view(box, region(box, 2.0, 0.0), 96).tolist() == [pytest.approx([24, 24, 72, 72])]


def test_a_tall_box_is_cut_wider_the_squarer_the_crop_and_the_area_stays():
    box = torch.tensor([[0.0, 0.0, 10.0, 40.0]])
    widths = []
    for square in (0.0, 0.4, 1.0):
        left, top, right, bottom = region(box, 2.0, square)[0].tolist()
        assert (right - left) * (bottom - top) == pytest.approx(4 * 400)
        assert (left + right, top + bottom) == pytest.approx((10, 40))
        widths.append(right - left)
    assert widths == pytest.approx([20, 20 * 2**0.4, 40])


def test_jpeg_keeps_flat_pictures_and_coarsens_by_quality():
    flat = torch.full((1, 3, 20, 28), 0.5)
    assert (jpeg(flat, torch.tensor([50.0])) - flat).abs().max() < 0.02
    noise = torch.rand(2, 3, 32, 32, generator=seeded()).clone()
    low, high = (jpeg(noise, torch.full((2,), q)) for q in (10.0, 95.0))
    assert (low - noise).abs().mean() > 4 * (high - noise).abs().mean()


def test_looking_at_one_frame_shows_what_a_crop_of_the_whole_frame_shows(stills, motion):
    smooth = [torch.nn.functional.avg_pool2d(x.float(), 15, 1, 7).byte() for x in pictures(stills)]
    none = {name: 0.0 for name in LightSettings.__struct_fields__}
    settings = Settings(scenes=4, length=6, scene=QUIET, light=LightSettings(**none))
    renderer = Renderer(Stills(*smooth, stills.aspects), motion, settings)
    scene, frames = renderer.begin(seeded(7)), renderer.sequences(seeded(7))
    assert torch.equal(scene.plan.boxes, frames.boxes)
    seen = renderer.look(seeded(), scene, 3, frames.boxes[:, 3])
    cut = crop(frames.images[:, 3].float(), renderer.region(frames.boxes[:, 3]), 96)
    assert (seen.float() - cut).abs().mean() < 8


def test_the_sheet_is_drawn(stills, motion):
    settings = Settings(scenes=2, length=4, scene=SceneSettings(frame_size=96, largest=40))
    assert sheet(Renderer(stills, motion, settings), settings, seeded()).ndim == 3


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("train-*.toml")), ids=lambda p: p.name
)
def test_every_training_configuration_is_valid(path):
    assert load_settings(path).scenes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "the file: object contains unknown field `colour`"),
        ("[scene]\ncameras = 2.0", r"scene\.cameras: is 2\.0; expected `float` <= 1\.0"),
        ("[scene]\ncameras = 0.8", "scene: cameras is 0.8 and cutouts 0.4, more than 1"),
        ("[scene]\nlargest = 200.0", "scene: smallest is 20.0, largest 200.0, frame_size 256"),
        ("seed =", "is no TOML"),
    ],
)
def test_a_bad_setting_is_one_line(tmp_path, text, message):
    path = Path(tmp_path / "bad.toml")
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(path)
    assert "\n" not in str(caught.value)
