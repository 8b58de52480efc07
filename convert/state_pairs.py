"""Which inputs of a step model are states, and which outputs are the states that follow."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from convert.errors import ConvertError
from edge.manifest import StateTensor
from edge.types import TensorSpec, shapes_fit

_SAY_NOTHING = (
    *("in", "out", "input", "inputs", "output", "outputs", "raw", "init", "initial", "n", "t"),
    *("next", "new", "prev", "previous", "last", "past", "present", "cur", "current"),
    *("serving", "default", "tensor"),
)
"""Words that tell one side of a pair from the other, or nothing at all."""
_WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+")
_SIDE = re.compile(r"(?<=.)[0niot]$")
"""h0 and hn, r1i and r1o."""

Specs = Mapping[str, TensorSpec]


class Pair(NamedTuple):
    """A state's way in and out."""

    name: str
    """What both have in common."""
    input: str
    output: str


def pair_states(
    model: str, inputs: Specs, outputs: Specs, given: Mapping[str, str]
) -> tuple[StateTensor, ...]:
    """Return the states of a step model.

    Args:
        model: Its name, for messages.
        inputs: All of them, by name.
        outputs: All of them, by name.
        given: Input to output, where names do not tell; if there are any, no others are looked for.

    Raises:
        ConvertError: A pair that was given does not fit, or none is found, or several could be.
    """
    pairs = _check_given(model, inputs, outputs, given) if given else find_pairs(inputs, outputs)
    if not pairs:
        raise ConvertError(f"{model}: exposes no state {_offer(inputs, outputs)}")
    if len(pairs) == len(inputs):
        raise ConvertError(f"{model}: every input would be a state {_offer(inputs, outputs)}")
    if len({pair.output for pair in pairs}) < len(pairs):
        raise ConvertError(f"{model}: one output follows two states {_offer(inputs, outputs)}")
    short = len({pair.name for pair in pairs}) == len(pairs)
    return tuple(
        StateTensor(
            name=pair.name if short else pair.input,
            input=pair.input,
            output=pair.output,
            shape=inputs[pair.input].shape,
            dtype=inputs[pair.input].dtype,
        )
        for pair in pairs
    )


def find_pairs(inputs: Specs, outputs: Specs) -> list[Pair]:
    """Return the pairs that names, shapes and types tell beyond doubt."""
    pairs: dict[str, Pair] = {}
    for strip in (False, True):
        sources = _by_key(inputs.keys() - pairs.keys(), strip)
        targets = _by_key(outputs.keys() - {pair.output for pair in pairs.values()}, strip)
        for key, names in sources.items():
            there = targets.get(key, [])
            if len(names) == len(there) == 1:
                pair = Pair(key, names[0], there[0])
                if not _difference(inputs[pair.input], outputs[pair.output]):
                    pairs[pair.input] = pair
    return [pairs[name] for name in inputs if name in pairs]


def _by_key(names: set[str], strip: bool) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        if key := _key(name, strip):
            groups.setdefault(key, []).append(name)
    return groups


def _key(name: str, strip: bool = False) -> str:
    """Return what a name says when the words for its side are gone: h for h_next, hn and h0."""
    words = [word.lower() for word in _WORD.findall(name)]
    words = [word for word in words if word not in _SAY_NOTHING]
    if strip:
        words = [_SIDE.sub("", word) for word in words if word not in ("i", "o")]
    return "" if all(word.isdigit() for word in words) else "_".join(words)


def _check_given(model: str, inputs: Specs, outputs: Specs, given: Mapping[str, str]) -> list[Pair]:
    for source, target in given.items():
        if source not in inputs or target not in outputs:
            missing = source if source not in inputs else target
            raise ConvertError(f"{model}: has no tensor {missing!r} {_offer(inputs, outputs)}")
        if difference := _difference(inputs[source], outputs[target]):
            raise ConvertError(
                f"{model}: state {source}={target} cannot be fed back, {difference}; "
                "name another output, or export the two alike"
            )
    return [Pair(_key(source) or source, source, target) for source, target in given.items()]


def _difference(source: TensorSpec, target: TensorSpec) -> str:
    if source.dtype != target.dtype:
        return f"it enters as {source.dtype} and leaves as {target.dtype}"
    if not shapes_fit(source.shape, target.shape):
        return f"it enters as {list(source.shape)} and leaves as {list(target.shape)}"
    if (source.scale, source.zero_point) != (target.scale, target.zero_point):
        return f"its scale is {source.scale:g} where it enters and {target.scale:g} where it leaves"
    return ""


def _offer(inputs: Specs, outputs: Specs) -> str:
    return (
        f"(inputs {', '.join(inputs)}; outputs {', '.join(outputs)}); "
        "say which belong together with --state IN=OUT"
    )
