"""Model bundles: what is installed, what they are, whether they are sound, and new ones."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path

import msgspec

from edge import bundle as bundles
from edge import proof, store
from edge.bundle import Bundle
from edge.commands import Commands
from edge.commands.words import add_pixels, labels_of, share
from edge.errors import BundleError, SinkError, UsageError
from edge.importing import PIXELS, Request, import_detector
from edge.manifest import NAME
from edge.stderr import tell


def add(commands: Commands) -> None:
    """Declare the command and its verbs."""
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
    install = verbs.add_parser("install", help="verify a bundle, copy it and switch to it")
    install.add_argument("folder", type=Path, metavar="DIR", help="the bundle")
    install.set_defaults(command=_install)
    activate = verbs.add_parser("activate", help="verify an installed version and switch to it")
    activate.add_argument("name", type=_name, help="of the model")
    activate.add_argument("version", help="or how its folder's name begins")
    activate.set_defaults(command=_activate)
    rollback = verbs.add_parser("rollback", help="switch back to the version before")
    rollback.add_argument("name", type=_name, help="of the model")
    rollback.set_defaults(command=_rollback)
    install.add_argument("--place", type=Path, metavar="FOLDER", help="default: the user's models")
    for verb in (activate, rollback):
        verb.add_argument("--place", type=Path, metavar="FOLDER", help="default: where NAME is")


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
    parser.add_argument("--score", type=share, default=0.5, help="threshold, default 0.5")
    parser.add_argument("--nms", type=share, default=0.45, help="overlap allowed, default 0.45")
    add_pixels(parser.add_argument_group("pixels, where they differ from the family's custom"))
    parser.set_defaults(command=_import)


def _list(_args: Namespace) -> int:
    for name, folder in sorted(bundles.installed().items()):
        others = store.versions(folder.parent) if store.role(folder) else []
        for path in sorted({folder, *others}):
            print(f"{name}  {_described(path)}  {store.role(path)}".rstrip())
    return 0


def _described(folder: Path) -> str:
    try:
        manifest = bundles.load(folder).manifest
    except BundleError as error:
        return f"broken  {error}"
    formats = ", ".join(sorted(proof.formats(manifest)))
    about = (manifest.kind, manifest.version, formats, manifest.licence, str(folder))
    return "  ".join(about)


def _show(args: Namespace) -> int:
    manifest = bundles.load(bundles.find(args.model)).manifest
    print(msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode())
    return 0


def _verify(args: Namespace) -> int:
    bundle = bundles.load(bundles.find(args.model))
    print(f"{bundle.folder}: files are as the manifest says")
    for model in proof.opened(bundle):
        print(proof.replayed(model))
    return 0


def _install(args: Namespace) -> int:
    place = args.place or bundles.user_folder()
    bundle = bundles.load(args.folder)
    store.refuse_plain(place / bundle.manifest.name)
    _prove(bundle)
    folder, changed = store.install(bundle, place)
    print(f"{folder}: installed, current" if changed else f"{folder}: current already, unchanged")
    return 0


def _activate(args: Namespace) -> int:
    folder = store.choose(_home(args), args.version)
    _prove(bundles.load(folder))
    store.activate(folder)
    print(f"{folder}: current")
    return 0


def _rollback(args: Namespace) -> int:
    folder = store.rollback(_home(args))
    print(f"{folder or bundles.find(args.name)}: current")
    return 0


def _home(args: Namespace) -> Path:
    """Return the folder with the versions of a model: the first there is, or that in `--place`."""
    places = [args.place] if args.place else bundles.model_folders()
    for home in [place / args.name for place in places]:
        store.refuse_plain(home)
        if store.versions(home):
            return home
    where = f" in {args.place}" if args.place else ""
    raise BundleError(
        f"{args.name}: no version of it is installed{where}; see `edgetrack models list`"
    )


def _prove(bundle: Bundle) -> None:
    """Run a bundle in every interpreter that can: what is switched to works on this device."""
    for line in proof.prove(bundle):
        print(line)
    if doubt := proof.doubt(bundle):
        tell(f"edgetrack: warning: {doubt}")


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
        labels=labels_of(args.labels),
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


def _name(word: str) -> str:
    if not re.fullmatch(NAME, word):
        raise ArgumentTypeError(f"{word!r}: names are of a-z, 0-9, '.', '_' and '-', up to 64")
    return word


def _size(word: str) -> tuple[int, int]:
    height, _, width = word.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ArgumentTypeError(f"{word!r} is no size; write HEIGHTxWIDTH, such as 320x320")
    if not (16 <= int(height) <= 4096 and 16 <= int(width) <= 4096):
        raise ArgumentTypeError(f"{word!r}: sides are from 16 to 4096")
    return int(height), int(width)
