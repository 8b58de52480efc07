"""A tracker of two networks, from PyTorch to a bundle that steps any number of targets."""

from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[convert-torch]")

import edge  # noqa: E402
from convert.cli import main  # noqa: E402
from convert.errors import ConvertError  # noqa: E402
from convert.free_batch import WRITTEN, free_batch  # noqa: E402
from convert.model import SourceOptions  # noqa: E402
from convert.torch.tracker import TrackerModel, open_tracker  # noqa: E402
from edge.errors import BackendError  # noqa: E402
from edge.manifest import TargetBox  # noqa: E402
from edge.step import replay_golden  # noqa: E402
from tests.convert_case import INTERPRETERS  # noqa: E402

nn = torch.nn
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("litert_torch") and find_spec("onnxscript")),
        reason="needs edgetrack[convert-torch]",
    ),
]
SIDE, UNITS, STEPS = 16, 8, 300
SHAPES = {"image": (SIDE, SIDE, 3), "hidden": (UNITS,), "cell": (UNITS,)}
WORDS = [f"--shape={n}={','.join(map(str, s))}" for n, s in SHAPES.items()]


class Encoder(nn.Module):
    """Crops -> features of 4 x 4 cells, and the code of the middle four."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.down = nn.Conv2d(8, 6, 3, 2, 1)
        self.code = nn.Conv2d(6, 5, 1)

    def forward(self, image):
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)  # (N, 3, 16, 16)
        maps = self.down(self.body((pixels - 127.5) / 64))  # (N, 6, 4, 4)
        template = self.code(maps[:, :, 1:3, 1:3]).flatten(2).transpose(1, 2)  # (N, 4, 5)
        return maps.permute(0, 2, 3, 1), template


class Step(nn.Module):
    """Features, a template and motion -> a box, presence and forecast; an LSTM remembers."""

    def __init__(self):
        super().__init__()
        self.search = nn.Conv2d(6, 5, 1)
        self.look = nn.Linear(4 * 16 + 6, 12)
        self.memory = nn.LSTMCell(12, UNITS)
        self.box, self.presence = nn.Linear(UNITS, 4), nn.Linear(UNITS, 1)
        self.forecast = nn.Linear(UNITS, 30)

    def forward(self, features, template, motion, hidden, cell):
        code = self.search(features.permute(0, 3, 1, 2)).flatten(2)  # (N, 5, 16)
        alike = torch.softmax(torch.matmul(template, code), 2)  # (N, 4, 16)
        seen = torch.relu(self.look(torch.cat([alike.flatten(1), motion], 1)))  # (N, 12)
        hidden, cell = self.remember(seen, hidden, cell)
        forecast = self.forecast(hidden).unflatten(1, (5, 6))  # (N, 5, 6)
        return self.box(hidden), self.presence(hidden).sigmoid(), forecast, hidden, cell

    def remember(self, seen, hidden, cell):
        return self.memory(seen, (hidden, cell))


class DeadStep(Step):
    def remember(self, seen, hidden, cell):
        return self.memory(seen, (hidden, cell))[0], cell * 1.0


class SharingStep(Step):
    """Its targets see each other's mean."""

    def remember(self, seen, hidden, cell):
        return self.memory(seen - 0.5 * seen.mean(0, keepdim=True), (hidden, cell))


class StatelessStep(Step):
    def forward(self, features, template, motion):
        zeros = torch.zeros_like(motion[:, :1]).repeat(1, UNITS)  # (N, UNITS)
        return super().forward(features, template, motion, zeros, zeros)[:3]


class Tracker(nn.Module):
    def __init__(self, step=Step):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.step = Encoder(), step()
        with torch.no_grad():  # so that the state says much, not little
            self.step.memory.weight_hh.mul_(2.0)
            self.step.forecast.weight.mul_(3.0)


def dead():
    return Tracker(DeadStep)


def sharing():
    return Tracker(SharingStep)


def stateless():
    return Tracker(StatelessStep)


class NoTracker(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Two sequences of crops that change slowly, the target's own crop changed half way."""
    random = np.random.default_rng(0)
    low = random.normal(size=(2, 160, SIDE, SIDE, 3))
    for step in range(1, low.shape[1]):
        low[:, step] = 0.9 * low[:, step - 1] + 0.44 * low[:, step]
    image = np.clip(low * 60 + 128, 0, 255).astype(np.uint8)
    target = image[:, [0] * 80 + [79] * 80]
    motion = random.normal(0, 0.2, (2, 160, 6)).astype(np.float32)
    path = tmp_path_factory.mktemp("samples") / "crops.npz"
    np.savez(path, image=image, target=target, motion=motion)
    return path


def convert(name, out, *words):
    given = (f"{__file__}:{name}", "--kind", "tracker", "--licence", "Apache-2.0", *WORDS)
    return main([*given, "--context", "2", "--square", "0.4", "--out", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def plain(crops, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "follower"
    assert convert("Tracker", out, "--samples", crops, "--steps", STEPS) == 0
    return out


@pytest.fixture(scope="module")
def small(crops, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "follower-int8"
    assert convert("Tracker", out, "--samples", crops, "--quantise", "int8") == 0
    return out


def refusal(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "Traceback" not in "".join(lines)
    return lines[-1]


def test_the_manifest_says_all_that_a_runtime_needs(plain):
    manifest = edge.load_step(plain).manifest
    image, (hidden, cell) = manifest.input, manifest.state.tensors
    assert (manifest.kind, manifest.state.scope) == ("tracker", "per_track")
    assert (image.name, image.size, image.dtype, image.fit) == ("image", (16, 16), "uint8", "crop")
    assert (image.context, image.square) == (2.0, 0.4)
    assert {n: t.shape for n, t in manifest.inputs.items()} == {
        "template": (-1, 4, 5),
        "motion": (-1, 6),
    }
    assert (hidden.input, hidden.output, hidden.shape) == ("hidden", "next_hidden", (-1, UNITS))
    assert (cell.input, cell.output, cell.initial) == ("cell", "next_cell", 0.0)
    assert {n: t.shape for n, t in manifest.outputs.items()} == {
        "box": (-1, 4),
        "presence": (-1, 1),
        "forecast": (-1, 5, 6),
    }
    assert all(tensor.meaning for tensor in (*manifest.inputs.values(), *manifest.outputs.values()))
    assert manifest.decode == TargetBox(box="box", presence="presence")
    assert {role: set(files) for role, files in manifest.networks.items()} == {
        "encoder": {"tflite", "onnx"},
        "step": {"tflite", "onnx"},
    }


def test_parity_is_measured_over_all_steps_in_each_format(plain):
    parity = edge.load_step(plain).manifest.parity
    assert {fmt for fmt, part in parity.items() if part.steps == STEPS} == {"tflite", "onnx"}
    assert all(part.max_error < 1e-5 for part in parity.values())


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_five_targets_at_once_step_as_pytorch_does_for_each(plain, crops, backend):
    model, torch_model = edge.load_step(plain, backend), Tracker().eval()
    with np.load(crops) as samples:
        images, motions = samples["image"][0], samples["motion"][0]
    rows, state = 5, model.initial_state(rows=5)
    template = model.encode({"image": images[:rows]})["template"]
    with torch.no_grad():
        kept = torch_model.encoder(torch.from_numpy(images[:rows]))[1]
        memory = (torch.zeros(rows, UNITS), torch.zeros(rows, UNITS))
        for step in range(STEPS):
            at = (np.arange(rows) * 17 + step) % len(images)
            seen = {"image": images[at], "template": template, "motion": motions[at]}
            outputs, state = model.step(seen, state)
            features = torch_model.encoder(torch.from_numpy(images[at]))[0]
            *wanted, hidden, cell = torch_model.step(
                features, kept, torch.from_numpy(motions[at]), *memory
            )
            memory = (hidden, cell)
    for name, value in zip(("box", "presence", "forecast"), wanted, strict=True):
        np.testing.assert_allclose(outputs[name], value.numpy(), atol=1e-5)
    np.testing.assert_allclose(state["cell"], cell.numpy(), atol=1e-5)


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_the_cached_template_counts_and_not_the_one_of_the_frame(plain, crops, backend):
    model = edge.load_step(plain, backend)
    with np.load(crops) as samples:
        first, later = samples["image"][0, :1], samples["image"][0, 90:91]
    motion, state = np.zeros((1, 6), np.float32), model.initial_state()
    encoded, template = model.encode({"image": later}), model.encode({"image": first})["template"]
    seen = {"image": later, "template": template, "motion": motion}
    whole, _ = model.step(seen, state)
    by_hand, _ = model.step(
        {"features": encoded["features"], "template": template, "motion": motion}, state
    )
    own, _ = model.step(seen | {"template": encoded["template"]}, state)
    np.testing.assert_array_equal(whole["box"], by_hand["box"])
    assert np.abs(whole["box"] - own["box"]).max() > 1e-4


def test_a_step_without_picture_and_features_names_what_is_missing(plain):
    model = edge.load_step(plain)
    given = {"template": np.zeros((1, 4, 5), np.float32), "motion": np.zeros((1, 6), np.float32)}
    with pytest.raises(BackendError, match="input 'image' is missing"):
        model.step(given, model.initial_state())


@pytest.mark.parametrize("backend", INTERPRETERS)
@pytest.mark.parametrize("numbers", ["plain", "small"])
def test_the_recording_is_repeated(numbers, backend, request):
    model = edge.load_step(request.getfixturevalue(numbers), backend)
    assert replay_golden(model) <= model.manifest.golden.tolerance


def test_only_the_encoder_becomes_int8(plain, small):
    manifest = edge.load_step(small).manifest
    assert (manifest.quantisation.mode, manifest.quantisation.samples) == ("int8", "crops.npz")
    for fmt in ("tflite", "onnx"):
        assert (small / f"step.{fmt}").read_bytes() == (plain / f"step.{fmt}").read_bytes()
        assert (small / f"encoder.{fmt}").read_bytes() != (plain / f"encoder.{fmt}").read_bytes()


@pytest.mark.parametrize("backend", INTERPRETERS)
def test_an_int8_encoder_gives_real_values_close_to_the_float_ones(plain, small, crops, backend):
    models = [edge.load_step(folder, backend) for folder in (plain, small)]
    with np.load(crops) as samples:
        found = [model.encode({"image": samples["image"][1, ::40]}) for model in models]
    for name, wanted in found[0].items():
        error = np.abs(found[1][name] - wanted)
        assert found[1][name].dtype == np.float32
        assert 0 < error.max() < 0.2 * np.abs(wanted).max()


def test_a_dead_state_is_refused(crops, tmp_path, capsys):
    assert convert("dead", tmp_path / "out", "--samples", crops, "--to", "onnx") == 65
    assert "state 'cell' never changes" in refusal(capsys)
    assert not (tmp_path / "out").exists()


def test_targets_that_disturb_each_other_are_refused(crops, tmp_path, capsys):
    assert convert("sharing", tmp_path / "out", "--samples", crops, "--to", "onnx") == 65
    assert "is another for three rows at once than for each alone" in refusal(capsys)


def test_a_tracker_without_state_steps_with_an_empty_one(crops, tmp_path):
    assert convert("stateless", tmp_path / "out", "--samples", crops, "--to", "onnx") == 0
    model = edge.load_step(tmp_path / "out")
    assert model.manifest.state is None
    assert model.initial_state(rows=3) == {}
    assert replay_golden(model) <= model.manifest.golden.tolerance


def test_without_samples_it_is_tried_on_noise(tmp_path):
    assert convert("Tracker", tmp_path / "out", "--to", "onnx") == 0
    assert "made" in edge.load_step(tmp_path / "out").manifest.parity["onnx"].samples


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--labels", "a,b"], "--labels: says nothing of a tracker"),
        (["--fit", "stretch"], "--fit: says nothing of a tracker"),
        (["--integer-states", "--quantise", "int8"], "--integer-states: says nothing of a tracker"),
        (["--quantise", "int8"], "needs --samples"),
        (["--shape", "motion=7"], "its step fails on"),
    ],
)
def test_words_that_do_not_fit_a_tracker_are_refused(words, said, tmp_path, capsys):
    assert convert("Tracker", tmp_path / "out", *words) != 0
    assert said in refusal(capsys)


def test_how_square_a_crop_is_says_nothing_of_a_sequence_model(tmp_path, capsys):
    words = [f"{__file__}:Tracker", "--square", "0.4", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--square: says nothing of a sequence" in refusal(capsys)


def test_a_constant_that_hangs_on_the_rows_is_refused_and_not_frozen():
    class Numbered(Encoder):
        def forward(self, image):
            features, template = super().forward(image)
            return features + torch.arange(len(image)).float()[:, None, None, None], template

    tracker = Tracker().eval()
    tracker.encoder = Numbered().eval()
    source = TrackerModel("m", tracker, SourceOptions(shapes=SHAPES))
    files = [source.network("encoder", "tflite", rows) for rows in WRITTEN]
    with pytest.raises(ConvertError, match="m: a constant is made for a number of rows"):
        free_batch(*files, "m")


def test_what_is_no_tracker_is_refused_by_the_part_that_is_missing():
    with pytest.raises(ConvertError, match="has no part 'step' that is a torch"):
        open_tracker(f"{__file__}:NoTracker", SourceOptions(shapes=SHAPES))


def test_a_step_that_takes_or_gives_something_else_is_refused():
    class Renamed(Step):
        def forward(self, maps, template, motion):
            raise NotImplementedError

    class Short(Step):
        def forward(self, features, template, motion, hidden, cell):
            return super().forward(features, template, motion, hidden, cell)[:4]

    for step, said in [
        (Renamed, "its step takes maps, template, motion; let its forward begin with features"),
        (Short, "its step gives 4 tensors; let it return box, presence, forecast, next_hidden"),
    ]:
        with pytest.raises(ConvertError, match=said):
            TrackerModel("m", Tracker(step).eval(), SourceOptions(shapes=SHAPES))
