"""One frame through detection, a second look where a track was missed, and association.

Beside them, sequence models: each looks at the whole frame and gives a value.
"""

from collections.abc import Sequence
from typing import Any

from edge import bundle as bundles
from edge.config import DetectionSettings, Settings, TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.detector import Detector, open_detector
from edge.errors import BundleError, UsageError
from edge.second_look import SecondLook, joined
from edge.sequence import SequenceModel
from edge.types import Detections, Event, Frame, Image, Track


class Tracker:
    """Follows what its detectors find from frame to frame, and steps its sequence models.

    Invariant: a frame that is frozen, black or a repetition is never looked at; tracks coast and
    values stay.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        detection: DetectionSettings | None = None,
        tracking: TrackingSettings | None = None,
        sequences: Sequence[SequenceModel] = (),
    ) -> None:
        """Begin without tracks.

        Args:
            detectors: Each looks at every frame that is due; their labels stay apart. With none
                there are no tracks.
            detection: How often they look.
            tracking: How detections become tracks.
            sequences: Each steps at every good frame, however often the detectors look.

        Raises:
            UsageError: There is no model.
        """
        if not detectors and not sequences:
            raise UsageError("models: none given; name at least one, such as face")
        self._detectors = detectors
        self._sequences = sequences
        self.values: dict[str, Any] = {}
        """What each sequence model says of the last frame, by its name; see `edge.sequence`."""
        self._detection = detection or DetectionSettings()
        labels = [label for detector in detectors for label in detector.labels]
        closer = [detector.close_up for detector in detectors for _ in detector.labels]
        self._second_look = SecondLook(closer, self._detection.second_looks)
        thresholds = [d.score_threshold for d in detectors for _ in d.labels]
        self._association = DetectionTracker(tracking, labels, thresholds)
        self._frames = 0

    @classmethod
    def from_models(cls, models: Sequence[str] = ("face",)) -> "Tracker":
        """Load bundles by installed name or folder, everything else at its default.

        Raises:
            BundleError: A bundle is missing, damaged or of a kind that does not run here.
            BackendError: No interpreter for it is installed.
        """
        return cls.from_settings(Settings(models=tuple(models)))

    @classmethod
    def from_settings(cls, settings: Settings) -> "Tracker":
        """Load what the settings name; see `from_models`."""
        models = open_models(settings)
        return cls(
            [model for model in models if isinstance(model, Detector)],
            settings.detection,
            settings.tracking,
            [model for model in models if isinstance(model, SequenceModel)],
        )

    @property
    def events(self) -> list[Event]:
        """What changed in the last update."""
        return self._association.events

    def update(self, frame: Frame) -> list[Track]:
        """Take the next frame and return all live tracks; `values` and `events` belong to it."""
        for sequence in self._sequences:
            if (value := sequence.update(frame)) is not None:
                self.values = {**self.values, sequence.name: value}
        if frame.condition != "good" or not self._is_due():
            return self._association.coast(frame.captured_at)
        found = self._second_look.confirm(frame.image, self._detect(frame.image))
        tracks = self._association.update(
            found.boxes, found.scores, found.labels, frame.captured_at
        )
        missed = self._association.missed()
        again = self._second_look.search(frame.image, missed, found)
        if not len(again):
            return tracks
        return self._association.look_again(again.boxes, again.scores, again.labels)

    def emit(self, at: float) -> list[Track]:
        """Return the tracks of the last frame with `box_now` carried forward to the time `at`."""
        return self._association.emit(at)

    def _is_due(self) -> bool:
        self._frames += 1
        return bool(self._detectors) and (self._frames - 1) % self._detection.every == 0

    def _detect(self, image: Image) -> Detections:
        """Return what all detectors find, their labels numbered through."""
        parts, offset = [], 0
        for detector in self._detectors:
            found = detector.detect(image)
            parts.append(Detections(found.boxes, found.scores, found.labels + offset))
            offset += len(detector.labels)
        return parts[0] if len(parts) == 1 else joined(parts)


def open_models(settings: Settings) -> list[Detector | SequenceModel]:
    """Load the bundles that the settings name, in that order, each opened as what it is.

    Raises:
        UsageError: One is named twice, or two sequence models have one name.
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
    return models


def _open_model(name: str, settings: Settings) -> Detector | SequenceModel:
    bundle, run, look = bundles.load(bundles.find(name)), settings.inference, settings.detection
    match bundle.manifest.kind:
        case "detector":
            return open_detector(bundle, run, look.score_threshold, look.second_looks > 0)
        case "sequence":
            return SequenceModel(bundle, run.backend, run.threads)
        case "tracker":
            raise BundleError(
                f"{bundle.folder}: is a tracker, this version runs detectors and sequence models; "
                "name another, or step it with edge.load_step"
            )
