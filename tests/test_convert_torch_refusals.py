"""PyTorch models that cannot become a step, each refused in one line."""

import sys

import pytest

torch = pytest.importorskip("torch", reason="needs edgetrack[convert-torch]")

from convert.errors import ConvertError, MissingExtra  # noqa: E402
from convert.model import SourceOptions  # noqa: E402
from convert.torch import open_torch  # noqa: E402
from convert.torch.capture import hush_export  # noqa: E402
from convert.torch.rules import RULES, rule, rule_for  # noqa: E402
from tests import test_convert_torch_models as models  # noqa: E402

VECTOR = {"x": (6,)}


def refusal(model, error=ConvertError, **options):
    options = {"shapes": VECTOR} | options
    with pytest.raises(error) as caught:
        open_torch(model, SourceOptions(**options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of(name):
    return f"{models.__file__}:{name}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bidirectional", "layer: is bidirectional"),
        ("projected", "layer: projects its 8 units to proj_size=3"),
        ("packed", "lstm: reads packed sequences"),
        ("learned", "gru: its initial state is learned"),
        ("computed", "gru: its initial state is computed"),
        ("conv1d", r"layers.0: works over time (Conv1d)"),
        ("conv3d", r"layers.0: works over time (Conv3d)"),
        ("pool", r"layers.0: works over time (AvgPool1d)"),
        ("heads", r"layers.0: compares the frames with each other (MultiheadAttention)"),
        ("attends", "scaled_dot_product_attention: works over time"),
        ("flip", "flip: runs along time"),
        ("running_sum", "cumsum: runs along time"),
        ("difference", "slice_1: makes [1, 0, 6] of one frame and [1, 2, 6] of 3"),
        ("mean", "mean: makes one value of all frames"),
        ("largest", "max_1: makes one value of all frames"),
        ("first_step", "select: makes one value of all frames"),
        ("Placed", "slice_1: gives every step something of its own place"),
        ("dropout", "dropout: draws random numbers"),
        ("noise", "randn_like: draws random numbers"),
        ("OneFrameOnly", "takes one frame but not 3, one frame, please"),
        ("NeedsArguments", "cannot be built without arguments"),
        ("absent", "has no 'absent'"),
        ("number", "gives int, no torch.nn.Module"),
        ("faulty", "building it fails, no camera"),
    ],
)
def test_what_cannot_be_stepped_is_named(name, words):
    assert words in refusal(of(name))


def test_time_on_the_wrong_axis_is_seen():
    message = refusal(of("bare_time_first"), shapes={"input": (6,)})
    assert "lstm: reads the frames along axis 0, but they stand on axis 1" in message


def test_a_model_without_memory_is_refused():
    assert "holds no recurrent layer" in refusal(of("without_memory"), shapes={"input": (6,)})


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("no_such_package.model:Net", "there is no module 'no_such_package' here"),
        ("no_such_file.py:Net", "there is no file no_such_file.py"),
        ("weights.pt", "names no PyTorch class"),
        ("no_such_file.pt2", "there is no such file"),
    ],
)
def test_a_model_that_is_not_there_is_refused(model, words):
    assert words in refusal(model)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_package", "imports 'no_such_package', which is not installed"),
        ("1 / 0", "importing it fails, division by zero"),
    ],
)
def test_a_file_that_does_not_run_is_refused(code, words, tmp_path):
    (tmp_path / "broken.py").write_text(code)
    assert words in refusal(f"{tmp_path / 'broken.py'}:Net")


def test_a_module_is_found_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_net_of_tests.py").write_text("number = 3\nNet = lambda: number")
    monkeypatch.chdir(tmp_path)
    assert "gives int" in refusal("my_net_of_tests:Net")
    monkeypatch.delitem(sys.modules, "my_net_of_tests")


def test_a_wrong_shape_is_shown_with_the_flag_that_gives_it():
    message = refusal(of("lstm"), shapes={"x": (5,)})
    assert "its forward fails on x [1, 1, 5] (batch, time, frame)" in message
    assert "--shape x=" in message


def test_a_shape_that_is_needed_or_unknown_is_named():
    assert "--shape x=3,64,64" in refusal(of("lstm"), shapes={})
    assert "has no input 'z', its forward takes x" in refusal(of("lstm"), shapes={"z": (6,)})
    assert "input 'dt' has no shape" in refusal(of("video"), shapes={"image": (3, 16, 16)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("layer.bias_hh_l0"), "has no 'layer.bias_hh_l0'"),
        (lambda w: w.update(extra=torch.zeros(1)), "has 'extra', which the model lacks"),
        (
            lambda w: w.update({"layer.bias_hh_l0": torch.zeros(3)}),
            "'layer.bias_hh_l0' is [3], the model has [32]",
        ),
        (lambda w: w["layer.bias_hh_l0"].fill_(float("nan")), "layer.bias_hh_l0: holds NaN"),
        (lambda w: w.update(epoch=3), "holds no state_dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, words, tmp_path):
    weights = dict(models.lstm().state_dict())
    change(weights)
    torch.save(weights, tmp_path / "weights.pt")
    assert words in refusal(of("lstm"), weights=tmp_path / "weights.pt")


def test_a_pickle_is_opened_only_when_trusted(tmp_path):
    torch.save(models.lstm(), tmp_path / "model.pt")
    assert "--trust" in refusal(of("lstm"), weights=tmp_path / "model.pt")
    options = SourceOptions(shapes=VECTOR, weights=tmp_path / "model.pt", trusted=True)
    assert len(open_torch(of("lstm"), options).states) == 2


def test_a_weights_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"nothing of the kind")
    assert "weights.pt: " in refusal(of("lstm"), weights=tmp_path / "weights.pt", trusted=True)
    assert "no such file" in refusal(of("lstm"), weights=tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("name", "steps", "training", "words"),
    [
        ("lstm", 5, False, "is made for 5 frames (axis 1) and cannot be cut into steps"),
        ("attention", 1, False, "attention: takes no state"),
        ("lstm_stack", 1, True, "layer: drops at random between its layers, p=0.3"),
    ],
)
def test_a_file_that_cannot_be_stepped_is_refused(name, steps, training, words, tmp_path):
    source = getattr(models, name)().train(training)
    with hush_export():
        program = torch.export.export(source, (torch.zeros(1, steps, 6),))
        torch.export.save(program, tmp_path / "model.pt2")
    assert words in refusal(str(tmp_path / "model.pt2"))


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"PK nothing")
    assert "cannot be read" in refusal(str(tmp_path / "model.pt2"))


def test_an_operator_without_a_rule_says_how_to_write_one():
    with pytest.raises(ConvertError, match=r"scan: there is no rule.*aten\.lstm\.input.*@rule"):
        rule_for(torch.ops.aten.lstm.data, "scan")


def test_an_operator_has_one_rule():
    operator, found = next(iter(RULES.items()))
    with pytest.raises(ConvertError, match="has a rule already"):
        rule(operator)(found)


def test_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "edgetrack[convert-torch]" in refusal(of("lstm"), MissingExtra)


@pytest.mark.parametrize(
    ("fmt", "package", "name"),
    [("onnx", "onnxscript", "onnxscript"), ("tflite", "litert_torch", "litert-torch")],
)
def test_a_missing_exporter_names_the_extra(fmt, package, name, monkeypatch):
    model = open_torch(of("lstm"), SourceOptions(shapes=VECTOR))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{name}: .*edgetrack\[convert-torch\]"):
        model.network("step", fmt)
