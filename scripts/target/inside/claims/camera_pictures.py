"""Pictures that show nothing: one that stands still, and a black one."""

import time

from system import confirmed, expect, status, until
from vivid import (
    PATIENCE_S,
    PLAYER,
    emitted,
    first,
    fresh,
    mark,
    reaches,
    same_process,
    show_pattern,
    shown_since,
)

BLACK = 5  # of vivid's test patterns


def frozen() -> str:
    """The picture stands still: records say frozen, it is opened anew, and well when it moves."""
    return same_process(_frozen)


def _frozen() -> str:
    PLAYER.stop()
    place, moment = mark(), time.monotonic()
    PLAYER.start("still")
    moment = shown_since(moment)
    still_s = reaches("frozen") - moment
    first(place, lambda r: r.get("condition") == "frozen", "a record that says frozen")
    openings = fresh()["source"]["openings"]
    until(lambda: status()["source"]["openings"] > openings, PATIENCE_S, "an opening")
    opened_s = time.monotonic() - moment
    moment = time.monotonic()
    PLAYER.stop()
    PLAYER.start()
    moment = shown_since(moment)
    moves_s = reaches("streaming") - moment
    times = f"frozen after {still_s:.1f} s, opened anew after {opened_s:.1f} s"
    return f"{times}, streaming {moves_s:.1f} s after it moves again"


def black() -> str:
    """The picture is black: records say black, no model sees it, and it is well when it is not."""
    return same_process(_black)


def _black() -> str:
    PLAYER.stop()
    place, moment = mark(), show_pattern(BLACK, clock=False)
    black_s = reaches("black") - moment
    record = first(place, lambda r: r.get("condition") == "black", "a record that says black")
    expect(not record["tracks"], f"it shows {record['tracks']}")
    place, moment = mark(), time.monotonic()
    PLAYER.start()
    record = first(place, confirmed, "a track")
    track_s = emitted(record) - shown_since(moment)
    reaches("streaming")
    return f"black after {black_s:.1f} s, a track {track_s:.1f} s after faces are shown again"


CLAIMS = (frozen, black)
