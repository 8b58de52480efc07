"""Measure: time a stage, association, overhead beyond the networks, a step, memory, live runs."""

from argparse import Namespace

import numpy as np

from edge import bench
from edge import bundle as bundles
from edge.commands import Commands, bench_live
from edge.commands.run import SOURCES, add_detect_every, add_models, add_motion, positive
from edge.config import InferenceSettings, Settings, TrackingSettings
from edge.detector import open_detector
from edge.errors import UsageError
from edge.sources import open_source
from edge.step import load_step

_OBJECTS = (1, 10, 30, 100)
_TARGETS = (1, 8, 64)
_FRAMES, _STEPS = 300, 100_000
_IMPORTS = {
    "python": "pass",
    "numpy": "import numpy",
    "cv2": "import cv2",
    "edge.DetectionTracker": "import edge; edge.DetectionTracker()",
    "edge.Tracker": "import edge; edge.Tracker",
}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="measure time and memory", description=__doc__)
    parser.add_argument("what", choices=tuple(_MEASURES), nargs="?", default="frame")
    parser.add_argument("--source", default="synthetic:portrait", metavar="URI", help=SOURCES)
    parser.add_argument(
        "--frames", type=positive, metavar="N", help=f"default: {_FRAMES}; of step: {_STEPS:,}"
    )
    add_models(parser)
    add_detect_every(parser)
    add_motion(parser)
    bench_live.add_words(parser)
    parser.set_defaults(command=lambda args: _MEASURES[args.what](args))


def _frame(args: Namespace) -> int:
    inference = InferenceSettings(backend=args.backend or "auto")
    for name in args.model or ("face",):
        detector = open_detector(bundles.load(bundles.find(name)), inference, close_up=False)
        source = open_source(args.source, Settings().capture)
        stages = bench.frame_stages(source, detector, args.frames or _FRAMES)
        source.close()
        print(f"{name} on {source.description}, {detector.session.backend}, 1 thread, ms a frame")
        print(f"{'stage':12}{'cpu p50':>9}{'p95':>9}{'p99':>9}{'wall p50':>10}{'p95':>9}{'p99':>9}")
        for stage, times in stages.items():
            cpu, wall = (np.percentile(t, (50, 95, 99)) for t in (times.cpu, times.wall))
            cells = "".join(f"{value:9.3f}" for value in cpu)
            print(f"{stage:12}{cells}{wall[0]:10.3f}{wall[1]:9.3f}{wall[2]:9.3f}")
        ours = [np.median(stages[s].cpu) for s in stages if s not in ("read", "invoke")]
        invoke = np.median(stages["invoke"].cpu)
        print(f"overhead: {sum(ours) / invoke:.3f} times the bare invoke")
    print(f"peak memory of this process: {bench.own_peak_mb():.0f} MB")
    return 0


def _association(args: Namespace) -> int:
    settings = TrackingSettings(motion=args.motion or TrackingSettings().motion)
    print(f"objects  CPU us a frame, motion {settings.motion}")
    for objects in _OBJECTS:
        print(f"{objects:7}  {bench.association_us(objects, settings):.0f}")
    return 0


def _overhead(_args: Namespace) -> int:
    for part, milliseconds in bench.overhead_ms().items():
        print(f"{part:36} {milliseconds:.3f} ms")
    return 0


def _step(args: Namespace) -> int:
    if not args.model:
        raise UsageError("bench step: no model; name a sequence or tracker bundle with --model")
    last = args.frames or _STEPS
    for name in args.model:
        model = load_step(name, args.backend or "auto")
        step, invoke = bench.step_us(model)
        early, late = bench.carried_us(model, min(100, last), last)
        print(f"{name}, {model.backend}, 1 thread, CPU us a step")
        print(f"{'step':14}{step:10.2f}")
        print(f"{'bare invoke':14}{invoke:10.2f}  step is {step / invoke:.3f} times that")
        print(f"{f'step {min(100, last)}':14}{early:10.2f}")
        print(f"{f'step {last}':14}{late:10.2f}  {late / early:.3f} times the early one")
    return 0


def _targets(args: Namespace) -> int:
    if not args.model:
        raise UsageError("bench targets: no model; name a tracker bundle with --model")
    for name in args.model:
        bundle = bundles.load(bundles.find(name))
        print(f"{name}, {args.backend or 'auto'}, 1 thread, CPU us a frame")
        first: dict[str, float] = {}
        for n in _TARGETS:
            took = bench.targets_us(bundle, args.backend or "auto", n)
            first = first or took
            if took is first:
                print("targets" + "".join(f"{stage:>10}" for stage in took))
            cells = "".join(f"{value:10.0f}" for value in took.values())
            print(f"{n:7}{cells}  {took['together'] / first['together']:.2f} times one")
    return 0


def _memory(args: Namespace) -> int:
    for name, statement in _IMPORTS.items():
        print(f"{name:24} {bench.peak_memory_mb(statement):6.1f} MB")
    models = [word for name in args.model or ("face",) for word in ("--model", name)]
    words = ["track", args.source, *models, "--out", "/dev/null"]
    statement = f"import edge.cli; assert edge.cli.main({words!r}) == 0"
    print(f"{'edgetrack track':24} {bench.peak_memory_mb(statement):6.1f} MB  ({args.source})")
    return 0


_MEASURES = {
    "frame": _frame,
    "association": _association,
    "overhead": _overhead,
    "step": _step,
    "targets": _targets,
    "memory": _memory,
    **bench_live.MEASURES,
}
