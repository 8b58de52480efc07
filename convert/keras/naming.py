"""Names that TensorFlow and both formats take, and what Keras says in one line."""

import re

_SPACE = re.compile(r"\s+|\x1b\[\d*m")
_CALLING = re.compile(r"^Exception encountered when calling .*?\(\)\. | Arguments received by .*$")
"""What Keras puts around the message of an error within a layer."""


def plain(name: str) -> str:
    """Return a name that every format takes: letters, digits and underscores of ASCII."""
    word = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return word if word[0] != "_" else f"layer{word}"


def unique(name: str, taken: set[str], mark: str = "_") -> str:
    """Return a name that is not taken yet, nor is what its next state would be called; take it."""
    found, count = name, 1
    while {found, f"{found}_next"} & taken:
        count += 1
        found = f"{name}{mark}{count}"
    taken.add(found)
    return found


def reason(error: Exception) -> str:
    """Return what Keras says of an error, in one line."""
    text = _CALLING.sub("", _SPACE.sub(" ", str(error)))
    return text.strip(" .")[:300] or type(error).__name__
