"""Settings: typed sections of a TOML file; every error names the file, the key and the value."""

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import msgspec

from edge.errors import ConfigError
from edge.shown import harmless

Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_RISING = (
    ("tracking", "low_score", "high_score"),
    ("tracking", "lost_presence", "found_presence"),
    ("budget", "cool_c", "hot_c"),
)
"""Settings of a section of which the first may not be more than the second."""


class TrackingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How detections become tracks; one default setting serves people, faces and cars."""

    high_score: Share = 0.5
    """Detections from this score are matched first; the rest may take what they leave."""
    low_score: Share = 0.1
    """Detections below this score are ignored; those below `high_score` only continue tracks."""
    birth_score: Share = 0.65
    """A detection that matches no track begins one from this score."""
    confirm_score: Share = 0.9
    """A track that begins with a detection from this score is confirmed at once."""
    confirm_s: Seconds = 0.05
    """A tentative track is confirmed when it is seen again at this age or later."""
    tentative_s: Seconds = 0.1
    """A tentative track ends when a look misses it and it was unseen for longer."""
    max_lost_s: Seconds = 2.0
    """A lost track ends when it was unseen for longer."""
    coast_s: Seconds = 1.0
    """A confirmed track is lost when no frame was looked at for longer."""
    min_overlap: Share = 0.2
    """A track and a detection with less intersection over union are never matched."""
    reach: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 0.3
    """How fast an unseen track's box widens to be compared: box sizes a second, each side. The
    LSTM has its own, from what it knows of the target."""
    jump: Annotated[float, msgspec.Meta(ge=0.0, le=20.0)] = 3.0
    """A track and a sure detection that stand alone are also matched up to so many box sizes
    apart; 0: never."""
    jump_s: Seconds = 0.5
    """Not when the track was unseen for longer."""
    presence_half_life_s: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] = 0.7
    """Presence, and what a match with the track is worth, halve in this time while it is unseen."""
    motion: Literal["lstm", "kalman"] = "kalman"
    """What carries tracks from detection to detection: the `motion` bundle or a Kalman filter."""
    lost_presence: Share = 0.3
    """With a tracker bundle: a track is lost when the presence that it gives falls below this."""
    found_presence: Share = 0.6
    """With a tracker bundle: a lost track is found when its presence is at least this."""
    trust_s: Seconds = 3.0
    """A tracker bundle is believed for so long after a detector last found the track; without a
    detector for ever."""


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a camera is asked for; the driver's answer may differ, and is reported."""

    width: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 640
    """Pixels; asked of cameras only."""
    height: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 480
    """Pixels; asked of cameras only."""
    fps: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 30.0
    """Frames a second: asked of cameras, and the rate of folders of images and of videos that
    state none."""
    transform: Literal["none", "rotate180", "hflip", "vflip"] = "none"
    """How `csi:` cameras turn the picture."""
    exposure_us: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    """Exposure time of `csi:` cameras in microseconds; left out: automatic."""
    deadline_s: Annotated[float, msgspec.Meta(ge=0.5, le=3600.0)] = 5.0
    """A camera from which nothing came for so long is lost, and is opened anew."""
    retry_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600.0)] = 0.25
    """Pause after the first failed opening; it doubles with every other one."""
    longest_retry_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600.0)] = 0.5
    """The longest pause between two openings: so much later than it could a camera comes back."""
    hang_s: Annotated[float, msgspec.Meta(ge=1.0, le=3600.0)] = 20.0
    """A driver that was told to let go and has not for so long, or whose opening takes so long,
    ends the process (exit code 69), so that whatever started it starts it again."""
    reopen_frozen_s: Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)] = 10.0
    """A camera whose picture stands still for so long is opened anew; 0: never."""


class DetectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often and how the detectors look."""

    every: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    """The detectors look at every n-th frame, between looks tracks are carried on; left out: at
    every frame, and with a tracker bundle, which then follows the tracks, at every 10th."""
    doubt: Share = 0.5
    """With a tracker bundle: the detectors look at once when a track's presence falls below, and
    at every second frame while it stays there."""
    score_threshold: Share | None = None
    """In place of each bundle's own."""
    aside: Literal["auto", "always", "never"] = "auto"
    """Live, the detectors look on a thread of their own and tracks go on meanwhile; auto: while
    a look takes longer than a frame lasts."""
    second_looks: Annotated[int, msgspec.Meta(ge=0, le=64)] = 2
    """At most so many closer looks a frame, at full resolution, where a detection is unsure or a
    track was missed; for models that have a network for it (`face` has)."""


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What gives way, live, when a frame takes too long or the board gets hot."""

    hold: bool = True
    """False: nothing gives way."""
    share: Annotated[float, msgspec.Meta(gt=0.0, le=4.0)] = 0.8
    """Of the time from one frame to the next, what a frame may take in the mean."""
    slowest_every: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 30
    """First the detectors look more rarely, at most at every so many frames."""
    slowest_fps: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 5.0
    """Last, frames are left out, down to so many a second."""
    hot_c: Annotated[float, msgspec.Meta(ge=0.0, le=150.0)] = 75.0
    """From this temperature of the board, degrees Celsius, less is done."""
    cool_c: Annotated[float, msgspec.Meta(ge=0.0, le=150.0)] = 68.0
    """Below this one more is done again."""


class FileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much the files of a live run may grow: each sink's and each recording's."""

    max_mb: Annotated[float, msgspec.Meta(gt=0.0, le=1e9)] = 256.0
    """A sink's files together, in units of 10^6 bytes; the oldest are removed."""
    max_age_h: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)] = 168.0
    """Hours after which what was written is removed."""


class DaemonSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What survives a restart, where a service manager gave a folder for it."""

    resume_s: Seconds = 10.0
    """State that is older at the start counts for nothing."""
    resume_tracks: bool = True
    """Live tracks go on after a restart; else only ids and counters do."""


class InferenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which interpreter runs the networks."""

    backend: Literal["auto", "litert", "tflite-runtime", "onnx"] = "auto"
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A configuration file: one camera, its models and where its records go."""

    camera: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "camera"
    """Its name in the records."""
    source: Annotated[str, msgspec.Meta(min_length=1)] = "0"
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("face",)
    sinks: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("-",)
    capture: SourceSettings = SourceSettings()
    detection: DetectionSettings = DetectionSettings()
    tracking: TrackingSettings = TrackingSettings()
    inference: InferenceSettings = InferenceSettings()
    budget: BudgetSettings = BudgetSettings()
    files: FileSettings = FileSettings()
    daemon: DaemonSettings = DaemonSettings()


def load_settings(path: Path) -> Settings:
    """Read a TOML file.

    Raises:
        ConfigError: It cannot be read, is no TOML, or a setting is unknown, of the wrong type or
            out of range; the message names file, key, what was found and what is allowed.
    """
    table = _read(path)
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error), table)}") from error
    if len(set(settings.models)) < len(settings.models):
        raise ConfigError(
            f"{path}: models: {list(settings.models)} names one twice; name each once"
        )
    for section, low, high in _RISING:
        values = getattr(settings, section)
        below, above = getattr(values, low), getattr(values, high)
        if below > above:
            raise ConfigError(
                f"{path}: {section}.{low}: is {below}, more than {high}, which is {above}; lower it"
            )
    return settings


def _read(path: Path) -> dict[str, Any]:
    """Return what a TOML file says, every number in it finite."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML, {error}; correct it") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply; correct it") from error
    if keys := _not_finite(table):
        raise ConfigError(f"{path}: {keys}: is no finite number; give one")
    return table


def _explain(message: str, table: dict[str, Any]) -> str:
    """Return msgspec's message with the key's path, the value found and what is allowed."""
    problem, _, place = message.replace(" | null", "").partition(" - at `$")  # TOML has no null
    keys = [key for key in re.split(r"[.\[\]`]+", place) if key and key != "..."]
    if unknown := re.search(r"unknown field `(.*)`", problem):
        section = _section(keys)
        allowed = ", ".join(section.__struct_fields__)
        return f"{'.'.join([*keys, unknown[1]])}: unknown key; allowed are {allowed}"
    found: Any = table
    for key in keys:
        found = found[int(key)] if isinstance(found, list) else found[key]
    if "enum" in problem:
        choices = get_args(_section(keys[:-1]).__annotations__[keys[-1]])
        return f"{'.'.join(keys)}: is {found!r}; allowed are {', '.join(choices)}"
    return f"{'.'.join(keys)}: is {harmless(found)!r}; {problem[0].lower()}{problem[1:]}"


def _section(keys: list[str]) -> type[msgspec.Struct]:
    section: Any = Settings
    for key in keys:
        section = section.__annotations__[key]
    return cast("type[msgspec.Struct]", section)


def _not_finite(table: dict[str, Any], prefix: str = "") -> str:
    """Return the path of a setting that is NaN or infinite, empty if there is none."""
    for key, value in table.items():
        if isinstance(value, dict) and (found := _not_finite(value, f"{prefix}{key}.")):
            return found
        if isinstance(value, float) and not math.isfinite(value):
            return f"{prefix}{key}"
    return ""
