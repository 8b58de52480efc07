"""`python -m train.stills --out FOLDER`: free photographs become a tile set and a cut-out set.

FOLDER/index.tsv    a line a picture that is used: where from, under which licence, which split
FOLDER/tiles.npy    (n, 3, size, size) uint8 RGB; tiles.tsv: the index's row and the split of each
FOLDER/cutouts.npy  (n, 4, size, size) uint8 RGBA; cutouts.tsv: likewise, and width / height
"""

import hashlib
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edge.cli import guarded
from edge.errors import DataError, UsageError
from edge.stderr import tell
from edge.types import Array, Image
from train.licences import licence_of
from train.packages import Apt, Package
from train.pictures import SUFFIXES, cut_out, fingerprint, is_photograph, read, tiles
from train.sources import SOURCES, SUITES, Source

TILE, CUT_OUT = 320, 96  # pixels a side
MOST_TILES = 6  # of one photograph
HELD_OUT = 0.1  # share of the pictures that training never sees
_HOLDER = 200  # characters of a list of authors that are kept
TWIN_BITS = 26  # of 256: fewer that differ make a twin


class Picture(msgspec.Struct, frozen=True):
    """A line of the index."""

    file: str
    package: str
    version: str
    licence: str
    holder: str
    sha256: str
    width: int
    height: int
    kind: str
    split: str


@dataclass
class Collection:
    """What was gathered so far; no two pictures are twins."""

    index: list[Picture] = field(default_factory=list)
    tiles: list[tuple[int, Image]] = field(default_factory=list)  # (row of the index, (s, s, 3))
    cutouts: list[tuple[int, Image, float]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    _seen: list[Array] = field(default_factory=list)

    def is_new(self, image: Image) -> bool:
        """Remember a picture; False where its twin is there."""
        bits = fingerprint(image)
        if self._seen and (np.stack(self._seen) != bits).sum(1).min() < TWIN_BITS:
            return False
        self._seen.append(bits)
        return True


def gather(package: Package, source: Source, collection: Collection) -> None:
    """Add what a package has: each picture is checked for its licence first, then looked at."""
    text = package.copyright
    for path in _files(package.folder, source):
        place = path.relative_to(package.folder).as_posix()
        licence = licence_of(text, source.place_in_source(place), whole=bool(source.tree))
        if not licence.is_free:
            collection.left_out[f"{package.name}: licence is {licence.name!r}"] += 1
            continue
        origin = (package, place, licence.name, licence.holder)
        reason = _add(path, origin, collection, sieved=not source.was_looked_at)
        if reason:
            collection.left_out[f"{package.name}: {reason}"] += 1


def _files(folder: Path, source: Source) -> Iterator[Path]:
    for path in sorted(folder.glob(source.pattern)):
        named = path.suffix.lower() in SUFFIXES and path.name not in source.without
        if named and path.is_file() and not path.is_symlink():
            yield path


def _add(
    path: Path, origin: tuple[Package, str, str, str], collection: Collection, sieved: bool
) -> str:
    """Add a picture; return why not, empty where it was."""
    image = read(path)
    if image is None:
        return "cannot be read"
    package, place, licence, holder = origin
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    cut = cut_out(image, CUT_OUT) if image.shape[2] == 4 else None
    cells = tiles(np.ascontiguousarray(image[..., :3]), TILE, MOST_TILES) if cut is None else []
    reason = "" if cut else _why_not(image, cells, sieved)
    if reason:
        return reason
    if not collection.is_new(image if cut is None else cut[0]):
        return "a twin of another"
    kind, row = "photo" if cut is None else "cut-out", len(collection.index)
    height, width = image.shape[:2]
    split = "held-out" if int(sha[:8], 16) < HELD_OUT * 2**32 else "train"
    known = (place, package.name, package.version, licence, holder[:_HOLDER])
    collection.index.append(Picture(*known, sha, width, height, kind, split))
    collection.tiles += [(row, tile) for tile in cells]
    if cut is not None:
        collection.cutouts.append((row, *cut))
    return ""


def _why_not(image: Image, cells: list[Image], sieved: bool) -> str:
    """Return what is wrong with a picture that is to be cut into tiles."""
    if min(image.shape[:2]) < 200 or _has_holes(image):
        return "too small, or a cut-out that is drawn, small or thin"
    if sieved and not is_photograph(np.ascontiguousarray(image[..., :3])):
        return "no photograph"
    return "" if cells else "flat in every tile"


def _has_holes(image: Image) -> bool:
    return bool(image.shape[2] == 4 and (image[..., 3] < 128).mean() > 0.02)


def write(collection: Collection, folder: Path) -> None:
    """Write index and sets; the same pictures give the same bytes.

    Raises:
        DataError: There is nothing to write.
    """
    if not collection.tiles or not collection.cutouts:
        found = f"{len(collection.tiles)} tiles and {len(collection.cutouts)} cut-outs"
        raise DataError(f"{folder}: {found} were found, both are needed; look at the list above")
    folder.mkdir(parents=True, exist_ok=True)
    index = collection.index
    heads = Picture.__struct_fields__
    lines = (tuple(getattr(picture, head) for head in heads) for picture in index)
    _table(folder / "index.tsv", heads, lines)
    stack = np.stack([tile for _, tile in collection.tiles])  # (n, s, s, 3)
    np.save(folder / "tiles.npy", np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))
    rows = ((row, index[row].split) for row, _ in collection.tiles)
    _table(folder / "tiles.tsv", ("row", "split"), rows)
    stack = np.stack([cut for _, cut, _ in collection.cutouts])  # (n, s, s, 4)
    np.save(folder / "cutouts.npy", np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))
    things = ((row, index[row].split, f"{aspect:.4f}") for row, _, aspect in collection.cutouts)
    _table(folder / "cutouts.tsv", ("row", "split", "aspect"), things)


def _table(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = ["\t".join(heads)]
    lines += ["\t".join(" ".join(str(cell).split()) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(collection: Collection) -> list[str]:
    """Return a line for each package, version and licence: how many photographs and cut-outs."""
    counts = Counter((p.package, p.version, p.licence, p.kind) for p in collection.index)
    keys = sorted({key[:3] for key in counts})
    return [
        f"{' | '.join(key)} | {counts[*key, 'photo']} photos, {counts[*key, 'cut-out']} cut-outs"
        for key in keys
    ]


def chosen(names: str) -> list[Source]:
    """Return the sources of the packages `a,b`, or all where none is named.

    Raises:
        UsageError: There is no such package among them.
    """
    wanted = [name for name in names.split(",") if name]
    known = {source.package for source in SOURCES}
    if unknown := sorted(set(wanted) - known):
        raise UsageError(
            f"--only: {unknown[0]} is no source of pictures; there are {', '.join(sorted(known))}"
        )
    return [source for source in SOURCES if not wanted or source.package in wanted]


def _run(args: Namespace) -> int:
    sources = chosen(args.only)
    collection = Collection()
    apt = Apt(args.cache or args.out / "packages", SUITES)
    apt.update()
    for source in sources:
        tell(f"{source.package} from {source.suite}")
        gather(apt.fetch(source.package, source.suite), source, collection)
    for reason, count in sorted(collection.left_out.items()):
        tell(f"left out {count:4}  {reason}")
    write(collection, args.out)
    print("\n".join(summary(collection)))
    kinds = Counter((picture.kind, picture.split) for picture in collection.index)
    for (kind, split), count in sorted(kinds.items()):
        print(f"{count} {kind}s, {split}")
    print(f"{args.out}: {len(collection.tiles)} tiles, {len(collection.cutouts)} cut-outs written")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Build the sets and return the exit code."""
    parser = ArgumentParser(prog="python -m train.stills", description="Get free photographs.")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--cache", type=Path, help="where packages are kept (OUT/packages)")
    parser.add_argument("--only", default="", metavar="A,B", help="packages; a small set, to try")
    args = parser.parse_args(argv)
    return guarded("train.stills", lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
