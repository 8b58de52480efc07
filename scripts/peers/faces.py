"""Faces at 640x480: CPU time and memory of edgetrack's face-near and of mediapipe; prints a table.

Run through `scripts/compare-peers faces`. Both run the same network file: mediapipe's task wants
the pixel normalisation written into it, which is done here. All is pinned to one core; mediapipe
starts threads of its own all the same, and the CPU time of all threads is counted.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edge.types import Image
from scripts.peers.page import machine, table

FRAMES = 60
ROUNDS = 15
FRAME_S = 1 / 30
SIZE = (640, 480)
See = Callable[[Image, int], int]  # picture and its number from 0 to the number of faces


def open_detector() -> See:
    """Open face-near alone."""
    from edge import bundle
    from edge.detector import Detector

    detector = Detector(bundle.load(bundle.find("face-near")), "litert")
    return lambda image, _: len(detector.detect(image))


def open_tracker() -> See:
    """Open face-near and the association that turns its faces into tracks."""
    from edge import bundle
    from edge.detection_tracker import DetectionTracker
    from edge.detector import Detector

    detector = Detector(bundle.load(bundle.find("face-near")), "litert")
    tracker = DetectionTracker()

    def see(image: Image, number: int) -> int:
        found = detector.detect(image)
        tracks = tracker.update(found.boxes, found.scores, found.labels, number * FRAME_S)
        return sum(track.status == "confirmed" for track in tracks)

    return see


def open_mediapipe() -> See:
    """Open mediapipe's face detector task in VIDEO mode, at its default thresholds."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    from edge import bundle

    network = bundle.load(bundle.find("face-near")).network("detector")["tflite"]
    options = vision.FaceDetectorOptions(
        base_options=BaseOptions(model_asset_buffer=with_normalisation(network.read_bytes())),
        running_mode=vision.RunningMode.VIDEO,
    )
    detector = vision.FaceDetector.create_from_options(options)
    form = mediapipe.ImageFormat.SRGB

    def see(image: Image, number: int) -> int:
        picture = mediapipe.Image(image_format=form, data=image)
        return len(detector.detect_for_video(picture, round(number * FRAME_S * 1000)).detections)

    return see


OPEN: dict[str, Callable[[], See]] = {
    "**edgetrack** face-near, detection": open_detector,
    "**edgetrack** face-near, detection and association": open_tracker,
    "mediapipe tasks FaceDetector, VIDEO mode": open_mediapipe,
}


def with_normalisation(network: bytes) -> bytes:
    """Return a TFLite network with the metadata that says: value = (pixel - 127.5) / 127.5.

    The layout is that of mediapipe's metadata_schema.fbs; the weights stay as they are.
    """
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
    from mediapipe.tasks.metadata import schema_py_generated as schema

    normalisation = metadata.NormalizationOptionsT(mean=[127.5], std=[127.5])
    unit = metadata.ProcessUnitT(
        optionsType=metadata.ProcessUnitOptions.NormalizationOptions, options=normalisation
    )
    graph = metadata.SubGraphMetadataT(
        inputTensorMetadata=[metadata.TensorMetadataT(name="image", processUnits=[unit])],
        outputTensorMetadata=[metadata.TensorMetadataT(), metadata.TensorMetadataT()],
    )
    builder = flatbuffers.Builder()
    builder.Finish(metadata.ModelMetadataT(subgraphMetadata=[graph]).Pack(builder), b"M001")
    model = schema.ModelT.InitFromPackedBuf(network)
    model.buffers.append(schema.BufferT(data=list(builder.Output())))
    entry = schema.MetadataT(name="TFLITE_METADATA", buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(network))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def load_frames(data: Path) -> tuple[str, list[Image]]:
    """Return a name and 640x480 RGB pictures: the sequence David, or made ones without the data."""
    import cv2

    files = sorted((data / "sot" / "David").glob("*.jpg"))[-FRAMES:]
    if files:
        pictures = [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files]
        return "the sequence David, enlarged", [cv2.resize(image, SIZE) for image in pictures]
    from edge.sources.synthetic import SyntheticPortrait

    source = SyntheticPortrait()
    return "`synthetic:portrait`", [source.image(k) for k in range(FRAMES)]


def measure(images: list[Image]) -> dict[str, tuple[float, float]]:
    """Return CPU ms a frame, minimum over rounds that take turns, and faces a frame."""
    opened = {name: open_it() for name, open_it in OPEN.items()}
    least = dict.fromkeys(opened, float("inf"))
    faces = dict.fromkeys(opened, 0.0)
    for number in range(ROUNDS):
        for name, see in opened.items():
            start = time.process_time()
            seen = sum(see(image, number * FRAMES + k) for k, image in enumerate(images))
            least[name] = min(least[name], (time.process_time() - start) / len(images) * 1000)
            faces[name] = seen / len(images)
    return {name: (least[name], faces[name]) for name in opened}


def peak_mb(name: str, images: list[Image]) -> float:
    """Return the peak memory of a fresh Python that opens `name` and looks at a few pictures."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.npy"
        np.save(file, np.stack(images[:10]))
        command = [sys.executable, "-m", "scripts.peers.faces", "--peak", name, "--frames", file]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def print_peak(name: str, file: Path) -> None:
    """Print this process's peak memory in kB after looking at all pictures of a file."""
    see = OPEN[name]()
    for number, image in enumerate(np.load(file, mmap_mode="r")):
        see(np.ascontiguousarray(image), number)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(re.findall(r"VmHWM:\s*(\d+)", status)[0], flush=True)


def print_table(data: Path) -> None:
    """Measure everything and print it."""
    title, images = load_frames(data)
    results = measure(images)
    ours = results["**edgetrack** face-near, detection and association"][0]
    rows = [
        [name, f"{ms:.2f}", f"{ms / ours:.2f}", f"{peak_mb(name, images):.0f}", f"{faces:.2f}"]
        for name, (ms, faces) in results.items()
    ]
    print(table(["640x480 RGB", "CPU ms", "ratio", "peak MB", "faces a frame"], rows))
    print(f"\nPictures: {title}, {len(images)} frames. mediapipe {version('mediapipe')}.")
    print(machine())


def main() -> None:
    """Print the table, or in a process of its own one peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peak")
    parser.add_argument("--frames", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if arguments.peak:
        print_peak(arguments.peak, arguments.frames)
    else:
        print_table(arguments.data)
    sys.stdout.flush()
    os._exit(0)  # mediapipe's detector complains from its destructor when Python ends


if __name__ == "__main__":
    main()
