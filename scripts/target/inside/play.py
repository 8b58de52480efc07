"""Shows two faces to the camera: writes what paint.py painted to vivid's video output, for ever.

/run/playing says since when, in monotonic seconds.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

PICTURES = Path("/var/lib/faces")
SHOWN = Path("/run/playing")
WIDTH, HEIGHT = 720, 576  # as painted
BYTES = WIDTH * HEIGHT * 3


def main() -> None:
    """Play whenever there is an output."""
    data = PICTURES.read_bytes()
    there = [data[start : start + BYTES] for start in range(0, len(data), BYTES)]
    pictures = there + there[-2:0:-1]  # to and fro: without a jump
    while True:
        try:
            play(pictures)
        except (OSError, subprocess.CalledProcessError, KeyError) as error:
            print(f"{time.monotonic():.1f}: {error!r}", file=sys.stderr, flush=True)
        time.sleep(0.3)


def play(pictures: list[bytes]) -> None:
    """Connect output and camera, and show picture after picture until the output is gone."""
    known = Path("/sys/class/video4linux").glob("video*/name")
    nodes = {path.read_text().strip(): f"/dev/{path.parent.name}" for path in known}
    output, camera = nodes["vivid-000-vid-out"], nodes["vivid-000-vid-cap"]
    size = f"width={WIDTH},height={HEIGHT},pixelformat=BGR3"
    run("v4l2-ctl", "-d", output, "--set-fmt-video-out", size)
    run("v4l2-ctl", "-d", camera, "--set-ctrl", "s_video_000_0_is_connected_to=2")
    descriptor, shown = os.open(output, os.O_RDWR), 0
    try:
        while True:
            os.write(descriptor, pictures[shown % len(pictures)])
            shown += 1
            if shown == 3:  # the first ones wait in the driver
                SHOWN.write_text(f"{time.monotonic():.3f}")
    finally:
        os.close(descriptor)


def run(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
