"""CPU time of alternatives, taken in turn so that what disturbs one disturbs all."""

import time
from collections.abc import Callable, Mapping

_ROUND_S = 0.02  # that one round should take, so that the clock's own time is nothing


def least_us(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least CPU time of one call of each, in microseconds.

    Args:
        works: Name to what is called; all are called in turn, many times a round.
        rounds: Of which the least counts.
    """
    times = {name: max(1, round(_ROUND_S / _cpu_s(work))) for name, work in works.items()}
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            least[name] = min(least[name], _cpu_s(work, times[name]) / times[name])
    return {name: seconds * 1e6 for name, seconds in least.items()}


def _cpu_s(work: Callable[[], object], times: int = 1) -> float:
    if times == 1:
        work()  # the first one touches memory for the first time
    began = time.process_time()
    for _ in range(times):
        work()
    return max(time.process_time() - began, 1e-6)
