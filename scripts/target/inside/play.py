"""Shows two faces to the camera: plays what paint.py painted into vivid's video output, for ever.

With the word `still` one picture of them that stands still, with `black` a black one.
/run/playing says since when, in monotonic seconds.
"""

import subprocess
import sys
import time
from pathlib import Path

PICTURES = Path("/var/lib/faces")
ONE = Path("/run/picture")  # shown where a word is given
BYTES = 720 * 576 * 3
SHOWN = Path("/run/playing")
FORMAT = "width=720,height=576,pixelformat=BGR3"  # as painted


def main() -> None:
    """Play whenever there is an output."""
    if sys.argv[1:] == ["black"]:
        ONE.write_bytes(bytes(BYTES))
    elif sys.argv[1:]:
        with PICTURES.open("rb") as file:
            ONE.write_bytes(file.read(BYTES))
    while True:
        try:
            play(ONE if sys.argv[1:] else PICTURES)
        except OSError as error:
            print(f"{time.monotonic():.1f}: {error!r}", file=sys.stderr, flush=True)
        time.sleep(0.3)


def play(pictures: Path) -> None:
    """Connect output and camera, and show picture after picture until the output is gone."""
    known = Path("/sys/class/video4linux").glob("video*/name")
    nodes = {path.read_text().strip(): f"/dev/{path.parent.name}" for path in known}
    output, camera = nodes.get("vivid-000-vid-out"), nodes.get("vivid-000-vid-cap")
    if output is None or camera is None:
        return
    run("-d", camera, "--set-ctrl", "s_video_000_0_is_connected_to=2,osd_text_mode=2")
    run("-d", output, "--set-fmt-video-out", FORMAT)
    SHOWN.write_text(f"{time.monotonic():.3f}")
    run("-d", output, "--stream-out-mmap", "--stream-loop", "--stream-from", str(pictures))


def run(*words: str) -> None:
    """Run v4l2-ctl; what it complains of goes to the log."""
    done = subprocess.run(
        ["v4l2-ctl", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise OSError(done.returncode, done.stderr[-300:])


if __name__ == "__main__":
    main()
