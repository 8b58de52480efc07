"""Words of a command line that more than one command takes, and what they mean."""

import os
from argparse import ArgumentTypeError, _ArgumentGroup
from pathlib import Path
from typing import Any

from edge.errors import DataError, UsageError


def add_pixels(group: _ArgumentGroup) -> None:
    """Declare how pixels become what a network is given."""
    group.add_argument("--colour", choices=("RGB", "BGR"), help="order of the channels")
    group.add_argument("--mean", type=_channels, metavar="M[,M,M]", help="0..255, subtracted first")
    group.add_argument("--scale", type=_channels, metavar="S[,S,S]", help="then multiplied")
    group.add_argument("--fit", choices=("letterbox", "stretch"), help="how frames are fitted in")
    group.add_argument("--place", choices=("centre", "top-left"), help="of a letterboxed picture")
    group.add_argument("--pad", type=_pixel, metavar="0..255", help="around a letterboxed picture")


def labels_of(words: str) -> tuple[str, ...]:
    """Return the labels of `a,b,c`, or of a file with one a line.

    Raises:
        DataError: The file is no text.
        UsageError: There is none.
    """
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


def _pixel(word: str) -> int:
    value = _float(word, 0.0, 255.0)
    if not value.is_integer():
        raise ArgumentTypeError(f"{word!r} is no whole number")
    return int(value)


def share(word: str) -> float:
    """Return a number from 0 to 1, as argparse wants its types."""
    return _float(word, 0.0, 1.0)


def rate(word: str) -> float:
    """Return frames a second, as argparse wants its types."""
    return _float(word, 0.001, 1000.0)


def seconds(word: str) -> float:
    """Return a time in seconds, as argparse wants its types."""
    return _float(word, 0.0, 86_400.0)


def megabytes(word: str) -> float:
    """Return a size in 10^6 bytes, as argparse wants its types."""
    return _float(word, 0.001, 1e9)


def minutes(word: str) -> float:
    """Return a time in minutes, as argparse wants its types."""
    return _float(word, 0.01, 6e7)


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
