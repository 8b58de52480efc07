"""One frame through all: every live track is stepped, a detector looks when it is due.

What it finds, and what a second look finds where a track was missed, is matched with the tracks.
Beside them, sequence models: each looks at the whole frame and gives a value.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edge import bundle as bundles
from edge.aside import Aside, Look
from edge.config import DetectionSettings, Settings, TrackingSettings
from edge.decode import suppress
from edge.detection_tracker import DetectionTracker
from edge.detector import Detector, open_detector
from edge.errors import UsageError
from edge.live_targets import LiveTargets
from edge.recurrent import RecurrentTracker
from edge.saved import SavedTracks
from edge.second_look import SAME, SecondLook, joined
from edge.sequence import SequenceModel
from edge.types import Box, Carried, Detections, Event, Frame, Image, Track
from edge.vitals import Stages

Model = Detector | SequenceModel | RecurrentTracker
EVERY = 10
"""Where tracks are followed by their pictures, the detectors look at every n-th frame."""
_EVERY_IN_DOUBT = 2
"""The same while a track is in doubt: what comes back is seldom seen at the first look."""


class Tracker:
    """Follows what its detectors find, or what it is given, and steps its sequence models.

    Invariant: a frame that is frozen, black or a repetition is never looked at; tracks coast and
    values stay.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        detection: DetectionSettings | None = None,
        tracking: TrackingSettings | None = None,
        sequences: Sequence[SequenceModel] = (),
        recurrent: RecurrentTracker | None = None,
        aside: Aside | None = None,
    ) -> None:
        """Begin without tracks.

        Args:
            detectors: Each looks at every frame that is due; their labels stay apart.
            detection: How often they look.
            tracking: How detections become tracks.
            sequences: Each steps at every good frame, however often the detectors look.
            recurrent: Follows the tracks from frame to frame; without it their motion alone does.
            aside: Where the detectors look; None: always in the path.

        Raises:
            UsageError: There is no model.
        """
        if not detectors and not sequences and not recurrent:
            raise UsageError("models: none given; name at least one, such as face")
        self._detectors = detectors
        self._sequences = sequences
        self._targets = LiveTargets(recurrent) if recurrent else None
        self.values: dict[str, Any] = {}
        """What each sequence model says of the last frame, by its name; see `edge.sequence`."""
        self._detection = detection or DetectionSettings()
        labels = [label for detector in detectors for label in detector.labels]
        closer = [detector.close_up for detector in detectors for _ in detector.labels]
        self._second_look = SecondLook(closer, self._detection.second_looks)
        thresholds = [d.score_threshold for d in detectors for _ in d.labels]
        tracking = tracking or TrackingSettings()
        if not detectors:  # nobody could confirm what is followed
            tracking = msgspec.structs.replace(tracking, trust_s=math.inf)
        self._association = DetectionTracker(tracking, labels or ["target"], thresholds)
        self._aside = aside or Aside()
        self.stages = Stages(self._aside.clock)
        """Seconds of the last update: step, detect, associate; aside, which took no time of it."""
        self._late_events: list[Event] = []
        self._every = self._detection.every or (EVERY if recurrent else 1)
        self._rest = 0  # frames until the detectors look again
        self._given: list[Box] = []
        self._resuming = False  # there are tracks, and no targets of them yet

    @classmethod
    def from_models(cls, models: Sequence[str] = ("face",)) -> "Tracker":
        """Load bundles by installed name or folder, everything else at its default.

        Raises:
            BundleError: A bundle is missing, damaged or of a kind that does not run here.
            BackendError: No interpreter for it is installed.
        """
        return cls.from_settings(Settings(models=tuple(models)))

    @classmethod
    def from_settings(cls, settings: Settings, live: bool = False) -> "Tracker":
        """Load what the settings name; see `from_models`.

        Args:
            settings: Of the whole run.
            live: Detectors may look aside. What comes of a frame then depends on when they are
                done; without it equal frames give equal tracks.
        """
        models = open_models(settings)
        return cls(
            [model for model in models if isinstance(model, Detector)],
            settings.detection,
            settings.tracking,
            [model for model in models if isinstance(model, SequenceModel)],
            next((model for model in models if isinstance(model, RecurrentTracker)), None),
            Aside(settings.detection.aside if live else "never"),
        )

    def follow(self, box: Box) -> None:
        """Begin a track at this box of the next good frame, as if a detector found it there.

        Where a look is under way aside, it is the next good frame after that look.

        That `update` raises a `UsageError` where the box lies outside the frame.

        Raises:
            UsageError: No model can follow it, or the box has no area.
        """
        if self._targets is None:
            raise UsageError("target: no model follows one; add a tracker bundle, such as track")
        left, top, right, bottom = box
        if not (np.isfinite(box).all() and left < right and top < bottom):
            raise UsageError(f"target {_words(box)}: has no area; give a box with one")
        self._given.append(box)

    @property
    def every(self) -> int:
        """The detectors look at every so many-th frame; may be changed between two frames."""
        return self._every

    @every.setter
    def every(self, every: int) -> None:
        self._every, self._rest = every, min(self._rest, every)

    @property
    def blind(self) -> bool:
        """Whether a tracker bundle has nothing to follow: no detector, and nothing was given."""
        return self._targets is not None and not (self._detectors or self._given)

    @property
    def events(self) -> list[Event]:
        """What changed in the last update; nothing of a track that began and ended in it."""
        if not self._late_events:
            return self._association.events
        events = self._late_events + self._association.events
        brief = {e.id for e in events if e.type == "new"} & {
            e.id for e in events if e.type == "end"
        }
        return [event for event in events if event.id not in brief]

    def update(self, frame: Frame) -> list[Track]:
        """Take the next frame and return all live tracks; `values` and `events` belong to it.

        Raises:
            UsageError: A target that was given cannot be followed.
            BackendError: A look aside does not come to its end.
        """
        self.stages = Stages(self._aside.clock)
        self._aside.saw(frame)
        self._late_events = self._catch_up()
        with self.stages.timed("step"):
            for sequence in self._sequences:
                if (value := sequence.update(frame)) is not None:
                    self.values = {**self.values, sequence.name: value}
            good = frame.condition == "good"
            carried = None
            if self._targets and good and not self._resuming:
                carried = self._targets.step(frame)
        if not good or not self._is_due():
            tracks = self._coast(frame, carried)
        elif not self._given and self._aside.wanted():
            tracks = self._look_aside(frame, carried)
        else:
            given, self._given = self._given, []
            tracks = self._look(Look(frame, carried, self._association, self.stages, given))
            self._aside.took(self.stages["detect"])
        if self._targets and good:
            self._resuming = False
            with self.stages.timed("step"):
                self._targets.keep(frame, *self._association.live())
        return tracks

    def emit(self, at: float) -> list[Track]:
        """Return the tracks of the last frame with `box_now` carried forward to the time `at`."""
        return self._association.emit(at, self._targets.at(at) if self._targets else None)

    def saved(self) -> SavedTracks:
        """Return all that is known of the tracks, as plain values."""
        return self._association.saved()

    def restore(self, saved: SavedTracks) -> None:
        """Go on from what a tracker knew, this one or another; to be called before any frame.

        Tracks whose label is known here keep their ids. The state of sequence models is fresh, and
        targets that are followed by their pictures begin anew where their tracks are.
        """
        self._association.restore(saved)
        self._resuming = bool(saved.ids)

    def adopt(self, other: "Tracker", *, same_picture: bool = True) -> None:
        """Take over from another tracker between two frames; see `restore`.

        Args:
            other: Not to be used any more.
            same_picture: The same camera with the same view; otherwise all tracks end.
        """
        saved = other.saved()
        self._association.restore(saved, known=same_picture)
        self._resuming = bool(saved.ids) and same_picture

    def close(self, wait_s: float = 3.0) -> None:
        """Wait for the detectors if they look aside, at most so long."""
        self._aside.close(wait_s)

    def _is_due(self) -> bool:
        """Say whether this frame is looked at: in its turn, or because a presence is low."""
        self._rest -= 1
        low, fell = (
            self._targets.doubted(self._detection.doubt) if self._targets else (False, False)
        )
        due = self._rest <= max(0, self._every - _EVERY_IN_DOUBT if low else 0)
        if not due and not fell and not self._given:
            return False
        if self._aside.look:  # the next one begins when it has ended
            self._rest = 0
            return False
        self._rest = self._every
        return bool(self._detectors or self._given)

    def _coast(self, frame: Frame, carried: Carried | None) -> list[Track]:
        """Let the tracks go on over a frame that is not looked at, or not yet."""
        if self._aside.look:
            self._aside.look.since.append((frame.captured_at, carried))
        with self.stages.timed("associate"):
            return self._association.coast(frame.captured_at, carried)

    def _look_aside(self, frame: Frame, carried: Carried | None) -> list[Track]:
        """Have the frame looked at while the tracks go on."""
        look = Look(frame, carried, self._association.copy(), Stages(self._aside.clock))
        tracks = self._coast(frame, carried)
        self._aside.begin(look, self._look)
        return tracks

    def _catch_up(self) -> list[Event]:
        """Put in place what a look aside made of the tracks, if it has ended.

        It was given them as they were before its frame. They take what came since, corrected by
        what it found: so they are where they were if it had taken no time, states apart, which are
        not rewound.

        Returns:
            what changes thereby.
        """
        look = self._aside.late()
        if look is None:
            return []
        self._aside.took(look.stages["detect"])
        self.stages["aside"] = sum(look.stages.values())
        with self.stages.timed("associate"):
            correction = None
            if self._targets and look.carried:
                found = look.tracks.live()
                correction = self._targets.correct(look.frame, look.carried, *found)
            for at, carried in look.since:
                look.tracks.coast(at, correction.of(carried) if correction and carried else carried)
            events = look.tracks.overtake(self._association)
        self._association = look.tracks
        return events

    def _look(self, look: Look) -> list[Track]:
        """Find what is in the frame, match it with the tracks, and look again for those missed."""
        image, tracks, stages = look.frame.image, look.tracks, look.stages
        with stages.timed("detect"):
            found = self._second_look.confirm(image, self._detect(image))
            if look.given:
                found = suppress(joined((_taken(look.given, image), found)), SAME)
        with stages.timed("associate"):
            now = tracks.update(
                found.boxes, found.scores, found.labels, look.frame.captured_at, look.carried
            )
        with stages.timed("detect"):
            again = self._second_look.search(image, tracks.missed(), found)
        if not len(again):
            return now
        with stages.timed("associate"):
            return tracks.look_again(again.boxes, again.scores, again.labels)

    def _detect(self, image: Image) -> Detections:
        """Return what all detectors find, their labels numbered through."""
        parts, offset = [Detections.none()], 0
        for detector in self._detectors:
            found = detector.detect(image)
            parts.append(Detections(found.boxes, found.scores, found.labels + offset))
            offset += len(detector.labels)
        return parts[-1] if len(parts) <= 2 else joined(parts)


def open_models(settings: Settings) -> list[Model]:
    """Load the bundles that the settings name, in that order, each opened as what it is.

    Raises:
        UsageError: One is named twice, two sequence models have one name, or two are trackers.
        BundleError: One is missing, damaged or of a kind that does not run here.
        BackendError: No interpreter for it is installed.
    """
    if len(set(settings.models)) < len(settings.models):
        raise UsageError(
            f"models: {', '.join(settings.models)} names one twice; every target would be "
            "tracked twice, name each once"
        )
    models = [_open_model(name, settings) for name in settings.models]
    names = [model.name for model in models if isinstance(model, SequenceModel)]
    if len(set(names)) < len(names):
        raise UsageError(
            f"models: two of the sequence models {', '.join(names)} have one name, by which their "
            "values are told apart; give one manifest another"
        )
    if sum(isinstance(model, RecurrentTracker) for model in models) > 1:
        raise UsageError(
            f"models: {', '.join(settings.models)} has more than one tracker; a track is followed "
            "by one, name one"
        )
    return models


def _open_model(name: str, settings: Settings) -> Model:
    bundle, run, look = bundles.load(bundles.find(name)), settings.inference, settings.detection
    match bundle.manifest.kind:
        case "detector":
            return open_detector(bundle, run, look.score_threshold, look.second_looks > 0)
        case "sequence":
            return SequenceModel(bundle, run.backend, run.threads)
        case "tracker":
            return RecurrentTracker(bundle, run.backend, run.threads)


def _taken(given: list[Box], image: Image) -> Detections:
    """Return boxes that were given as detections beyond doubt, of the first label."""
    height, width = image.shape[:2]
    for box in given:
        left, top, right, bottom = box
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            wrong = "lies outside"
        elif right - left > width or bottom - top > height:
            wrong = "is larger than"
        else:
            continue
        raise UsageError(
            f"target {_words(box)}: {wrong} the frame of {width}x{height}; give one inside it"
        )
    boxes = np.array(given)
    return Detections(boxes, np.ones(len(boxes)), np.zeros(len(boxes), np.int64))


def _words(box: Box) -> str:
    """Return a box as `--init` takes it."""
    left, top, right, bottom = box
    return f"{left:g},{top:g},{right - left:g},{bottom - top:g} (left, top, width, height)"
