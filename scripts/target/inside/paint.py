"""Paints two moving faces as the virtual camera's video output takes them: paint.py FILE.

Run by the installed edgetrack's Python before the machine boots, outside it: there it is quick.
"""

import sys
from pathlib import Path

import cv2

from edge.sources.synthetic import SyntheticPortrait

SIZE = (720, 576)  # of European analogue television
PICTURES = 24  # shown to and fro, without a jump; both faces are in each

if __name__ == "__main__":
    source = SyntheticPortrait()
    pictures = [
        cv2.cvtColor(cv2.resize(source.image(index), SIZE), cv2.COLOR_RGB2BGR).tobytes()
        for index in range(PICTURES)
    ]
    Path(sys.argv[1]).write_bytes(b"".join(pictures + pictures[-2:0:-1]))
