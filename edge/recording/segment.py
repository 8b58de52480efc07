"""A segment: frames with their clocks in one file, of which every one is whole or told as torn.

    signature   8 bytes; its line ends tell a copy in text mode
    head        who recorded, and how
    shots       one a frame, in order

Head and shots are chunks: four letters, the lengths of what follows and a CRC-32 of it all, then
JSON, then a picture, PNG or JPEG. A shot without a picture has that of the shot before it. The
first shot of a segment has its own, so segments are read on their own.
"""

import logging
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from zlib import crc32

import cv2
import msgspec
import numpy as np

from edge.errors import DataError
from edge.types import CameraState, Clock, Condition, Frame, Image

_log = logging.getLogger(__name__)

FORMAT = 1
SIGNATURE = b"\x89EREC\r\n\x1a"
_HEAD, _SHOT = b"HEAD", b"SHOT"
_START = struct.Struct(">4sIII")
_UNSUMMED = _START.size - 4
_LARGEST_TEXT, _LARGEST_PICTURE = 1 << 16, 1 << 28
_LOOK_BYTES = 1 << 28  # how far after a torn shot another one is looked for
# Of PNG's ways the fastest: the mean of two neighbours, then Huffman codes alone. OpenCV's level 1
# takes twice the time for files as large, because the noise of a camera never repeats.
_LOSSLESS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_LOSSLESS += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # older OpenCV chooses it itself, which is slower
    _LOSSLESS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all frames of a segment share."""

    format: int
    camera: str
    run: str
    """The run of the program that saw them."""
    quality: int | None = None
    """Of JPEG, 1 to 100; None: as captured, to the bit."""
    settings: Mapping[str, Any] = {}
    """Of that run, without secrets; empty where nobody said."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The clocks of one frame, and what it was worth; see `Frame` and `Record`."""

    index: int
    captured_at: float
    time: float
    clock: Clock = "driver"
    condition: Condition = "good"
    state: CameraState = "streaming"


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as the tracker was given it."""

    frame: Frame
    state: CameraState
    """Of the camera then."""
    head: Head


def encoded(image: Image, quality: int | None) -> bytes:
    """Return a picture as a PNG file, or as a JPEG file of that quality.

    Raises:
        ValueError: It is too large for that.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    lossy = [cv2.IMWRITE_JPEG_QUALITY, quality or 0]
    try:
        if quality is None:
            done, data = cv2.imencode(".png", bgr, _LOSSLESS)
        else:
            done, data = cv2.imencode(".jpg", bgr, lossy)
    except cv2.error:
        done = False
    if not done or data.size > _LARGEST_PICTURE:
        raise ValueError(f"a picture of {image.shape[1]}x{image.shape[0]} is too large")
    return data.tobytes()


def head_bytes(head: Head) -> bytes:
    """Return how a segment begins."""
    text = msgspec.json.encode(head)
    if len(text) > _LARGEST_TEXT:
        text = msgspec.json.encode(msgspec.structs.replace(head, settings={}))
    return SIGNATURE + _chunk(_HEAD, text, b"")


def shot_bytes(stamp: Stamp, picture: bytes) -> bytes:
    """Return one shot; without a picture it has that of the shot before."""
    return _chunk(_SHOT, msgspec.json.encode(stamp), picture)


def read_head(file: BinaryIO, name: str) -> Head | None:
    """Read how a segment begins; None where its writer came no further.

    Raises:
        DataError: It is no segment, or one of another format.
    """
    start = file.read(len(SIGNATURE))
    if start != SIGNATURE[: len(start)]:
        raise DataError(f"{name}: is no recording of edgetrack; name a folder, segment or report")
    chunk = _read_chunk(file)
    if chunk is None:
        _leave_out(file, 0, name)
        return None
    return _head_of(chunk, name)


def read_shots(file: BinaryIO, name: str, head: Head) -> Iterator[Shot]:
    """Read what follows the head; a shot that was cut off at the end is left out, with a warning.

    Raises:
        DataError: There is damage with whole shots after it; raised after all before it.
    """
    image: Image | None = None
    while True:
        at = file.tell()
        chunk = _read_chunk(file)
        if chunk is None:
            _leave_out(file, at, name)
            return
        stamp = _stamp_of(chunk, name)
        image = _decoded(chunk[2], name) if chunk[2] else image
        if image is None:
            raise _damage(name, at)
        clocks = (stamp.index, stamp.captured_at, stamp.clock, stamp.time)
        yield Shot(Frame(image, *clocks, stamp.condition), stamp.state, head)


def _chunk(kind: bytes, text: bytes, picture: bytes) -> bytes:
    lengths = struct.pack(">4sII", kind, len(text), len(picture))
    total = crc32(picture, crc32(text, crc32(lengths)))
    return b"".join((lengths, struct.pack(">I", total), text, picture))


def _read_chunk(file: BinaryIO) -> tuple[bytes, bytes, bytes] | None:
    """Return kind, text and picture of the chunk that comes; None where none whole does."""
    start = file.read(_START.size)
    if len(start) < _START.size:
        return None
    kind, text_size, picture_size, total = _START.unpack(start)
    if kind not in (_HEAD, _SHOT) or text_size > _LARGEST_TEXT or picture_size > _LARGEST_PICTURE:
        return None
    text, picture = file.read(text_size), file.read(picture_size)
    if crc32(picture, crc32(text, crc32(start[:_UNSUMMED]))) != total:
        return None
    return kind, text, picture


def _leave_out(file: BinaryIO, at: int, name: str) -> None:
    """Say that what begins at `at` is no whole chunk, if there is anything.

    Raises:
        DataError: A whole shot follows, so this is no end that was cut off.
    """
    file.seek(at)
    rest = file.read(_LOOK_BYTES)
    for found in re.finditer(_SHOT, rest):
        file.seek(at + found.start())
        if _read_chunk(file):
            raise _damage(name, at)
    if rest:
        _log.warning(
            "%s: its last %d bytes are no whole frame, as after a kill; they are left out",
            *(name, len(rest)),
        )


def _head_of(chunk: tuple[bytes, bytes, bytes], name: str) -> Head:
    kind, text, _ = chunk
    try:
        raw = msgspec.json.decode(text)
        found = raw.get("format") if kind == _HEAD and isinstance(raw, dict) else "none"
        if found != FORMAT:
            raise DataError(
                f"{name}: format is {found}, this edgetrack reads {FORMAT}; "
                "read it with the edgetrack that wrote it, or a newer one"
            )
        return msgspec.convert(raw, Head)
    except msgspec.DecodeError as error:
        raise DataError(f"{name}: its head is damaged, {error}; copy it again") from error


def _stamp_of(chunk: tuple[bytes, bytes, bytes], name: str) -> Stamp:
    kind, text, _ = chunk
    try:
        if kind == _SHOT:
            return msgspec.json.decode(text, type=Stamp)
    except msgspec.DecodeError as error:
        raise DataError(f"{name}: a frame's clocks are damaged, {error}; copy it again") from error
    raise DataError(f"{name}: has a second head; copy it again")


def _decoded(picture: bytes, name: str) -> Image:
    try:
        bgr = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that claims a billion pixels
        bgr = None
    if bgr is None:
        raise DataError(f"{name}: a picture is damaged ({len(picture)} bytes); copy it again")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _damage(name: str, at: int) -> DataError:
    return DataError(f"{name}: is damaged at byte {at}; copy it again, or remove it")
