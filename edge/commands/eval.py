"""Measure how well a model follows one target through annotated sequences."""

import multiprocessing
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge.backends import Backend
from edge.commands import Commands
from edge.commands.outputs import refuse_overlap
from edge.commands.run import positive
from edge.commands.words import rate
from edge.errors import UsageError
from edge.evaluation import evaluate
from edge.evaluation.protocols import DEFAULT, PROTOCOLS, Protocol, named
from edge.evaluation.report import FORMATS, render
from edge.evaluation.results import Results, Row
from edge.evaluation.sequences import AnnotatedSequence, find_sequences
from edge.follower import Follower, Stays
from edge.sinks.output import Output
from edge.stderr import tell

_BOX_STAYS = "stays"


@dataclass(frozen=True)
class _Task:
    """What one process measures: all models on one sequence."""

    models: Sequence[str]
    backend: Backend
    sequence: AnnotatedSequence
    protocols: Sequence[Protocol]
    seeds: int


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "eval", help="measure a model on annotated sequences", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="NAME/groundtruth.txt and NAME/0001.jpg ...")
    _add_models(parser)
    parser.add_argument(
        "--protocols",
        type=_words,
        default=list(DEFAULT),
        metavar="P[,P]",
        help=f"of {', '.join(PROTOCOLS)}; default: {','.join(DEFAULT)}; docs/tracker.md",
    )
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--keep-state", action="store_true", help="keep the memory where a box is given again"
    )
    parser.add_argument(
        "--frames", type=positive, default=400, metavar="N", help="of each sequence; default: 400"
    )
    parser.add_argument(
        "--fps", type=rate, default=30.0, metavar="F", help="of all sequences; default: 30"
    )
    parser.add_argument(
        "--only", type=_words, default=[], metavar="NAME[,NAME]", help="these sequences alone"
    )
    parser.add_argument(
        "--subset",
        type=_subset,
        action="append",
        default=[],
        metavar="NAME=A[,B]",
        help="also the mean over these sequences; repeatable",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--out", default="-", metavar="FILE", help="default: stdout")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes")
    parser.set_defaults(command=_eval)


def _add_models(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|DIR",
        help=f"a tracker bundle, or {_BOX_STAYS}: the box stays; repeatable; default: {_BOX_STAYS}",
    )
    parser.add_argument(
        "--backend", choices=("auto", "litert", "tflite-runtime", "onnx"), default="auto"
    )


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or len(set(words)) < len(words):
        raise ArgumentTypeError(f"{text!r}: give names with commas between, each once")
    return words


def _subset(text: str) -> tuple[str, list[str]]:
    name, sign, words = text.partition("=")
    if not name or not sign:
        raise ArgumentTypeError(f"{text!r}: write NAME=A,B")
    return name, _words(words)


def _eval(args: Namespace) -> int:
    models = args.model or [_BOX_STAYS]
    if len(set(models)) < len(models):
        raise UsageError(f"--model: {' '.join(models)} names one twice; name each once")
    refuse_overlap([f"file:{args.out}"], [args.folder])
    protocols = named(args.protocols, keep_state=args.keep_state)
    sequences = find_sequences(args.folder, args.only, args.frames, args.fps)
    subsets = _checked(dict(args.subset), [sequence.name for sequence in sequences])
    for model in models:
        _open(model, args.backend)  # so that a bad model is found before the first sequence
    tasks = [_Task(models, args.backend, one, protocols, args.seeds) for one in sequences]
    rows: list[Row] = []
    for number, results in enumerate(_measured(tasks, args.jobs), start=1):
        rows.extend(results.rows)
        if sys.stderr.isatty():
            tell(f"\r{number} of {len(tasks)} sequences", "\n" if number == len(tasks) else "")
    output = Output(f"file:{args.out}", args.out)
    try:
        output.append(render(Results(tuple(rows)), subsets, args.format).encode())
    finally:
        output.close()
    return 0


def _checked(subsets: Mapping[str, list[str]], names: Sequence[str]) -> Mapping[str, list[str]]:
    """Refuse a subset that names a sequence which is not measured."""
    for title, of in subsets.items():
        if unknown := [name for name in of if name not in names]:
            raise UsageError(
                f"--subset {title}: {unknown[0]!r} is not measured; choose from {', '.join(names)}"
            )
    return subsets


def _measured(tasks: Sequence[_Task], jobs: int) -> Iterator[Results]:
    """Measure sequence by sequence, in order; several at a time with `jobs` over 1."""
    if jobs == 1:
        yield from map(_measure, tasks)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_measure, tasks)


def _measure(task: _Task) -> Results:
    followers = [_open(model, task.backend) for model in task.models]
    return evaluate(followers, [task.sequence], task.protocols, task.seeds)


def _open(model: str, backend: Backend) -> Follower:
    """Load a model; its name in the report is what the user wrote."""
    if model == _BOX_STAYS:
        return Stays()
    from edge.recurrent import open_follower  # the box that stays needs no interpreter

    follower = open_follower(model, backend)
    follower.name = model
    return follower
