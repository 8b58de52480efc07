"""Keep OpenCV's own messages off stderr: what goes wrong is raised, once, as one line."""

import os

import cv2


def silence_opencv() -> None:
    """Switch OpenCV's and FFmpeg's logs off, unless the environment asks for them."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET, read at the first open
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
