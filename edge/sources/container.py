"""Tell a video file that was cut short from a whole one, by the sizes its container states."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"  # the first bytes of Matroska and WebM
_SEGMENT = b"\x18\x53\x80\x67"


def stated_size(path: Path) -> int:
    """Return how many bytes long the container says the file is; 0 where it does not say.

    Reads a few bytes of each top-level box, never the data. A file shorter than this was cut
    short: a copy that broke off, a full disk, a recorder that lost power. Counts of frames are
    no such evidence: in healthy Matroska, AVI and trimmed MP4 files they differ from what
    decodes.
    """
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        walk = _walk_of(start)
        return walk(file) if walk else 0


def _walk_of(start: bytes) -> Callable[[BinaryIO], int] | None:
    if start[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
        return _end_of_mp4
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return _end_of_riff
    return _end_of_matroska if start[:4] == _EBML else None


def _end_of_mp4(file: BinaryIO) -> int:
    """Follow the boxes of ISO/IEC 14496-12: a 32-bit size and a type, or size 1 and 64 bits."""
    end = 0
    while len(head := file.read(16)) >= 8:
        size = struct.unpack(">I", head[:4])[0]
        if size == 1 and len(head) == 16:
            size = struct.unpack(">Q", head[8:])[0]
        if size < 8:  # 0: the box ends where the file ends; others are no boxes
            return end
        end += size
        file.seek(end)
    return end


def _end_of_riff(file: BinaryIO) -> int:
    """Follow the RIFF chunks of an AVI file; files above 1 GB hold more than one."""
    end = 0
    while len(head := file.read(8)) == 8 and head[:4] == b"RIFF":
        size = struct.unpack("<I", head[4:])[0]
        if size == 0:  # the recorder never came to write it
            return 0
        end += 8 + size + size % 2
        file.seek(end)
    return end


def _end_of_matroska(file: BinaryIO) -> int:
    """Read the size of the segment after the EBML header (RFC 8794); live recordings state none."""
    file.seek(len(_EBML))
    header = _ebml_size(file)
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return 0
    size = _ebml_size(file)
    return file.tell() + size if size else 0


def _ebml_size(file: BinaryIO) -> int:
    """Read a variable-length size: the first set bit tells the length; all ones mean unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return 0
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << bits) - 1)
    return 0 if value == (1 << bits) - 1 else value
