"""How well one target is followed, from sequences to protocols, passes, metrics and results.

    sequences = find_sequences(Path("sequences"))
    results = evaluate([Stays()], sequences, named(["r10"]), seeds=1)
    results.summary("stays", "r10")["iou"].mean

The same sequence, frame and seed give every follower the same box, so that the difference of two
followers is surer than either's own number.
"""

from collections.abc import Iterable, Sequence

from edge.evaluation.metrics import judge
from edge.evaluation.passes import run_pass
from edge.evaluation.protocols import DEFAULT, Protocol, named
from edge.evaluation.results import Results, Row
from edge.evaluation.sequences import AnnotatedSequence
from edge.follower import Follower


def evaluate(
    followers: Sequence[Follower],
    sequences: Iterable[AnnotatedSequence],
    protocols: Sequence[Protocol] = (),
    seeds: int = 3,
) -> Results:
    """Lead followers through sequences; every picture is decoded once.

    Args:
        followers: Of different names.
        sequences: See `find_sequences`.
        protocols: See `named`; empty: the default ones.
        seeds: Passes of each, from seed 0; a protocol may ask for more.
    """
    rows: list[Row] = []
    for sequence in sequences:
        images = sequence.decode()
        for follower in followers:
            for protocol in protocols or named(DEFAULT):
                passes = (
                    run_pass(follower, images, sequence, protocol, seed)
                    for seed in range(seeds + protocol.more_passes)
                )
                scores = tuple(judge(done, sequence) for done in passes)
                rows.append(Row(follower.name, sequence.name, protocol, scores))
    return Results(tuple(rows))
