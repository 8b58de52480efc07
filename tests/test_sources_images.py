"""Folders of images, and addresses that name nothing."""

import os
import socket
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import SourceSettings
from edge.errors import DataError, SourceError, UsageError
from edge.sources import open_source

SETTINGS = SourceSettings(fps=10)


def save(path: Path, rgb: tuple[int, int, int], size: tuple[int, int] = (48, 64)) -> None:
    assert cv2.imwrite(str(path), np.full((*size, 3), rgb[::-1], np.uint8))


def test_images_come_sorted_by_name_at_the_given_rate_in_rgb(tmp_path: Path) -> None:
    save(tmp_path / "0010.png", (0, 0, 250))
    save(tmp_path / "0002.PNG", (250, 0, 0), (20, 30))
    (tmp_path / "notes.txt").write_text("not an image")
    source = open_source(str(tmp_path), SETTINGS)
    first, second, end = source.read(), source.read(), source.read()
    assert first is not None
    assert second is not None
    assert end is None
    assert first.image[0, 0].tolist() == [250, 0, 0]
    assert (first.image.shape, second.image.shape) == ((20, 30, 3), (48, 64, 3))
    assert (first.captured_at, second.captured_at, second.clock) == (0.0, 0.1, "nominal")
    assert (source.live, source.fps) == (False, 10)


def test_one_image_is_a_folder_of_one(tmp_path: Path) -> None:
    save(tmp_path / "one.bmp", (1, 2, 3))
    source = open_source(str(tmp_path / "one.bmp"), SETTINGS)
    assert source.read() is not None
    assert source.read() is None


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder holds no images; put jpg"):
        open_source(str(tmp_path), SETTINGS)


@pytest.mark.parametrize("name", ["b.jpg", "b.png", "b.webp"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_image_is_named(tmp_path: Path, name: str, share: float) -> None:
    save(tmp_path / "a.png", (9, 9, 9))
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / name), noise)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    source = open_source(str(tmp_path), SETTINGS)
    assert source.read() is not None
    with pytest.raises(DataError, match=rf"{name}: not a readable image, or damaged \(\d+ bytes\)"):
        source.read()


def test_a_header_that_claims_a_billion_pixels_is_a_damaged_image(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    content = start + struct.pack(">I", zlib.crc32(header)) + bytes(100)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: not a readable image, or damaged \(133 bytes\)"):
        open_source(str(tmp_path), SETTINGS).read()


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.png"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: is no video file but a pipe; give a camera"):
            open_source(str(tmp_path / name), SETTINGS)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(DataError, match="s: is no video file but a socket; give a camera"):
            open_source(str(tmp_path / "s"), SETTINGS)


def test_a_pipe_in_a_folder_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="the folder holds no images"):
        open_source(str(tmp_path), SETTINGS)


def test_a_name_that_is_too_long_is_an_absent_source() -> None:
    with pytest.raises(SourceError, match=r"a: cannot be read \(File name too long\); check the"):
        open_source("a" * 300, SETTINGS)
    with pytest.raises(SourceError, match="there is no such file or folder"):
        open_source("take:" + "a" * 300, SETTINGS)


def test_a_long_address_is_no_file_name() -> None:
    with pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:1/\.\.\.: "):
        open_source("rtsp://127.0.0.1:1/" + "a" * 300, SETTINGS)


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(SourceError, match=r"cannot be read \(Permission denied\)"):
            open_source(str(tmp_path), SETTINGS)
    finally:
        os.seteuid(user)


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", (9, 9, 9))
    source = open_source(str(tmp_path), SETTINGS)
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png: cannot be read"):
        source.read()


def test_closing_ends_the_images(tmp_path: Path) -> None:
    save(tmp_path / "a.png", (9, 9, 9))
    source = open_source(str(tmp_path), SETTINGS)
    source.close()
    assert source.read() is None


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "source '': the address is empty; give a camera"),
        ("csi:x", "is no camera; write csi:N, such as csi:0"),
        ("http://me:secret@host/", r"http://\.\.\.: no source of this kind is known"),
        ("rtsp:me:secret@host", r"rtsp://\.\.\.: no source of this kind is known"),
        ("synthetic:landscape", "there is no synthetic source 'landscape'"),
        ("synthetic:portrait?frames=many", "frames=many is no option here"),
        ("synthetic:portrait?speed=2", "speed=2 is no option here"),
    ],
)
def test_an_address_of_an_unknown_kind_is_refused(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        open_source(uri, SETTINGS)
    assert "secret" not in str(raised.value)
