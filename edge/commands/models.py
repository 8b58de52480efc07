"""Model bundles: what is installed, what they are, whether they are sound, and new ones."""

import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edge import bundle as bundles
from edge.backends import available
from edge.commands import Commands
from edge.errors import BackendError, BundleError, DataError, SinkError, UsageError
from edge.importing import PIXELS, Request, import_detector
from edge.manifest import NAME
from edge.step import StepModel, replay_golden


def add(commands: Commands) -> None:
    """Declare the command and its four verbs."""
    parser = commands.add_parser("models", help="model bundles", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    lists = verbs.add_parser("list", help="list installed bundles")
    lists.set_defaults(command=_list)
    show = verbs.add_parser("show", help="print a bundle's manifest")
    show.add_argument("model", help="name or folder")
    show.set_defaults(command=_show)
    verify = verbs.add_parser(
        "verify", help="check hashes and tensors, replay the golden recording in every interpreter"
    )
    verify.add_argument("model", help="name or folder")
    verify.set_defaults(command=_verify)
    _add_import(verbs.add_parser("import", help="make a bundle of a .tflite or .onnx detector"))


def _add_import(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help=".tflite or .onnx")
    parser.add_argument("--decode", required=True, choices=tuple(PIXELS), help="the head's family")
    parser.add_argument("--labels", required=True, help="a,b,c, or a file with a label a line")
    parser.add_argument("--licence", required=True, help="of the weights, such as Apache-2.0")
    parser.add_argument("--origin", default="", help="where the weights come from")
    parser.add_argument("--name", help="default: the file's name")
    parser.add_argument("--version", default="1", help="of the bundle, default 1")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the user's model folder")
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="where the network takes any size"
    )
    parser.add_argument("--score", type=_share, default=0.5, help="threshold, default 0.5")
    parser.add_argument("--nms", type=_share, default=0.45, help="overlap allowed, default 0.45")
    pixels = parser.add_argument_group("pixels, where they differ from the family's custom")
    pixels.add_argument("--colour", choices=("RGB", "BGR"), help="order of the channels")
    pixels.add_argument(
        "--mean", type=_channels, metavar="M[,M,M]", help="0..255, subtracted first"
    )
    pixels.add_argument("--scale", type=_channels, metavar="S[,S,S]", help="then multiplied")
    pixels.add_argument("--fit", choices=("letterbox", "stretch"), help="how frames are fitted in")
    pixels.add_argument("--place", choices=("centre", "top-left"), help="of a letterboxed picture")
    pixels.add_argument("--pad", type=_pixel, metavar="0..255", help="around a letterboxed picture")
    parser.set_defaults(command=_import)


def _list(_args: Namespace) -> int:
    for name, folder in sorted(bundles.installed().items()):
        try:
            manifest = bundles.load(folder).manifest
        except BundleError as error:
            print(f"{name}  broken  {error}")
            continue
        formats = sorted({fmt for files in manifest.networks.values() for fmt in files})
        print(f"{name}  {manifest.kind}  {', '.join(formats)}  {manifest.licence}  {folder}")
    return 0


def _show(args: Namespace) -> int:
    manifest = bundles.load(bundles.find(args.model)).manifest
    print(msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode())
    return 0


def _verify(args: Namespace) -> int:
    bundle = bundles.load(bundles.find(args.model))
    print(f"{bundle.folder}: files are as the manifest says")
    formats = {fmt for files in bundle.manifest.networks.values() for fmt in files}
    tried = [b for b in available() if ("onnx" if b == "onnx" else "tflite") in formats]
    if not tried:
        raise BackendError(
            f"{bundle.folder}: has {', '.join(sorted(formats))} and no interpreter for it is "
            "installed; pip install 'edgetrack[all]'"
        )
    for backend in tried:
        model = StepModel(bundle, backend)
        difference = replay_golden(model)
        print(f"{model.backend}: differs from the recording by {difference:.2g} at most")
    return 0


def _import(args: Namespace) -> int:
    pixels = PIXELS[args.decode]
    given = {key: getattr(args, key) for key in ("colour", "mean", "scale", "fit", "place", "pad")}
    pixels = replace(pixels, **{key: value for key, value in given.items() if value is not None})
    name = args.name or args.file.stem.lower().replace(" ", "-")
    folder = args.out or bundles.user_folder() / name
    if not re.fullmatch(NAME, name):
        raise UsageError(f"--name {name!r}: use a-z, 0-9, '.', '_' and '-', up to 64 of them")
    if not args.out:
        _make_folder(folder.parent)
    request = Request(
        name=name,
        version=args.version,
        licence=args.licence,
        origin=args.origin or args.file.name,
        labels=_labels(args.labels),
        family=args.decode,
        pixels=pixels,
        size=args.size,
        score_threshold=args.score,
        nms_iou=args.nms,
    )
    bundle = import_detector(args.file, request, folder)
    print(f"{bundle.folder}: written; `edgetrack models verify {args.out or name}` checks it")
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{folder}: cannot be made, {error.strerror}; use --out") from error


def _labels(words: str) -> tuple[str, ...]:
    lines = words.split(",")
    try:
        if os.path.isfile(words):  # unlike Path's, false for names too long for a file
            lines = Path(words).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{words}: is no list of labels, {error}; write one a line") from error
    labels = tuple(label.strip() for label in lines if label.strip())
    if not labels:
        raise UsageError(f"--labels {words!r}: names nothing; give a,b,c or a file")
    return labels


def _size(word: str) -> tuple[int, int]:
    height, _, width = word.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ArgumentTypeError(f"{word!r} is no size; write HEIGHTxWIDTH, such as 320x320")
    if not (16 <= int(height) <= 4096 and 16 <= int(width) <= 4096):
        raise ArgumentTypeError(f"{word!r}: sides are from 16 to 4096")
    return int(height), int(width)


def _pixel(word: str) -> int:
    value = _float(word, 0.0, 255.0)
    if not value.is_integer():
        raise ArgumentTypeError(f"{word!r} is no whole number")
    return int(value)


def _share(word: str) -> float:
    return _float(word, 0.0, 1.0)


def _channels(word: str) -> tuple[Any, ...]:
    values = tuple(_float(part, -1e6, 1e6) for part in word.split(","))
    if len(values) not in (1, 3):
        raise ArgumentTypeError(f"{word!r}: give one number or three")
    return values * 3 if len(values) == 1 else values


def _float(word: str, lowest: float, highest: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not lowest <= value <= highest:
        raise ArgumentTypeError(f"{word!r} is no number from {lowest:g} to {highest:g}")
    return value
