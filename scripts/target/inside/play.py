"""Shows two faces to the camera: writes the sample's pictures to vivid's video output, for ever.

Run by the installed edgetrack's Python. /run/playing says since when, in monotonic seconds.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2

from edge.sources.synthetic import SyntheticPortrait

SIZE = (720, 576)  # what the analogue output takes
PICTURES = 60  # shown to and fro: no jump, and both faces are in each


def main() -> None:
    """Play whenever there is an output."""
    pictures = paint()
    while True:
        try:
            play(pictures)
        except (OSError, subprocess.CalledProcessError, KeyError) as error:
            print(f"{time.monotonic():.1f}: {error!r}", file=sys.stderr, flush=True)
        time.sleep(0.3)


def paint() -> list[bytes]:
    """Paint all pictures, as the output takes them."""
    source = SyntheticPortrait()
    there = [
        cv2.cvtColor(cv2.resize(source.image(index), SIZE), cv2.COLOR_RGB2BGR).tobytes()
        for index in range(PICTURES)
    ]
    return there + there[-2:0:-1]


def play(pictures: list[bytes]) -> None:
    """Connect output and camera, and show picture after picture until the output is gone."""
    known = Path("/sys/class/video4linux").glob("video*/name")
    nodes = {path.read_text().strip(): f"/dev/{path.parent.name}" for path in known}
    output, camera = nodes["vivid-000-vid-out"], nodes["vivid-000-vid-cap"]
    size = f"width={SIZE[0]},height={SIZE[1]},pixelformat=BGR3"
    run("v4l2-ctl", "-d", output, "--set-fmt-video-out", size)
    run("v4l2-ctl", "-d", camera, "--set-ctrl", "s_video_000_0_is_connected_to=2")
    descriptor, shown = os.open(output, os.O_RDWR), 0
    try:
        while True:
            os.write(descriptor, pictures[shown % len(pictures)])
            shown += 1
            if shown == 3:  # the first ones wait in the driver
                Path("/run/playing").write_text(f"{time.monotonic():.3f}")
    finally:
        os.close(descriptor)


def run(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
