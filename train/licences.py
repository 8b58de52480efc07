"""Licences: what a Debian package's `copyright` says of a picture, and whether that is free."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

FREE = re.compile(
    r"""(?x)^(
      cc0([-\ ].*)? | cc-by(-sa)?([-\ ]?[1-4](\.[05])?)?(-\w\w)? | [al]?gpl([-\ ].*)?
    | expat | mit | isc | zlib | wtfpl | bsd([-\ ].*)? | apache([-\ ].*)? | artistic([-\ ].*)?
    | psf.* | python.* | public[-\ ]domain([-\ ].*)? | cecill([-\ ].*)? | mpl([-\ ].*)?
    )$""",
    re.IGNORECASE,
)
"""Licences under which a picture may be used for training, by their short names."""

_PLAIN = (
    ("CC-BY-SA", r"attribution[- ]share\s?alike"),
    ("CC-BY", r"creative commons attribution (?!.*(?:non-?commercial|noderiv))"),
    ("CC0", r"\bcc0\b"),
    ("public-domain", r"public domain"),
    ("LGPL", r"lesser general public licen[sc]e"),
    ("GPL", r"gnu general public licen[sc]e"),
)
_UNFREE = re.compile(r"non-?commercial|no-?deriv|by-n[cd]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of one picture; `name` as it is written in the package."""

    name: str
    holder: str

    @property
    def is_free(self) -> bool:
        """True where every part of a conjunction, or one of a choice, is on the list."""
        wanted = (part.split(" and ") for part in self.name.lower().split(" or "))
        return any(all(FREE.match(name.strip(" ,")) for name in names) for names in wanted)


UNKNOWN = Licence("not stated", "")


def licence_of(copyright_text: str, path: str, whole: bool = False) -> Licence:
    """Return the terms of one file of a package.

    Args:
        copyright_text: The package's `copyright`: Debian's machine-readable format 1.0, or prose.
        path: Where the file is installed; the patterns name the place in the source, so that names
            and folders are compared from their end.
        whole: `path` is the place in the source and compared as it stands. `*` alone does not
            count then: where pictures are listed, one that is not was forgotten.
    """
    if not re.search(r"(?m)^Files:", copyright_text):
        return _from_prose(copyright_text, PurePosixPath(path).name)
    found, covers = UNKNOWN, _names if whole else _covers
    for paragraph in re.split(r"\n\s*\n", copyright_text):
        fields = _fields(paragraph)
        if any(covers(path, pattern) for pattern in fields.get("Files", "").split()):
            name = fields.get("License", "").split("\n")[0].strip() or UNKNOWN.name
            found = Licence(
                name, " ".join(fields.get("Copyright", "").split())
            )  # the last one counts
    return found


def _fields(paragraph: str) -> dict[str, str]:
    lines = "\n".join(line for line in paragraph.splitlines() if not line.startswith("#"))
    matches = re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", lines)
    return {key: value.strip() for key, value in matches}


def _names(path: str, pattern: str) -> bool:
    return pattern != "*" and fnmatchcase(path, pattern)


def _covers(path: str, pattern: str) -> bool:
    """Compare a source pattern with an installed path: whole for `*`, else by its last parts."""
    if pattern == "*":
        return True
    folder, _, name = pattern.rpartition("/")
    place = PurePosixPath(path)
    if name != "*":
        return fnmatchcase(place.name, name)
    last = folder.rpartition("/")[2]
    return any(fnmatchcase(part, last) for part in place.parts[:-1])


def _from_prose(text: str, name: str) -> Licence:
    """Read ` - Name.jpg:` lists followed by their terms; else the terms of the whole."""
    stem = re.escape(name.rsplit(".", 1)[0])
    listed = re.search(rf"(?m)^ - {stem}\.\w+:?\s*\n((?: - .*\n)*)((?:   .*\n)+)", text)
    terms = listed[2] if listed else text
    if _UNFREE.search(terms):
        return Licence("not free: " + _UNFREE.findall(terms)[0], "")
    holder = re.search(r"(?:Copyright )?©\s*(.*)", terms)
    for short, words in _PLAIN:
        if re.search(words, " ".join(terms.split()), re.IGNORECASE):
            return Licence(short, holder[1].strip() if holder else "")
    return UNKNOWN
