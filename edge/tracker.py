"""One frame through detection, a second look where a track was missed, and association."""

from collections.abc import Sequence

from edge.config import DetectionSettings, Settings, TrackingSettings
from edge.detection_tracker import DetectionTracker
from edge.detector import Detector, open_detector
from edge.errors import UsageError
from edge.second_look import SecondLook, joined
from edge.types import Detections, Event, Frame, Image, Track


class Tracker:
    """Follows what its detectors find from frame to frame.

    Invariant: a frame that is frozen, black or a repetition is never looked at; tracks coast.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        detection: DetectionSettings | None = None,
        tracking: TrackingSettings | None = None,
    ) -> None:
        """Begin without tracks.

        Args:
            detectors: Each looks at every frame that is due; their labels stay apart.
            detection: How often they look.
            tracking: How detections become tracks.

        Raises:
            UsageError: There is no detector.
        """
        if not detectors:
            raise UsageError("models: none given; name at least one, such as face")
        self._detectors = detectors
        self._detection = detection or DetectionSettings()
        labels = [label for detector in detectors for label in detector.labels]
        closer = [detector.close_up for detector in detectors for _ in detector.labels]
        self._second_look = SecondLook(closer, self._detection.second_looks)
        thresholds = [d.score_threshold for d in detectors for _ in d.labels]
        self._association = DetectionTracker(tracking, labels, thresholds)
        self._frames = 0

    @classmethod
    def from_models(cls, models: Sequence[str] = ("face",)) -> "Tracker":
        """Load detector bundles by installed name or folder, everything else at its default.

        Raises:
            BundleError: A bundle is missing, damaged or no detector.
            BackendError: No interpreter for it is installed.
        """
        return cls.from_settings(Settings(models=tuple(models)))

    @classmethod
    def from_settings(cls, settings: Settings) -> "Tracker":
        """Load what the settings name; see `from_models`."""
        if len(set(settings.models)) < len(settings.models):
            raise UsageError(
                f"models: {', '.join(settings.models)} names one twice; every target would be "
                "tracked twice, name each once"
            )
        run, threshold = settings.inference, settings.detection.score_threshold
        detectors = [
            open_detector(name, run, threshold, close_up=settings.detection.second_looks > 0)
            for name in settings.models
        ]
        return cls(detectors, settings.detection, settings.tracking)

    @property
    def events(self) -> list[Event]:
        """What changed in the last update."""
        return self._association.events

    def update(self, frame: Frame) -> list[Track]:
        """Take the next frame and return all live tracks."""
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
        return (self._frames - 1) % self._detection.every == 0

    def _detect(self, image: Image) -> Detections:
        """Return what all detectors find, their labels numbered through."""
        parts, offset = [], 0
        for detector in self._detectors:
            found = detector.detect(image)
            parts.append(Detections(found.boxes, found.scores, found.labels + offset))
            offset += len(detector.labels)
        return parts[0] if len(parts) == 1 else joined(parts)
