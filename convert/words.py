"""The words of `edgetrack-convert` and what each may be."""

import argparse
import os
import re
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edge.cli import Version
from edge.commands.words import add_pixels, share
from edge.manifest import Accepted, NetworkFormat, QuantisationMode, Scope
from edge.types import Array

_FORMATS: tuple[NetworkFormat, ...] = get_args(NetworkFormat)
UNSTATED = "unstated"
"""What a manifest says of weights whose terms nobody gave."""
_EPILOG = """MODEL: a .keras or .h5 file, a SavedModel folder of Keras 2, PyTorch's module:Class and
--weights or .pt2 file, an .onnx sequence or step model, a .tflite step model.
exit codes: 0 done, 2 usage, 65 the model or the samples are refused, 69 something is not
installed, 73 the bundle cannot be written; docs/convert.md has it all"""


def parser() -> ArgumentParser:
    """Return the parser of the command line."""
    words = ArgumentParser(
        prog="edgetrack-convert",
        description="Turn a trained recurrent model into a bundle that runs one step at a time, "
        "and prove that it is the same model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument("--program-version", action=Version, nargs=0, help="of edgetrack, and exit")
    words.add_argument("model", metavar="MODEL", help="see below")
    words.add_argument("--out", type=Path, metavar="DIR", help="the bundle; must not exist yet")
    words.add_argument(
        "--kind",
        choices=("sequence", "tracker"),
        default="sequence",
        help="tracker: a PyTorch module with the parts encoder and step; default: sequence",
    )
    words.add_argument("--explain", action="store_true", help="print what was found and stop")
    words.add_argument(
        "--to", type=_targets, metavar="F[,F]", help="tflite,onnx; default: all that it can become"
    )
    words.add_argument(
        "--quantise",
        choices=get_args(QuantisationMode),
        default="none",
        help="smaller numbers; default none",
    )
    words.add_argument(
        "--integer-states",
        action="store_true",
        help="with int8: states and all other tensors between networks and runtime are int8 too",
    )
    words.add_argument(
        "--samples", type=Path, metavar="PATH", help="a video, a folder of pictures, .npy or .npz"
    )
    words.add_argument(
        "--steps", type=_steps, default=200, metavar="N", help="compared with the source, 200"
    )
    words.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=get_args(Accepted),
        help="write the bundle although; it says so itself; repeatable",
    )
    _add_source(words.add_argument_group("the source"))
    _add_bundle(words.add_argument_group("the bundle"))
    add_pixels(words.add_argument_group("pixels, where the model sees a picture"))
    _add_crop(words.add_argument_group("crops, that a tracker sees"))
    return words


def _add_source(group: Any) -> None:
    group.add_argument("--weights", type=Path, metavar="FILE", help="state_dict for module:Class")
    group.add_argument(
        "--shape",
        type=_shape,
        action="append",
        default=[],
        metavar="NAME=N,N",
        help="of one frame, where the source does not fix it, x=3,64,64; repeatable",
    )
    group.add_argument(
        "--state",
        type=_pair,
        action="append",
        default=[],
        metavar="IN=OUT",
        help="input and output of a state, where names do not tell; repeatable",
    )
    group.add_argument(
        "--constant",
        type=_constant,
        action="append",
        default=[],
        metavar="NAME=V",
        help="an input that has one value for good, a number or a .npy; repeatable",
    )
    group.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="with custom layers or rules; repeatable",
    )
    group.add_argument("--fuse", action="store_true", help="encoder and step in one network")
    group.add_argument(
        "--trust", action="store_true", help="run the code in pickles and Lambda layers"
    )


def _add_bundle(group: Any) -> None:
    group.add_argument("--name", help="default: the folder's name")
    group.add_argument("--version", default="1", help="default: 1")
    group.add_argument(
        "--licence", default=UNSTATED, help="of the weights, such as Apache-2.0; default: unstated"
    )
    group.add_argument("--origin", help="where the weights come from; default: the file's name")
    group.add_argument("--labels", help="a,b,c, or a file with a label a line")
    group.add_argument(
        "--decode",
        choices=("auto", "classes", "values"),
        default="auto",
        help="what the output means; default: classes where there are labels",
    )
    group.add_argument(
        "--scope",
        choices=get_args(Scope),
        help="whose the state is; per_track: any number of rows at once; default: per_stream, of a "
        "tracker per_track",
    )
    group.add_argument(
        "--reset-after-gap",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="a longer gap in capture starts a new state; 0: never",
    )


def _add_crop(group: Any) -> None:
    group.add_argument(
        "--context", type=_context, metavar="N", help="how many times the target's box, 2"
    )
    group.add_argument(
        "--square", type=share, metavar="0..1", help="0: of the box's shape, 1: a square; 0"
    )


def _targets(word: str) -> tuple[NetworkFormat, ...]:
    wanted = tuple(dict.fromkeys(word.split(",")))
    if not wanted or any(part not in _FORMATS for part in wanted):
        raise ArgumentTypeError(f"{word!r}: name tflite, onnx or both, tflite,onnx")
    return wanted  # type: ignore[return-value]  # as checked


def _steps(word: str) -> int:
    if not word.isdecimal() or not 50 <= int(word) <= 1_000_000:
        raise ArgumentTypeError(f"{word!r} is no whole number from 50 to 1000000")
    return int(word)


def _seconds(word: str) -> float:
    with suppress(ValueError):
        if 0 <= float(word) <= 3600:
            return float(word)
    raise ArgumentTypeError(f"{word!r} is no number from 0 to 3600")


def _context(word: str) -> float:
    with suppress(ValueError):
        if 1 <= float(word) <= 20:
            return float(word)
    raise ArgumentTypeError(f"{word!r} is no number from 1 to 20")


def _pair(word: str) -> tuple[str, str]:
    left, equals, right = word.partition("=")
    if not (left and equals and right):
        raise ArgumentTypeError(f"{word!r}: write INPUT=OUTPUT")
    return left, right


def _shape(word: str) -> tuple[str, tuple[int, ...]]:
    name, _, sides = word.rpartition("=")
    parts = sides.split(",")
    if not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentTypeError(f"{word!r}: write NAME=N,N, such as x=3,64,64")
    return name, tuple(map(int, parts))


def _constant(word: str) -> tuple[str, Array]:
    name, _, value = word.partition("=")
    try:
        if os.path.isfile(value):
            return name, np.load(value, allow_pickle=False)
        return name, np.array(int(value) if re.fullmatch(r"-?\d+", value) else float(value))
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(
            f"{word!r}: {value!r} is no number and no .npy file; write NAME=VALUE"
        ) from error
