"""PyTorch models, taken apart and stepped in both interpreters."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[convert-torch]")

from convert.model import LayerNote, SourceOptions  # noqa: E402
from convert.torch import open_torch  # noqa: E402
from convert.torch.capture import hush_export  # noqa: E402
from convert.torch.layers import WindowAttention  # noqa: E402
from convert.torch.reference import PREFIXES  # noqa: E402
from edge.backends import open_session  # noqa: E402
from tests import test_convert_torch_models as models  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (find_spec("litert_torch") and find_spec("onnxscript")),
    reason="needs edgetrack[convert-torch]",
)
STEPS = 300
VECTOR = {"x": (6,)}
FRAME = {"image": (3, 16, 16), "dt": (1,)}
RULES = [
    "lstm",
    "gru",
    "rnn_tanh",
    "rnn_relu",
    "lstm_stack",
    "gru_stack",
    "lstm_without_bias",
    "gru_without_bias",
    "lstm_time_first",
    "lstm_cell",
    "gru_cell",
    "rnn_cell",
    "rnn_cell_relu",
    "attention",
    "half",
    "twice",
]


def open_test_model(name, shapes=VECTOR, **options):
    return open_torch(f"{models.__file__}:{name}", SourceOptions(shapes=shapes, **options))


def noise(model, steps=STEPS):
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(steps, *spec.shape)).astype(np.float32)
        for name, spec in model.inputs.items()
    }


def sessions(model, fmt, folder: Path):
    for role in model.roles:
        path = folder / f"{role}.{fmt}"
        path.write_bytes(model.network(role, fmt))
        yield open_session({fmt: path})


def stepped(model, networks, sequence):
    """Every output over time, each step from the state that the one before it gave."""
    state = {s.input: np.full(s.shape, s.initial, s.dtype) for s in model.states}
    rows = {name: [] for name in model.outputs}
    for step in range(len(next(iter(sequence.values())))):
        values = {name: frames[step] for name, frames in sequence.items()} | state
        for network in networks:
            values |= {name: value.copy() for name, value in network.run(values).items()}
        for name, found in rows.items():
            found.append(values[name])
        state = {s.input: values[s.output] for s in model.states}
    return {name: np.stack(found) for name, found in rows.items()}


def worst(found, wanted):
    return max(float(np.nanmax(np.abs(found[name] - wanted[name]))) for name in wanted)


@pytest.fixture(scope="module")
def video():
    return open_test_model("video", FRAME)


@pytest.mark.parametrize("name", RULES)
def test_steps_equal_the_whole_sequence_in_both_interpreters(name, tmp_path):
    model = open_test_model(name)
    sequence = noise(model)
    wanted = model.forward(sequence)
    assert model.roles == ["step"]
    for fmt in model.formats:
        found = stepped(model, list(sessions(model, fmt, tmp_path)), sequence)
        assert worst(found, wanted) < 1e-5


def test_a_video_model_becomes_an_encoder_and_a_step(video, tmp_path):
    sequence = noise(video, 100)
    wanted = video.forward(sequence)
    for fmt in video.formats:
        encoder, step = sessions(video, fmt, tmp_path)
        assert {n: s.shape for n, s in encoder.inputs.items()} == {
            "image": (1, 3, 16, 16),
            "dt": (1, 1),
        }
        assert {*encoder.outputs} == {"features", "quality"}
        assert {*step.outputs} == {"boxes", "last", *(s.output for s in video.states)}
        assert worst(stepped(video, [encoder, step], sequence), wanted) < 1e-5


def test_names_come_from_the_source(video):
    assert {n: s.shape for n, s in video.outputs.items()} == {
        "boxes": (1, 4),
        "quality": (1, 1),
        "last": (1, 4),
    }
    assert [s.name for s in video.states] == ["lstm_0_h", "lstm_0_c", "lstm_1_h", "lstm_1_c"]
    assert {s.shape for s in video.states} == {(1, 16)}
    assert video.states[0].output == "lstm_0_h_next"
    assert video.framework == f"torch {torch.__version__.partition('+')[0]}"


def test_states_that_the_source_takes_and_gives_are_no_inputs_and_outputs(video):
    assert [*video.inputs] == ["image", "dt"]  # forward(image, dt, h, c)


def test_every_layer_is_explained(video):
    assert video.layers[0] == LayerNote("conv.0", "Conv2d", "encoder")
    lstm = next(note for note in video.layers if note.name == "lstm")
    assert lstm.role == "step"
    assert lstm.detail.startswith("2 layers of 16 units, gates i f g o, states lstm_0_h, lstm_0_c")


def test_fused_it_is_one_network(tmp_path):
    model = open_test_model("video", FRAME, fuse=True)
    (step,) = sessions(model, "onnx", tmp_path)
    assert model.roles == ["step"]
    assert {*step.inputs} == {"image", "dt", *(s.input for s in model.states)}
    sequence = noise(model, 50)
    assert worst(stepped(model, [step], sequence), model.forward(sequence)) < 1e-5


def test_an_input_with_one_value_leaves_the_model(tmp_path):
    model = open_test_model("scaled", constants={"gain": np.full(6, 0.5, np.float32)})
    sequence = noise(model, 20)
    (step,) = sessions(model, "onnx", tmp_path)
    assert [*model.inputs] == ["x"]
    assert {*step.inputs} == {"x", "gru_h"}
    assert worst(stepped(model, [step], sequence), model.forward(sequence)) < 1e-5


def test_a_last_step_is_compared_at_steps_spread_to_the_end(tmp_path):
    model = open_test_model("last_step")
    sequence = noise(model)
    wanted = model.forward(sequence)["output"]  # (steps, 1, 8)
    known = ~np.isnan(wanted[:, 0, 0])
    assert known.sum() == PREFIXES
    assert known[0]
    assert known[-1]
    found = stepped(model, list(sessions(model, "onnx", tmp_path)), sequence)
    assert worst(found, {"output": wanted}) < 1e-5


def test_a_state_starts_with_the_number_that_the_source_gives():
    (state,) = open_test_model("half").states
    assert (state.name, state.initial) == ("gru_h", 0.5)


def test_a_layer_used_twice_has_two_states():
    assert [s.name for s in open_test_model("twice").states] == ["gru_h", "gru_2_h"]


def test_a_bare_layer_is_a_model():
    model = open_test_model("bare", {"input": (6,)})
    assert [s.name for s in model.states] == ["lstm_h", "lstm_c"]
    assert {n: s.shape for n, s in model.outputs.items()} == {"output": (1, 8)}


@pytest.mark.parametrize("name", ["lstm", "lstm_cell", "gru_stack"])
def test_a_file_made_for_one_frame_is_compared_frame_by_frame(name, tmp_path):
    with hush_export():
        program = torch.export.export(getattr(models, name)().eval(), (torch.zeros(1, 1, 6),))
        torch.export.save(program, tmp_path / "model.pt2")
    model = open_torch(str(tmp_path / "model.pt2"), SourceOptions())
    source = open_test_model(name)
    sequence = noise(model)
    assert model.states == source.states
    assert worst(model.forward(sequence), source.forward(sequence)) < 1e-6


def test_a_file_with_free_batch_and_time_is_one_frame_of_one(tmp_path):
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}
    with hush_export():
        program = torch.export.export(
            models.attention().eval(), (torch.zeros(2, 4, 6),), dynamic_shapes={"x": free}
        )
        torch.export.save(program, tmp_path / "model.pt2")
    model = open_torch(str(tmp_path / "model.pt2"), SourceOptions())
    sequence = noise(model, 40)
    found = stepped(model, list(sessions(model, "onnx", tmp_path)), sequence)
    assert {n: s.shape for n, s in model.outputs.items()} == {"y": (1, 6)}
    assert worst(found, model.forward(sequence)) < 1e-5


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_weights_of_a_wrapped_model_are_those_of_the_model(wrapper, tmp_path):
    wrapped = {f"{wrapper}{name}": value for name, value in models.lstm().state_dict().items()}
    torch.save({"model": wrapped}, tmp_path / "weights.pt")
    plain, filled = (
        open_test_model("lstm", weights=weights) for weights in (None, tmp_path / "weights.pt")
    )
    sequence = noise(plain, 3)
    (wanted,), (found,) = (model.forward(sequence).values() for model in (plain, filled))
    assert np.array_equal(found, wanted)


def test_weights_are_read_from_a_state_dict(tmp_path):
    changed = models.lstm()
    torch.nn.init.ones_(changed.layer.bias_ih_l0)
    torch.save({"state_dict": changed.state_dict(), "epoch": 3}, tmp_path / "weights.pt")
    plain, filled = (
        open_test_model("lstm", weights=weights) for weights in (None, tmp_path / "weights.pt")
    )
    sequence = noise(plain, 3)
    with torch.no_grad():
        wanted = changed(torch.as_tensor(sequence["x"]).transpose(0, 1)).transpose(0, 1)
    assert np.array_equal(filled.forward(sequence)["output"], wanted.numpy())
    assert not np.array_equal(plain.forward(sequence)["output"], wanted.numpy())


def test_window_attention_trains_and_sees_its_window_alone():
    layer = WindowAttention(6, heads=2, window=3)
    x = torch.randn(2, 8, 6, requires_grad=True)
    layer(x)[:, 5].sum().backward()
    assert layer.key.weight.grad.abs().sum() > 0
    seen = x.grad.abs().sum((0, 2)) > 0
    assert seen.tolist() == [False, False, False, True, True, True, False, False]


def test_window_attention_is_torchs_own_attention_under_a_banded_mask():
    layer = WindowAttention(6, heads=2, window=3)
    x = torch.randn(1, 8, 6)
    query, key, value = (
        part(x).unflatten(-1, (2, 3)).transpose(1, 2)
        for part in (layer.query, layer.key, layer.value)
    )
    band = torch.ones(8, 8).tril() - torch.ones(8, 8).tril(-3)
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=band.bool()
    )
    assert torch.allclose(layer(x), layer.out(found.transpose(1, 2).flatten(2)), atol=1e-6)


def test_window_attention_passes_torchs_checks_of_an_operator():
    samples = [torch.randn(1, 2, 5, 3, requires_grad=True) for _ in range(3)]
    results = torch.library.opcheck(
        torch.ops.edgetrack.window_attention.default,
        (*samples, 3),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
    assert {*results.values()} == {"SUCCESS"}
