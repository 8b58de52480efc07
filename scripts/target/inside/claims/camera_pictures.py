"""Pictures that show nothing: one that stands still, and a black one."""

import time
from typing import Any

from system import confirmed, status, until
from vivid import (
    PATIENCE_S,
    PLAYER,
    emitted,
    first,
    fresh,
    mark,
    reaches,
    same_process,
    shown_since,
)


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
    place, moment = mark(), time.monotonic()
    PLAYER.start("black")
    moment = shown_since(moment)
    black_s = reaches("black") - moment
    first(place, _black_and_nothing, "a record that says black and has no track any more")
    place, moment = mark(), time.monotonic()
    PLAYER.stop()
    PLAYER.start()
    record = first(place, confirmed, "a track")
    track_s = emitted(record) - shown_since(moment)
    reaches("streaming")
    return f"black after {black_s:.1f} s, a track {track_s:.1f} s after faces are shown again"


def _black_and_nothing(record: dict[str, Any]) -> bool:
    return record.get("condition") == "black" and not record["tracks"]


CLAIMS = (frozen, black)
