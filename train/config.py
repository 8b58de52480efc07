"""Settings of data and scenes: a TOML file, typed and checked; errors name file, key and value."""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge.errors import ConfigError

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class DataSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where pictures and motion come from; folders are relative to where the command runs."""

    stills: str = "build/stills"
    """What `python -m train.stills --out` wrote."""
    trajectories: str = ""
    """A folder of `*.txt`, one sequence each, `x,y,w,h` a frame; empty or absent: random walks."""
    fps: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 30.0
    """Frames a second of the trajectories."""


class SceneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens in a scene; shares are of all scenes."""

    cameras: Share = 0.35
    """A virtual camera moves over a photograph; a part of it is the target."""
    cutouts: Share = 0.40
    """A cut-out is set into a photograph. The rest: a patch of a photograph with a soft edge."""
    distractors: Share = 0.4
    """Something that looks like the target, or like the photograph, moves beside it."""
    occluders: Share = 0.4
    """Something covers a part of the target; half of them look like it."""
    disappearances: Share = 0.3
    """Of sequences: the target is wholly covered for a while, or leaves the frame, and returns."""
    harmonised: Share = 0.4
    """The target's colours are moved towards the photograph's."""
    same_photo: Share = 0.35
    """Patches come from the scene's own photograph."""
    warped: Share = 0.4
    frame_size: Annotated[int, msgspec.Meta(ge=64, le=1024)] = 256
    """Pixels a side of the frames of a sequence, and of the plane in which targets move."""
    crop_size: Annotated[int, msgspec.Meta(ge=16, le=512)] = 96
    context: Annotated[float, msgspec.Meta(gt=1.0, le=8.0)] = 2.0
    """A crop covers so many times the box: the root of the ratio of their areas."""
    square: Share = 0.4
    """0: a crop has the box's shape, before it is made a square, to 1: it is cut as a square."""
    smallest: Annotated[float, msgspec.Meta(ge=8.0, le=1024.0)] = 20.0
    """Pixels of the smallest target: the root of its area."""
    largest: Annotated[float, msgspec.Meta(ge=8.0, le=1024.0)] = 100.0
    skips: Annotated[int, msgspec.Meta(ge=1, le=30)] = 4
    """Frames of a trajectory from one frame of a scene to the next: 1 to so many."""


class LightSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What camera and coding do to a picture; shares are of all scenes, or of frames where said."""

    grey: Share = 0.3
    blurred: Share = 0.3
    """Of frames: blur along a line."""
    low_resolution: Share = 0.2
    dark: Share = 0.1
    gain: Share = 0.5
    gradient: Share = 0.3
    noise: Share = 0.5
    jpeg: Share = 0.4


class FittingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long, how fast: AdamW, warm-up, a plateau, and a fall to nothing at the end."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 0
    steps: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    rate: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 2e-3
    decay: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1e-3
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 200
    """Steps until the rate is reached."""
    fall: Share = 0.4
    """Of all steps, at the end: the rate falls as half a cosine."""
    clip: Annotated[float, msgspec.Meta(gt=0.0)] = 5.0
    """The gradient's norm at most."""
    average: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.997
    """What a step keeps of the averaged weights."""
    checkpoint_s: Annotated[float, msgspec.Meta(gt=0.0)] = 60.0
    validate_every: Annotated[int, msgspec.Meta(ge=50)] = 500
    """Steps; a multiple of 50."""

    def share(self, step: int) -> float:
        """Return what of `rate` is used at a step."""
        rise = min(1.0, (step + 1) / (self.warm_up + 1))
        left = (self.steps - step) / max(1.0, self.fall * self.steps)
        return rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, left))))


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A configuration of the training."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    scenes: Count = 16
    """In a batch."""
    searches: Count = 5
    """Crops of a scene beside its template, where frames stand alone."""
    length: Count = 24
    """Frames of a sequence."""
    mistaken: Share = 0.15
    """Of searches: the template is another scene's, and the target absent."""
    stage: Literal["looking", "following"] = "looking"
    """Single looks, or sequences in closed loop."""
    memory: Literal["kept", "empty", "none"] = "kept"
    """Of `following`; the others are its controls: the same net whose memory is always empty, and
    the look alone, without an LSTM, fitted in the same closed loop."""
    pauses: tuple[Count, Count] = (6, 16)
    """Of `following`: frames from one box that is given to the next, at least and at most."""
    followed: Annotated[float, msgspec.Meta(ge=0.0)] = 0.5
    """Of `following`: weight of the box that is followed, beside what each look says."""
    foreseen: Annotated[float, msgspec.Meta(ge=0.0)] = 0.1
    """Of `following`: weight of the forecast."""
    data: DataSettings = DataSettings()
    fitting: FittingSettings = FittingSettings()
    scene: SceneSettings = SceneSettings()
    light: LightSettings = LightSettings()


def load_settings(path: Path) -> Settings:
    """Read a TOML file.

    Raises:
        ConfigError: It cannot be read, is no TOML, or a setting is unknown, of the wrong type, out
            of range or at odds with another.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML, {error}; correct it") from error
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error), table)}; see train/config.py") from error
    _check(path, settings.scene)
    return settings


def _check(path: Path, scene: SceneSettings) -> None:
    if not scene.cameras + scene.cutouts <= 1:
        found = f"cameras is {scene.cameras} and cutouts {scene.cutouts}, more than 1 together"
        raise ConfigError(f"{path}: scene: {found}; lower one")
    if not scene.smallest <= scene.largest <= scene.frame_size / 2:
        sizes = f"smallest is {scene.smallest}, largest {scene.largest}"
        raise ConfigError(
            f"{path}: scene: {sizes}, frame_size {scene.frame_size}; "
            "let smallest <= largest <= half the frame"
        )


def _explain(message: str, table: dict[str, Any]) -> str:
    """Return msgspec's message with the key's path and, where there is one, the value found."""
    problem, _, place = message.partition(" - at `$")
    keys = place.strip("`").strip(".")
    found: Any = table
    for key in keys.split(".") if keys else ():
        found = found[key]
    problem = problem[0].lower() + problem[1:]
    if "unknown field" in problem:
        return f"{keys or 'the file'}: {problem}"
    return f"{keys}: is {found!r}; {problem}"
