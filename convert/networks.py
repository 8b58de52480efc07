"""The networks of a bundle on their way to files: written, made smaller, their batch freed."""

from collections.abc import Mapping, Sequence

import numpy as np

from convert.free_batch import WRITTEN, free_batch
from convert.interpreters import open_content
from convert.model import FREE, SourceModel
from convert.quantise import Plan, quantise
from convert.recording import Request
from convert.tflite_file import check_builtin
from edge.backends import Session
from edge.manifest import NetworkFormat, Role
from edge.types import Array

Contents = Mapping[int, bytes]
"""A network by its rows: for 1, for FREE, or for those that a free TFLite file is made of."""
Networks = Mapping[Role, Mapping[NetworkFormat, Contents]]
Feeds = Mapping[Role, Sequence[dict[str, Array]]]
"""What each network was given, step by step, by input name; one row."""


def written(source: SourceModel, request: Request) -> Networks:
    """Write every network of a source in every format that is wanted.

    Raises:
        ConvertError: An exporter cannot, or needs operators that no device has.
    """
    networks: dict[Role, dict[NetworkFormat, Contents]] = {}
    for role in source.roles:
        networks[role] = {
            fmt: {rows: source.network(role, fmt, rows) for rows in _rows(source, fmt, request)}
            for fmt in request.formats
        }
        for content in networks[role].get("tflite", {}).values():
            check_builtin(content, f"{request.name}: {role}")
    return networks


def quantised(networks: Networks, request: Request, fed: Feeds) -> Networks:
    """Make the numbers of all of these networks smaller, as is wanted.

    Args:
        networks: float32.
        request: What is wanted.
        fed: For the integer modes.
    """
    plans = {role: Plan(request.mode, role, request.integer_states) for role in networks}
    return {
        role: {
            fmt: {
                rows: quantise(content, fmt, plans[role], _repeated(fed.get(role, []), rows))
                for rows, content in contents.items()
            }
            for fmt, contents in files.items()
        }
        for role, files in networks.items()
    }


def by_file(networks: Networks, request: Request) -> dict[str, bytes]:
    """Return the content of every file by its name in the bundle.

    Args:
        networks: All of them.
        request: Whose name is in messages, and whose scope says whether the batch is freed.

    Raises:
        ConvertError: A batch cannot be freed.
    """
    return {
        f"{role}.{fmt}": _whole(contents, request, role)
        for role, files in networks.items()
        for fmt, contents in files.items()
    }


def opened(networks: Networks, request: Request) -> list[Session]:
    """Return the networks of the one format there is in its interpreter."""
    return [
        open_content(_whole(contents, request, role), fmt, "the quantised network")
        for role, files in networks.items()
        for fmt, contents in files.items()
    ]


def _rows(source: SourceModel, fmt: NetworkFormat, request: Request) -> tuple[int, ...]:
    if request.scope == "per_stream" or fmt not in source.batched:
        return (1,)
    return WRITTEN if fmt == "tflite" else (FREE,)


def _repeated(feeds: Sequence[dict[str, Array]], rows: int) -> Sequence[dict[str, Array]]:
    """Return inputs of one row for a network of several."""
    if rows in (1, FREE):
        return feeds
    return [{n: np.repeat(value, rows, axis=0) for n, value in feed.items()} for feed in feeds]


def _whole(contents: Contents, request: Request, role: Role) -> bytes:
    if len(contents) > 1:
        two, three = (contents[rows] for rows in WRITTEN)
        return free_batch(two, three, f"{request.name}: {role}")
    ((rows, content),) = contents.items()
    if request.scope == "per_track" and rows != FREE:
        from convert.onnx.batch import over_rows  # needs onnx

        return over_rows(content)
    return content
