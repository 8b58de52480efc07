"""The measures of live runs: latency, overload, start, a camera that comes back, a soak."""

import logging
import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from edge import overload
from edge.commands.run import positive
from edge.config import Settings, SourceSettings
from edge.recovery import Comebacks
from edge.reel import SIZE
from edge.soak import Plan, Sample, Soak
from edge.startup import OPENCV, to_first_record
from edge.tracker import Tracker

_FRAMES = 300
_EVERY = 20
_TIMES, _TIMES_ASIDE = 10, 3
_PARTS = 10  # of a run under overload, that are told apart
_SETTLE_S = 10.0  # what the governor may take to find its pace
_RUNS = 10
_AWAY_S = (2.5, 4.5)  # longer than a track may be lost: each one after it is new


def add_words(parser: ArgumentParser) -> None:
    """Declare what only these measures are told."""
    add = parser.add_argument
    add("--model-ms", type=positive, default=40, metavar="MS", help="of the latency test's model")
    add("--minutes", type=positive, default=1, metavar="M", help="of overload; default: 1")
    add(
        "--times",
        type=positive,
        metavar="N",
        help=f"of overload: how many frames of the camera a look takes; default: {_TIMES}, with "
        f"--aside {_TIMES_ASIDE}",
    )
    add("--aside", action="store_true", help="of overload: with a governor, and looks aside")
    add(
        "--runs",
        type=positive,
        default=_RUNS,
        metavar="N",
        help=f"of start and recover: how often; default: {_RUNS}",
    )
    add(
        "--reload-every",
        type=positive,
        metavar="N",
        help="of soak: models are loaded anew every so many frames; default: never",
    )


def latency(args: Namespace) -> int:
    """Print how old a frame is when its record comes out."""
    model, period = args.model_ms, 1000 / 30
    measured = overload.ages(model / 1000, args.frames or _FRAMES)
    ages, counts = measured.age_ms, measured.counts
    p50, p99 = np.percentile(ages, (50, 99))
    half = (len(ages) + 1) // 2  # of one frame, both halves are that frame
    growth = np.median(ages[-half:]) - np.median(ages[:half])
    print(f"30 fps, model {model:g} ms: {counts.processed} of {counts.seen} frames processed")
    print(f"age p50 {p50:.1f} ms (M + T/2 + 5 = {model + period / 2 + 5:.1f})")
    print(f"age p99 {p99:.1f} ms (M + T + 10 = {model + period + 10:.1f})")
    print(f"growth: median of the second half less the first {growth:+.1f} ms")
    return 0


def overloaded(args: Namespace) -> int:
    """Print whether frames get older, or whether tracks keep coming, under a model too slow."""
    frames = round(args.minutes * 60 * overload.FPS)
    if args.aside:
        return _aside(args.times or _TIMES_ASIDE, frames)
    times = args.times or _TIMES
    done = overload.ages(times / overload.FPS, frames)
    print(f"{overload.FPS:g} fps for {args.minutes} min, a frame takes {times} frames' time")
    print(f"{'part':>6}{'records':>9}{'age p50 ms':>12}{'p99':>8}")
    for number, part in enumerate(done.parts(_PARTS), 1):
        p50, p99 = np.percentile(part, (50, 99))
        print(f"{number:6}{len(part):9}{p50:12.1f}{p99:8.1f}")
    print(f"{done.counts.processed} of {done.counts.seen} frames processed, of {frames}")
    print(f"frames get {done.slope():+.2f} ms older a minute")
    return 0


def _aside(times: int, frames: int) -> int:
    print(
        f"{overload.FPS:g} fps, a look takes {times} frames' time, after the first {_SETTLE_S:g} s"
    )
    modes: tuple[Literal["auto", "never"], ...] = ("auto", "never")
    for title, mode in zip(("looks aside", "in the path"), modes, strict=True):
        done = overload.kept(times / overload.FPS, frames, mode, _SETTLE_S)
        print(
            f"{title}: {done.given} of {done.frames} frames came, {done.records} gave a record, "
            f"{done.tracked} one with tracks ({done.tracked / done.given:.3f} of those that came), "
            f"{done.looks} were looked at; a look every {done.pace.every} frames at the end"
            f"{', less because of ' + done.pace.reason if done.pace.reason else ''}"
        )
    return 0


def start(args: Namespace) -> int:
    """Print the time from the start of a process to its first record."""
    source = "" if args.source == "synthetic:portrait" else args.source
    took = to_first_record(source, args.runs)
    bare = min(one.cpu_s for one in took[OPENCV])
    print(f"seconds to the first line, {args.runs} runs, {source or 'a video of 640x480'}")
    print(f"{'':30}{'least':>8}{'median':>8}{'least CPU':>11}")
    for name, all_of_it in took.items():
        wall, cpu = [one.wall_s for one in all_of_it], min(one.cpu_s for one in all_of_it)
        print(
            f"{name:30}{min(wall):8.3f}{statistics.median(wall):8.3f}{cpu:11.3f}"
            f"  {cpu / bare:.2f} times {OPENCV}"
        )
    return 0


def recover(args: Namespace) -> int:
    """Print how long it takes until there is a track again once a camera is back."""
    tracker = Tracker.from_settings(Settings(models=tuple(args.model or ("face",))), live=True)
    with _quiet():
        comebacks = Comebacks(tracker, SourceSettings(), _AWAY_S).run(args.runs)
    print(f"{len(comebacks)} comebacks of a camera that starts at once, seconds")
    print(f"{'away':>8}{'first frame':>13}{'first track':>13}")
    for one in comebacks:
        print(f"{one.away_s:8.2f}{one.frame_s:13.3f}{one.track_s:13.3f}")
    for name, of in (("median", statistics.median), ("most", max)):
        frame, track = of([c.frame_s for c in comebacks]), of([c.track_s for c in comebacks])
        print(f"{name:>8}{frame:13.3f}{track:13.3f}")
    return 0


def soak(args: Namespace) -> int:
    """Send very many frames through the daemon, and print what it holds meanwhile."""
    plan = Plan(frames=args.frames or Plan.frames, reload_every=args.reload_every or 0)
    models, every = tuple(args.model or ("face",)), args.detect_every or _EVERY
    print(f"{plan.frames:,} frames of {SIZE[0]}x{SIZE[1]}, models {', '.join(models)}")
    print(
        "every frame: source, condition check, tracks carried on, governor, record, JSON to a "
        f"bounded file, the page's newest picture; every {every}th: a look"
    )
    print(
        f"every {plan.ask_every:,}th: a page asked for; every {plan.fault_every:,}th: camera lost"
    )
    print(
        f"{'frames':>10}{'RSS MB':>9}{'blocks':>9}{'objects':>9}{'descriptors':>13}{'threads':>9}"
    )
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        run = Soak(plan, models, every, Path(folder))
        done = run.run(_tell)
    print(
        f"{', '.join(f'{n:,} {what}' for what, n in run.counts.items() if n)}, {done.looks:,} "
        f"looks, {done.ids:,} tracks, {done.faults} times the camera was lost, {done.asked} pages, "
        f"{done.reloads} reloads, in {done.seconds:.0f} s"
    )
    for name, unwritten in done.unwritten.items():
        print(f"{name.replace(folder, 'FOLDER')}: {unwritten} records not written")
    print(
        f"growth after the first tenth: RSS {done.growth('rss_mb'):+.2f} MB (fitted line "
        f"{done.rise_mb():+.2f} MB), {done.growth('descriptors'):+.0f} descriptors, "
        f"{done.growth('threads'):+.0f} threads, {done.growth('objects'):+.0f} objects"
    )
    return 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out of the log that a camera is lost and back: it is meant to be, many times."""
    log = logging.getLogger("edge")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def _tell(sample: Sample) -> None:
    print(
        f"{sample.frames:10,}{sample.rss_mb:9.2f}{sample.blocks:9,}{sample.objects:9,}"
        f"{sample.descriptors:13}{sample.threads:9}",
        flush=True,
    )


MEASURES = {
    "latency": latency,
    "overload": overloaded,
    "start": start,
    "recover": recover,
    "soak": soak,
}
