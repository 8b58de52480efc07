"""Measures the path of a frame: CPU and wall time a stage, overhead, memory.

CPU time is of the whole process; where one number stands for many runs it is the smallest, which
is what a busy machine disturbs least. Nothing here asserts: it prints what it finds.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edge.backends import Backend
from edge.bundle import Bundle
from edge.condition import ConditionCheck
from edge.config import TrackingSettings
from edge.crops import Crops
from edge.detection_tracker import DetectionTracker
from edge.detector import Detector
from edge.errors import UsageError
from edge.manifest import ImageInput
from edge.pipeline import Run
from edge.preprocess import ImageTensor
from edge.recurrent import N_MOTION, RecurrentTracker
from edge.sources import FrameSource
from edge.step import StepModel
from edge.types import Array, Floats, Frame, TensorSpec

_ROUNDS = 15
_ROUND_S = 0.02  # that one round of a step should take, so that the clock's own time is nothing
_WINDOW = 50  # steps of which the least counts


@dataclass
class Stage:
    """What one stage took, in ms, frame by frame."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Take the time of what stands in the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu.append((time.process_time() - cpu) * 1e3)
        self.wall.append((time.perf_counter() - wall) * 1e3)


def frame_stages(source: FrameSource, detector: Detector, frames: int) -> dict[str, Stage]:
    """Send frames through one detector and association; return the time of every stage.

    `invoke` is the interpreter called again on the same input and nothing else, which is what any
    program must pay; everything but `read` and `invoke` is ours.
    """
    names = ("read", "condition", "fit", "network", "decode", "associate", "encode", "invoke")
    stages = {name: Stage() for name in names}
    tracker, check = DetectionTracker(label_names=detector.labels), ConditionCheck()
    encoder, run = msgspec.json.Encoder(), Run("bench", "bench")
    for _ in range(frames):
        with stages["read"].timed():
            frame = source.read()
        if frame is None:
            break
        with stages["condition"].timed():
            check.judge(frame.image, frame.captured_at)
        with stages["fit"].timed():
            tensor, placement = detector.fit(frame.image)
        with stages["network"].timed():
            outputs = detector.session.run({detector.input: tensor})
        with stages["decode"].timed():
            found = detector.decode(outputs, placement)
        with stages["associate"].timed():
            tracks = tracker.update(found.boxes, found.scores, found.labels, frame.captured_at)
        with stages["encode"].timed():
            encoder.encode(run.record(frame, tracks, tracker.events, {}))
        with stages["invoke"].timed():
            detector.session.invoke()
    return stages


def association_us(objects: int, settings: TrackingSettings, frames: int = 200) -> float:
    """Return the CPU time of one `DetectionTracker.update` in microseconds.

    Args:
        objects: Boxes a frame, moving at random speeds and measured with noise, 2% of them missed.
        settings: Of the tracker.
        frames: Length of the scene.
    """
    scene = _scene(objects, frames)
    labels = np.zeros(objects, np.int64)

    def associate() -> None:
        tracker = DetectionTracker(settings)
        for index, (boxes, scores) in enumerate(scene):
            tracker.update(boxes, scores, labels[: len(boxes)], index / 30)

    return _least(associate) / frames * 1e6


def overhead_ms(objects: int = 10, frames: int = 200) -> dict[str, float]:
    """Return the CPU time a frame of all that is ours and no network, in ms.

    Letterbox of 640x480 to 128, association of so many objects, and the record as JSON.
    """
    scene = _scene(objects, frames)
    labels = np.zeros(objects, np.int64)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    spec = ImageInput(name="x", size=(128, 128), mean=(127.5,) * 3, scale=(1 / 127.5,) * 3)
    tensor = ImageTensor(spec, TensorSpec("x", (1, 128, 128, 3), "float32"))
    encoder, run = msgspec.json.Encoder(), Run("bench", "bench")
    frame = Frame(image, 0, 0.0)

    def letterbox() -> None:
        for _ in range(frames):
            tensor.fill(image)

    def associate_and_encode() -> None:
        tracker = DetectionTracker()
        for index, (boxes, scores) in enumerate(scene):
            tracks = tracker.update(boxes, scores, labels[: len(boxes)], index / 30)
            encoder.encode(run.record(frame, tracks, tracker.events, {}))

    parts = {
        "letterbox 128": _least(letterbox) / frames * 1e3,
        f"association of {objects}, record, JSON": _least(associate_and_encode) / frames * 1e3,
    }
    parts["together"] = sum(parts.values())
    return parts


def step_us(model: StepModel) -> tuple[float, float]:
    """Return the CPU time of one step, and of the bare invoke of its networks, in microseconds."""
    inputs, state = _step_inputs(model)[0], model.initial_state()

    def step() -> None:
        nonlocal state
        _, state = model.step(inputs, state)

    least = _least_each({"step": step, "invoke": model.invoke})
    return least["step"] * 1e6, least["invoke"] * 1e6


def carried_us(model: StepModel, early: int, late: int) -> tuple[float, float]:
    """Return the CPU time of an early and of a late step, in microseconds.

    The state is carried on through all of them, so that one which grows slow is found.

    Args:
        model: Of any size.
        early: Number of the step, from 1; the least of the 50 that end with it counts.
        late: Likewise.
    """
    inputs, state = _step_inputs(model), model.initial_state()
    least = {early: float("inf"), late: float("inf")}
    for number in range(1, late + 1):
        began = time.process_time()
        _, state = model.step(inputs[number % len(inputs)], state)
        took = (time.process_time() - began) * 1e6
        for last in least:
            if last - _WINDOW < number <= last:
                least[last] = min(least[last], took)
    return least[early], least[late]


def targets_us(bundle: Bundle, backend: Backend, n: int) -> dict[str, float]:
    """Return the CPU time that one frame of n followed targets takes, in microseconds.

    `crop`, `encoder` and `step` are the stages on their own; `together` is the whole of it, which
    adds what goes on between them; `anchor` is a new template for every target.

    Args:
        bundle: Of kind `tracker`.
        backend: Which interpreter.
        n: Targets, strewn over a frame of 640x480 pixels.
    """
    tracker, model = RecurrentTracker(bundle, backend), StepModel(bundle, backend)
    random = np.random.default_rng(n)
    image = random.integers(0, 256, (480, 640, 3), np.uint8)
    corners = random.uniform(0, (560, 400), (n, 2))
    boxes = np.concatenate((corners, corners + random.uniform(30, 80, (n, 2))), axis=1)
    picture = bundle.manifest.input
    assert picture is not None  # noqa: S101  a tracker without one is not opened
    crops, targets = Crops(picture), tracker.start(image, boxes, 0.0)
    pixels, _ = crops.fill(image, boxes)
    encoded = model.encode({picture.name: pixels})
    motion = np.full((n, N_MOTION), 0.1, np.float32)
    inputs, state = encoded | {"motion": motion}, model.initial_state(n)
    work: dict[str, Callable[[], object]] = {
        "crop": lambda: crops.fill(image, boxes),
        "encoder": lambda: model.encode({picture.name: pixels}),
        "step": lambda: model.step(inputs, state),
        "together": lambda: tracker.step(image, targets, 1 / 30),
        "anchor": lambda: tracker.anchor(image, targets, np.arange(n), boxes, 0.0, fresh=False),
    }
    return {name: seconds * 1e6 for name, seconds in _least_each(work).items()}


def peak_memory_mb(statement: str) -> float:
    """Return the peak resident memory of a fresh Python that runs a statement, in MB (2**20).

    From /proc, not getrusage: that one also counts the process that started this one.
    """
    code = f"{statement}\nprint(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise UsageError(f"bench: the measured process failed and said: {said[-1]}")
    return _peak_mb(done.stdout)


def own_peak_mb() -> float:
    """Return this process's peak resident memory in MB (2**20)."""
    return _peak_mb(Path("/proc/self/status").read_text(encoding="ascii"))


def _peak_mb(status: str) -> float:
    return int(status.rpartition("VmHWM:")[2].split()[0]) / 1024


def _least(work: Callable[[], None]) -> float:
    """Return the least CPU time of several runs, in seconds."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def _least_each(work: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the least CPU time of each, in seconds; in turn, so that all are disturbed alike."""
    for one in work.values():
        one()  # the first time touches memory for the first time
    often = {name: max(1, round(_ROUND_S / max(_cpu_s(one), 1e-6))) for name, one in work.items()}
    least = dict.fromkeys(work, float("inf"))
    for _ in range(_ROUNDS):
        for name, one in work.items():
            least[name] = min(least[name], _cpu_s(one, often[name]) / often[name])
    return least


def _cpu_s(work: Callable[[], object], times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - began


def _step_inputs(model: StepModel, frames: int = 16) -> list[dict[str, Array]]:
    """Return seeded noise for some frames: values around 0, integers over their whole range."""
    random = np.random.default_rng(0)

    def noise(tensor: TensorSpec) -> Array:
        shape = [abs(side) for side in tensor.shape]  # a free side, -1, is one row
        if np.dtype(tensor.dtype).kind == "f":
            return random.normal(size=shape).astype(tensor.dtype)
        limits = np.iinfo(tensor.dtype)
        return random.integers(limits.min, limits.max, shape, tensor.dtype, endpoint=True)

    return [{name: noise(t) for name, t in model.inputs.items()} for _ in range(frames)]


def _scene(objects: int, frames: int) -> list[tuple[Floats, Floats]]:
    """Return boxes (n, 4) and scores (n,) a frame of a seeded scene on 1920x1080 pixels."""
    random = np.random.default_rng(objects)
    columns = int(np.ceil(np.sqrt(objects)))
    cells = np.stack(np.divmod(np.arange(objects), columns), axis=1)[:, ::-1]
    centre = (cells + 0.5) * (1920 / columns, 1080 / columns)
    speed = random.normal(0, 2.0, (objects, 2))
    size = random.uniform(30, 60, (objects, 2))
    scene = []
    for _ in range(frames):
        centre = centre + speed
        middle = centre + random.normal(0, 1.0, centre.shape)
        boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
        kept = random.random(objects) > 0.02
        scene.append((boxes[kept], random.uniform(0.5, 1.0, int(kept.sum()))))
    return scene
