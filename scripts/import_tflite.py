"""Make a detector bundle of a .tflite that exists: ONNX twin, parity of the two, golden recording.

The two `make-...-bundle` scripts share this. The same input gives the same bytes, so that anyone
can check that a committed model is what its script says.
"""

import io
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from edge.backends import Session, open_session
from edge.bundle import Bundle, save
from edge.errors import BackendError, BundleError
from edge.manifest import Golden, ImageInput, Manifest, NetworkFormat, Parity
from edge.preprocess import normalise
from edge.types import Array, Image

PORTRAIT = Path(__file__).resolve().parent.parent / "edge" / "sources" / "portrait.jpg"
OPSET = 17
_SMALL = 64  # elements; halving a tensor of fewer saves nothing
_TOLERANCE = 0.02  # of codes up to 300 and logits up to -1800; half precision is off by 1


def require_converter() -> None:
    """Refuse to start where the converter to ONNX is not installed.

    Raises:
        BackendError: What is missing.
    """
    wanted = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")
    if missing := [name for name in wanted if not find_spec(name)]:
        raise BackendError(
            f"{', '.join(missing)}: not installed, and needed to make ONNX of TFLite; "
            "pip install tensorflow==2.21.0 tf2onnx==1.17.0 onnx onnxruntime ai-edge-litert"
        )


def build(manifest: Manifest, tflite: bytes, recorded: Image, folder: Path) -> Bundle:
    """Write a detector bundle: the .tflite as it is, ONNX if the manifest names it, a recording.

    Args:
        manifest: Names the files; parity and golden are filled in here.
        tflite: The network as its authors published it.
        recorded: The picture (h, w, 3) of the golden recording, RGB, of the input's size.
        folder: Must not exist yet.

    Raises:
        BundleError: The two networks differ.
    """
    names = manifest.networks["detector"]
    files = {names["tflite"]: tflite}
    if "onnx" in names:
        files[names["onnx"]] = onnx_of(tflite, manifest.name)
    with tempfile.TemporaryDirectory() as place:
        paths = {form: Path(place) / name for form, name in names.items()}
        for path in paths.values():
            path.write_bytes(files[path.name])
        outputs = _run(open_session(paths, "litert"), _input(manifest), recorded)
        parity = {"onnx": _parity(paths, _input(manifest))} if "onnx" in names else {}
    if worst := [form for form, found in parity.items() if found.max_error > _TOLERANCE]:
        raise BundleError(
            f"{manifest.name}: ONNX differs from TFLite by {parity[worst[0]].max_error:g}; "
            "use the versions the script names"
        )
    arrays = {f"inputs/{_input(manifest).name}": recorded[None, None]}  # (steps, 1, h, w, 3)
    files["golden.npz"] = recording(arrays | {f"outputs/{k}": v[None] for k, v in outputs.items()})
    golden = Golden(file="golden.npz", steps=1, tolerance=_TOLERANCE)
    complete = msgspec.structs.replace(manifest, parity=parity, golden=golden)
    return save(complete, files, folder)


def portrait(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image:
    """Return a part of the portrait in blocks of 2 x 2 pixels, which compress to a third.

    It fills the input: on the black of a letterbox BlazeFace gives logits of -30,000, and no two
    interpreters agree on their third decimal.

    Args:
        size: Height and width of the input.
        box: Left, top, right, bottom in the portrait.
    """
    picture = cv2.cvtColor(cv2.imread(str(PORTRAIT)), cv2.COLOR_BGR2RGB)
    part = picture[box[1] : box[3], box[0] : box[2]]
    half = cv2.resize(part, (size[1] // 2, size[0] // 2), interpolation=cv2.INTER_AREA)
    return half.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)


def onnx_of(tflite: bytes, name: str) -> bytes:
    """Convert a float16 .tflite to ONNX: same tensor names, same layout, weights still float16.

    Args:
        tflite: The network.
        name: Of the graph.
    """
    import tf2onnx

    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(tflite)
        file.flush()
        model, _ = tf2onnx.convert.from_tflite(file.name, opset=OPSET)
    return canonical(model, name)


def canonical(model: Any, name: str) -> bytes:
    """Return what tf2onnx made in one fixed order under fixed names, weights halved where exact.

    Args:
        model: An ONNX ModelProto.
        name: Of the graph.
    """
    import onnx

    graph = model.graph
    nodes = list(_in_order(graph))
    weights = _rename(graph, nodes)
    casts, initializers = _halve(weights)
    small = onnx.helper.make_graph(
        [*casts, *nodes], name, list(graph.input), list(graph.output), initializers
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    result = onnx.helper.make_model(small, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(result, full_check=True)
    return bytes(result.SerializeToString(deterministic=True))


def _in_order(graph: Any) -> Iterator[Any]:
    """Yield every node after those it needs, the same way each time; tf2onnx's own order varies."""
    makers = {output: node for node in graph.node for output in node.output}
    seen: set[str] = set()
    stack = [(output.name, False) for output in reversed(graph.output)]
    while stack:
        tensor, ready = stack.pop()
        node = makers.get(tensor)
        if node is None or node.output[0] in seen:
            continue
        if ready:
            seen.add(node.output[0])
            yield node
            continue
        stack.append((tensor, True))
        stack.extend((name, False) for name in reversed(node.input))


def _rename(graph: Any, nodes: list[Any]) -> dict[str, Array]:
    """Name nodes, tensors and weights by their place in the graph; return the weights by name."""
    from onnx import numpy_helper

    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = {tensor.name: tensor.name for tensor in (*graph.input, *graph.output)}
    for index, node in enumerate(nodes):
        node.name = f"{node.op_type}_{index}"
        node.doc_string = ""
        for place, tensor in enumerate(node.input):
            names.setdefault(tensor, f"{node.name}/{place}")
        for place, tensor in enumerate(node.output):
            names.setdefault(tensor, f"{node.name}:{place}")
        node.input[:] = [names[tensor] for tensor in node.input]
        node.output[:] = [names[tensor] for tensor in node.output]
    return {names[name]: value for name, value in weights.items() if name in names}


def _halve(weights: Mapping[str, Array]) -> tuple[list[Any], list[Any]]:
    """Store as float16 what is float16 in truth, with a Cast that the runtime folds at load."""
    from onnx import TensorProto, helper, numpy_helper

    casts, initializers = [], []
    for name, value in sorted(weights.items()):
        half = value.astype(np.float16) if value.dtype == np.float32 else value
        if value.size < _SMALL or half is value or not np.array_equal(half, value):
            initializers.append(numpy_helper.from_array(value, name))
            continue
        initializers.append(numpy_helper.from_array(half, f"{name}/half"))
        casts.append(
            helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/cast", to=TensorProto.FLOAT)
        )
    return casts, initializers


def _parity(paths: Mapping[NetworkFormat, Path], spec: ImageInput) -> Parity:
    """Compare the two formats of a network on nine crops of the portrait."""
    source, twin = open_session(paths, "litert"), open_session(paths, "onnx")
    errors = []
    for box in [(x, y, x + 256, y + 256) for y in (0, 128, 256) for x in (0, 128, 256)]:
        picture = portrait(spec.size, box)
        expected, found = _run(source, spec, picture), _run(twin, spec, picture)
        errors += [(expected[name] - found[name]).ravel() for name in expected]
    error = np.concatenate(errors).astype(np.float64)
    packages = ("tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert")
    return Parity(
        steps=1,
        max_error=float(f"{np.abs(error).max():.1e}"),
        rms_error=float(f"{np.sqrt(np.mean(error**2)):.1e}"),
        samples="nine crops of edge/sources/portrait.jpg",
        versions={package: version(package) for package in packages},
    )


def _input(manifest: Manifest) -> ImageInput:
    if manifest.input is None:
        raise BundleError(f"{manifest.name}: the manifest has no input; describe it")
    return manifest.input


def _run(session: Session, spec: ImageInput, picture: Image) -> dict[str, Array]:
    outputs = session.run({spec.name: normalise(picture[None], spec)})
    return {name: value.copy() for name, value in outputs.items()}


def recording(arrays: Mapping[str, Array]) -> bytes:
    """Return the content of a golden file: `inputs/NAME`, `outputs/NAME`, `states/NAME`."""
    file = io.BytesIO()
    ordered = dict(sorted(arrays.items()))
    np.savez_compressed(file, allow_pickle=False, **ordered)
    return file.getvalue()
