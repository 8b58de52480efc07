"""Tracks drawn on a picture, for people to look at: boxes, names, trails, a line on the frame."""

import colorsys
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import cv2
import numpy as np

from edge.types import Box, Image, Record, Track

Colour = tuple[int, int, int]  # red, green, blue
Point = tuple[int, int]  # across, down; pixels

TRAIL = 24
"""Frames that a trail goes back."""
FAINTEST = 0.2
"""Presence below which a lost track is no longer drawn."""

_MOST_NUMBERS = 8  # of one value; more would leave the picture
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)


class Trails:
    """Where the centres of the tracks were lately; ids that left are forgotten."""

    def __init__(self) -> None:
        self._points: dict[int, deque[Point]] = {}

    def follow(self, record: Record) -> Mapping[int, Sequence[Point]]:
        """Take in one record and return the latest centres by track id, oldest first."""
        empty: deque[Point] = deque(maxlen=TRAIL)
        self._points = {t.id: self._points.get(t.id, empty.copy()) for t in record.tracks}
        for track in record.tracks:
            left, top, right, bottom = _corners(track.box, record.size)
            self._points[track.id].append(((left + right) // 2, (top + bottom) // 2))
        return self._points


def draw(
    image: Image, record: Record, trails: Mapping[int, Sequence[Point]] | None = None
) -> Image:
    """Return a copy of the image with the record drawn on it; lines and letters scale with it.

    Lost tracks are thin dashes and an id, without a trail, and leave the picture as they fade:
    in a crowd there are many of them, and people come to see the others.

    Args:
        image: (height, width, 3), RGB; left as it is.
        record: What that image gave.
        trails: Earlier centres by track id, from `Trails`.
    """
    canvas = image.copy()
    shown = [t for t in record.tracks if t.status != "lost" or t.presence >= FAINTEST]
    for track in shown:
        if track.status != "lost":
            _trail(canvas, (trails or {}).get(track.id, ()), colour_of(track.id))
        _box(canvas, track)
    for track in shown:  # after all the boxes, so that no line crosses a name
        _tag(canvas, track)
    _values(canvas, record.values)
    _frame_line(canvas, record)
    return canvas


def colour_of(track_id: int) -> Colour:
    """Return the colour of an id; neighbouring ids are far apart (golden ratio steps of hue)."""
    red, green, blue = colorsys.hsv_to_rgb(track_id * 0.618034 % 1.0, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def readable(value: Any) -> str:
    """Return what a sequence model said in a few words: `wave 0.93`, `pan 0.1 tilt -2`."""
    match value:
        case {"label": str(label), "score": score}:
            return f"{label} {score:.2f}"
        case dict():
            items = islice(value.items(), _MOST_NUMBERS)
            return " ".join(f"{name} {readable(item)}" for name, item in items)
        case list() | tuple():
            return " ".join(readable(item) for item in value[:_MOST_NUMBERS])
        case float() | np.floating():
            number = float(value)
            return f"{number:.0f}" if 1e3 <= abs(number) < 1e9 else f"{number:.3g}"
        case _:
            return str(value)


def _thickness(canvas: Image) -> int:
    return max(1, round(int(canvas.shape[0]) / 360))


def _corners(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return whole pixels, kept near the picture: OpenCV's coordinates are 32 bits."""
    width, height = size
    spans = (-width, -height, -width, -height), (2 * width, 2 * height, 2 * width, 2 * height)
    left, top, right, bottom = np.clip(box, *spans).round().astype(int).tolist()
    return left, top, right, bottom


def _box(canvas: Image, track: Track) -> None:
    """Draw a thick outline where confirmed, a thin one where tentative, dashes where lost."""
    left, top, right, bottom = _corners(track.box, (canvas.shape[1], canvas.shape[0]))
    colour, thin = colour_of(track.id), _thickness(canvas)
    first, last = (left, top), (max(left, right - 1), max(top, bottom - 1))
    match track.status:
        case "confirmed":
            cv2.rectangle(canvas, first, last, colour, 2 * thin)
        case "tentative":
            cv2.rectangle(canvas, first, last, colour, thin)
        case "lost":
            _dashed(canvas, first, last, colour)


def _dashed(canvas: Image, first: Point, last: Point, colour: Colour) -> None:
    thin = _thickness(canvas)
    dash = max(4, canvas.shape[0] // 60)
    (left, top), (right, bottom) = first, last
    for x in range(left, right, 2 * dash):
        for y in (top, bottom):
            cv2.line(canvas, (x, y), (min(x + dash, right), y), colour, thin)
    for y in range(top, bottom, 2 * dash):
        for x in (left, right):
            cv2.line(canvas, (x, y), (x, min(y + dash, bottom)), colour, thin)


def _trail(canvas: Image, points: Sequence[Point], colour: Colour) -> None:
    if len(points) > 1:
        line = np.array(points, np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, colour, _thickness(canvas), cv2.LINE_AA)


def _tag(canvas: Image, track: Track) -> None:
    left, top, _, _ = _corners(track.box, (canvas.shape[1], canvas.shape[0]))
    corner = left, top - _line_height(canvas)
    if track.status == "lost":
        _letters(canvas, str(track.id), corner, colour_of(track.id))
        return
    text = f"{track.id} {track.label} {track.score:.2f}"
    if track.status != "confirmed":
        text += f" {track.status}"
    _plate(canvas, text, corner, colour_of(track.id))


def _values(canvas: Image, values: Mapping[str, Any]) -> None:
    height = _line_height(canvas)
    for row, (name, value) in enumerate(values.items()):
        _plate(canvas, f"{name}: {readable(value)}", (0, row * height), _BLACK)


def _frame_line(canvas: Image, record: Record) -> None:
    parts = [f"frame {record.frame}", f"{record.captured_at:.2f} s"]
    if record.age_ms:
        parts.append(f"age {record.age_ms:.0f} ms")
    if record.dropped:
        parts.append(f"{record.dropped} dropped")
    if record.condition != "good":
        parts.append(record.condition)
    _plate(canvas, "  ".join(parts), (0, canvas.shape[0] - _line_height(canvas)), _BLACK)


def _line_height(canvas: Image) -> int:
    return max(14, round(int(canvas.shape[0]) / 32))


def _plate(canvas: Image, text: str, corner: Point, colour: Colour) -> None:
    """Write one line on a filled plate whose left top is `corner`, moved to be in the picture."""
    height, width = _line_height(canvas), _line_width(canvas, text)
    left, top = _moved_inside(canvas, corner, width)
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), colour, cv2.FILLED)
    ink = _BLACK if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else _WHITE
    _ink(canvas, text, (left, top), ink)


def _letters(canvas: Image, text: str, corner: Point, colour: Colour) -> None:
    """Write one line without a plate, edged in black to stand out from whatever is behind."""
    place = _moved_inside(canvas, corner, _line_width(canvas, text))
    _ink(canvas, text, place, _BLACK, edge=2)
    _ink(canvas, text, place, colour)


def _moved_inside(canvas: Image, corner: Point, width: int) -> Point:
    left = max(0, min(corner[0], canvas.shape[1] - width))
    return left, max(0, min(corner[1], canvas.shape[0] - _line_height(canvas)))


def _line_width(canvas: Image, text: str) -> int:
    scale, weight = _font(canvas)
    return int(cv2.getTextSize(text, _FONT, scale, weight)[0][0]) + _line_height(canvas) // 2


def _ink(canvas: Image, text: str, corner: Point, colour: Colour, edge: int = 0) -> None:
    height, (scale, weight) = _line_height(canvas), _font(canvas)
    place = (corner[0] + height // 4, corner[1] + round(height * 0.74))
    cv2.putText(canvas, text, place, _FONT, scale, colour, weight + edge, cv2.LINE_AA)


def _font(canvas: Image) -> tuple[float, int]:
    """Return scale and line width of the letters."""
    height = _line_height(canvas)
    return height / 36, max(1, round(height / 24))
