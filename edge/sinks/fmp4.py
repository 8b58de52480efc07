"""Fragmented MP4 of JPEG pictures: every fragment is one frame and complete in itself.

OpenCV's own writer fits neither a camera nor a power cut: an mp4 of its making cannot be opened
unless the writer was closed, it holds back up to half a megabyte of any other kind, has one fixed
frame rate, and says nothing when the disk is full. Here the head of the file is written once and
each frame adds one `moof` and `mdat` pair that carries its own time, so a file that just ends
plays up to there, and odd intervals between frames are kept. ISO/IEC 14496-12 and, for the `jpeg`
sample entry, the QuickTime File Format specification.
"""

from struct import pack

TICKS = 1000
"""Units of time a second: milliseconds."""
PAGE = 4096
"""Bytes that a file grows by, as far as a kill or a power cut can tell."""

_UNITY = pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # the matrix that turns nothing


def head(width: int, height: int) -> bytes:
    """Return what stands before the first frame: the file type, and a movie of one video track."""
    return _box(b"ftyp", b"qt  ", pack(">I", 512), b"qt  iso5") + _box(
        b"moov",
        _box(b"mvhd", pack(">12xIIIH10x", TICKS, 0, 1 << 16, 1 << 8), _UNITY, pack(">24xI", 2)),
        _box(
            b"trak",
            # flags 3: enabled, and part of the film
            _box(b"tkhd", pack(">I8xI20x", 3, 1), bytes(8), _UNITY, _fixed(width, height)),
            _media(width, height),
        ),
        _box(b"mvex", _box(b"trex", pack(">6I", 0, 1, 1, 0, 0, 0))),  # "fragments follow"
    )


def fragment(number: int, start: int, duration: int, jpeg: bytes) -> bytes:
    """Return one frame.

    Args:
        number: Counts fragments from 1.
        start: When the frame is shown, in ticks from the beginning.
        duration: How long, in ticks; the start of the next fragment overrules it.
        jpeg: The picture, of the size that `head` was given.
    """
    offset = _MOOF_LENGTH + 8  # the picture begins after the head of mdat
    return _moof(number, start, duration, len(jpeg), offset) + _box(b"mdat", jpeg)


def padding(position: int) -> bytes:
    """Return what to write before a fragment at `position` so that its moof is within one page.

    FFmpeg refuses a file that ends inside a moof, and plays one that ends anywhere else. A write
    that was cut short by a kill or a power cut ends between two pages.
    """
    room = -position % PAGE
    return _box(b"free", bytes(max(room - 8, 0))) if 0 < room < _MOOF_LENGTH else b""


def _moof(number: int, start: int, duration: int, size: int, offset: int) -> bytes:
    return _box(
        b"moof",
        _box(b"mfhd", pack(">II", 0, number)),
        _box(
            b"traf",
            _box(b"tfhd", pack(">II", 0x020000, 1)),  # offsets count from this moof
            _box(b"tfdt", pack(">IQ", 1 << 24, start)),
            # flags: the offset of the data, and each sample's duration and size
            _box(b"trun", pack(">IIiII", 0x000301, 1, offset, duration, size)),
        ),
    )


def _media(width: int, height: int) -> bytes:
    entry = _box(
        b"jpeg",
        pack(">6xH16xHH", 1, width, height),
        pack(">II4xH", 72 << 16, 72 << 16, 1),  # dots an inch; one frame a sample
        pack(">32pHh", b"JPEG", 24, -1),  # 24 bits, no colour table
    )
    no_samples = (_box(b"stts", bytes(8)), _box(b"stsc", bytes(8)), _box(b"stsz", bytes(12)))
    table = _box(b"stbl", _list(b"stsd", entry), *no_samples, _box(b"stco", bytes(8)))
    here = _box(b"dinf", _list(b"dref", _box(b"url ", pack(">I", 1))))  # 1: in this file
    return _box(
        b"mdia",
        _box(b"mdhd", pack(">12xIIHH", TICKS, 0, 0x55C4, 0)),  # 0x55C4: no language
        _box(b"hdlr", pack(">8x4s12xx", b"vide")),
        _box(b"minf", _box(b"vmhd", pack(">I8x", 1)), here, table),
    )


def _fixed(width: int, height: int) -> bytes:
    return pack(">II", width << 16, height << 16)


def _list(kind: bytes, entry: bytes) -> bytes:
    return _box(kind, pack(">II", 0, 1), entry)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return pack(">I4s", 8 + len(body), kind) + body


_MOOF_LENGTH = len(_moof(0, 0, 0, 0, 0))
