"""Free photographs: licences read, drawings left out, the same pictures give the same sets."""

import shutil
import subprocess

import cv2
import numpy as np
import pytest

from edge.errors import DataError, SourceError
from train import stills
from train.licences import licence_of
from train.packages import Apt, Package
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


def gathered(found):
    collection = stills.Collection()
    stills.gather(found, Source("wall"), collection)
    return collection


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
