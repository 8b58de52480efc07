"""Free photographs: licences read, drawings left out, the same pictures give the same sets."""

import shutil
import struct
import subprocess
import zlib

import cv2
import numpy as np
import pytest

from edge.errors import DataError, SourceError, UsageError
from train import stills
from train.licences import licence_of
from train.packages import Apt, Package, unpack_resources
from train.pictures import cut_out, fingerprint, is_photograph, tiles
from train.sources import Source

DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020, A
License: CC-BY-SA-4.0

Files: art/secret.png
 art/more.jpg
Copyright: B
License: CC-BY-NC-4.0

Files: debian/*
Copyright: C
License: GPL-2+
"""


def photograph(seed=0, size=(300, 400)):
    random = np.random.default_rng(seed)
    image = np.zeros((*size, 3), np.float32)
    for scale in (4, 16, 64, 128):
        noise = random.uniform(0, 255, (size[0] // scale + 2, size[1] // scale + 2, 3))
        image += cv2.resize(noise.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image / 4, 0, 255).astype(np.uint8)


def drawing():
    image = np.full((300, 400, 3), 240, np.uint8)
    cv2.circle(image, (200, 150), 80, (200, 30, 40), -1)
    return image


def cut(seed=0):
    alpha = np.zeros((300, 400, 1), np.uint8)
    cv2.ellipse(alpha, (200, 150), (120, 60), 0, 0, 360, 255, -1)
    return np.concatenate([photograph(seed), alpha], 2)


def package(tmp_path, text=DEP5, **pictures):
    folder = tmp_path / "package"
    for part in ("usr/share/doc/wall", "usr/share/art"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "usr/share/doc/wall/copyright").write_text(text)
    for name, image in pictures.items():
        code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        cv2.imwrite(str(folder / f"usr/share/art/{name}.png"), cv2.cvtColor(image, code))
    return Package("wall", "1.0-1", folder)


def gathered(found, **source):
    collection = stills.Collection()
    stills.gather(found, Source("wall", **source), collection)
    return collection


def resources(compressed=1):
    """A Qt resource archive, version 2, of a/b.txt (stored) and a/c.txt (compressed)."""
    names, at = b"", {"": 0}
    for name in ("a", "b.txt", "c.txt"):
        at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    packed = struct.pack(">I", 5) + zlib.compress(b"hello")  # the length comes first
    contents = b"".join(struct.pack(">I", len(part)) + part for part in (b"bye", packed))
    entries = [
        ("", 2, 1, 1),  # name (the root's is void), flags, children, the first of them
        ("a", 2, 2, 2),
        ("b.txt", 0, 0, 0),  # ..., ..., land and language, where its content is
        ("c.txt", compressed, 0, 7),
    ]
    tree = b"".join(struct.pack(">IHIIQ", at[name], *rest, 0) for name, *rest in entries)
    start = 20
    parts = (2, start, start + len(tree), start + len(tree) + len(contents))
    return b"qres" + struct.pack(">4I", *parts) + tree + contents + names


@pytest.mark.parametrize(
    ("path", "name", "free"),
    [
        ("usr/share/wall/tree.jpg", "CC-BY-SA-4.0", True),
        ("usr/share/wall/secret.png", "CC-BY-NC-4.0", False),
        ("usr/share/wall/more.jpg", "CC-BY-NC-4.0", False),
    ],
)
def test_the_last_paragraph_that_names_a_file_gives_its_licence(path, name, free):
    licence = licence_of(DEP5, path)
    assert (licence.name, licence.is_free) == (name, free)


def test_prose_lists_are_read_by_file_name_and_silence_is_not_free():
    text = " - Road.jpg:\n - Sea.jpg\n   Copyright © 2012 Ann\n   Attribution-ShareAlike 3.0.\n\n"
    assert licence_of(text, "usr/share/Sea.jpg").name == "CC-BY-SA"
    assert licence_of(text, "usr/share/Sea.jpg").holder == "2012 Ann"
    assert not licence_of("All rights reserved.", "x.jpg").is_free
    assert not licence_of("Creative Commons Attribution NonCommercial", "x.jpg").is_free


def test_a_place_in_the_source_is_compared_whole_and_has_to_be_named():
    text = "Files: *\nLicense: MIT\n\nFiles: a/x.jpg\nLicense: CC0\n\nFiles: b/*\nLicense: ISC\n"
    assert licence_of(text, "a/x.jpg", whole=True).name == "CC0"
    assert licence_of(text, "b/c/x.jpg", whole=True).name == "ISC"
    assert licence_of(text, "d/x.jpg").name == "CC0"
    assert not licence_of(text, "d/x.jpg", whole=True).is_free


def test_the_place_in_the_source_begins_at_the_named_folder():
    source = Source("game", tree="src")
    assert source.place_in_source("usr/share/x.rcc/game/src/art/cow.jpg") == "src/art/cow.jpg"
    assert Source("game").place_in_source("usr/share/cow.jpg") == "usr/share/cow.jpg"


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("GPL-2+", True),
        ("CC0", True),
        ("Expat", True),
        ("public-domain", True),
        ("Evil or MIT", True),
        ("NONE", False),
        ("CC-BY-ND-3.0", False),
        ("GPL-3 and CC-BY-NC-2.0", False),
    ],
)
def test_only_listed_licences_are_free(name, free):
    assert licence_of(f"Files: *\nLicense: {name}\n", "a.png").is_free is free


def test_photographs_are_told_from_drawings():
    assert is_photograph(photograph())
    assert not is_photograph(drawing())


def test_a_picture_that_is_not_free_is_refused_before_it_is_looked_at(tmp_path):
    found = gathered(package(tmp_path, tree=photograph(1), secret=photograph(2), toy=drawing()))
    assert [picture.file for picture in found.index] == ["usr/share/art/tree.png"]
    assert found.left_out == {"wall: licence is 'CC-BY-NC-4.0'": 1, "wall: no photograph": 1}


def test_pictures_that_were_looked_at_are_not_sieved_but_need_a_tile(tmp_path):
    soft = cv2.resize(photograph(1)[:4, :4], (400, 300), interpolation=cv2.INTER_CUBIC)
    soft[:, 60:190] = photograph(2)[:, :130]  # two thirds are even, more than in a photograph
    plain = np.full((300, 400, 3), 90, np.uint8)
    found = package(tmp_path, soft=soft, plain=plain)
    assert gathered(found).left_out == {"wall: no photograph": 2}
    looked_at = gathered(found, was_looked_at=True)
    assert [picture.file for picture in looked_at.index] == ["usr/share/art/soft.png"]
    assert looked_at.left_out == {"wall: flat in every tile": 1}


def test_the_same_picture_in_another_size_is_used_once(tmp_path):
    small = cv2.resize(photograph(1), (280, 210), interpolation=cv2.INTER_AREA)
    found = gathered(package(tmp_path, a=photograph(1), b=small))
    assert [picture.file for picture in found.index] == ["usr/share/art/a.png"]
    assert (fingerprint(photograph(1)) != fingerprint(photograph(2))).sum() > stills.TWIN_BITS


def test_the_sets_are_the_same_bytes_each_time(tmp_path):
    found = package(tmp_path, a=photograph(1), b=photograph(2), c=cut(3))
    for name in ("one", "two"):
        stills.write(gathered(found), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    index = (tmp_path / "one" / "index.tsv").read_text().splitlines()
    assert index[0].startswith("file\tpackage\tversion\tlicence\tholder\tsha256\twidth")
    assert index[1].split("\t")[1:4] == ["wall", "1.0-1", "CC-BY-SA-4.0"]
    assert np.load(tmp_path / "one" / "cutouts.npy").shape == (1, 4, 96, 96)


def test_nothing_found_is_one_line(tmp_path):
    with pytest.raises(DataError, match="0 tiles and 0 cut-outs were found, both are needed"):
        stills.write(stills.Collection(), tmp_path)


def test_tiles_do_not_overlap_and_small_photographs_are_enlarged():
    cut = tiles(photograph(0, (800, 1200)), 200, 6)
    assert len(cut) == 6
    assert {tile.shape for tile in cut} == {(200, 200, 3)}
    assert [t.shape for t in tiles(photograph(0, (100, 160)), 200, 6)] == [(200, 200, 3)]


def test_a_cut_out_is_trimmed_to_what_is_opaque():
    image, aspect = cut_out(cut(), 96)
    assert aspect == pytest.approx(241 / 121)
    opaque = image[..., 3] > 127
    assert opaque.any(0).all()
    assert opaque.any(1).all()


def test_a_resource_archive_becomes_a_folder_of_its_files(tmp_path):
    archive = tmp_path / "game.rcc"
    archive.write_bytes(resources())
    unpack_resources(archive)
    files = {p.relative_to(archive).as_posix(): p.read_bytes() for p in archive.rglob("*.txt")}
    assert files == {"a/b.txt": b"bye", "a/c.txt": b"hello"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK12", "begins with b'PK12', not b'qres'; fetch it again"),
        (resources(compressed=4), "a/c.txt is compressed by zstd; take an older release"),
    ],
)
def test_a_resource_archive_that_cannot_be_read_is_one_line(tmp_path, content, message):
    (tmp_path / "game.rcc").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        unpack_resources(tmp_path / "game.rcc")


def test_without_apt_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SourceError, match="apt-get: is not installed; build the sets on a Debian"):
        Apt(tmp_path, ("bookworm",))


@pytest.mark.slow
def test_a_real_package_is_fetched_unpacked_and_its_licence_read(tmp_path):
    try:
        apt = Apt(tmp_path, ("trixie",))
        apt.update()
        found = apt.fetch("phosh-wallpapers", "trixie")
    except (SourceError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs apt and Debian's packages: {error}")
    collection = stills.Collection()
    stills.gather(found, Source("phosh-wallpapers"), collection)
    assert {picture.licence for picture in collection.index} == {"CC-BY-SA-4"}
    assert collection.index[0].version == found.version


def test_a_small_set_is_made_of_the_packages_that_are_named(tmp_path, capsys):
    assert {source.package for source in stills.chosen("scratch,python3-skimage")} == {
        "scratch",
        "python3-skimage",
    }
    assert stills.chosen("") == list(stills.SOURCES)
    assert stills.main(["--out", str(tmp_path), "--only", "no-such"]) == UsageError.exit_code
    assert "no-such is no source of pictures" in capsys.readouterr().err
