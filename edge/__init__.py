"""edgetrack: real-time tracking on low-power devices.

The path of a frame, and the module that each stop is:

    sources -> (newest-frame slot) -> tracker -> sinks
    pipeline    reads frames, drops what is late, hands records on
    condition   keeps frozen, black and repeated frames away from the networks
    tracker     one frame: recurrent, then detector -> second look -> detection_tracker; sequence
                beside them
    recurrent   crops -> step -> where the live tracks are now; without it their motion says
    detector    preprocess -> backends -> decode
    detection_tracker   motion -> association -> lifecycle
    sequence    preprocess -> step -> a value: a recurrent model that looks at every frame
    step        one step of a recurrent model, its state a value

The names below are the public ones; each is imported when it is first used, so that a program
which only associates boxes loads neither OpenCV nor an interpreter.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.config import Settings, TrackingSettings, load_settings
    from edge.detection_tracker import DetectionTracker
    from edge.detector import Detector
    from edge.errors import EdgeError
    from edge.pipeline import track
    from edge.sources import open_source
    from edge.step import StepModel, load_step
    from edge.tracker import Tracker
    from edge.types import Detections, Event, Frame, Record, Track

_HOMES = {
    "DetectionTracker": "detection_tracker",
    "Detections": "types",
    "Detector": "detector",
    "EdgeError": "errors",
    "Event": "types",
    "Frame": "types",
    "Record": "types",
    "Settings": "config",
    "StepModel": "step",
    "Track": "types",
    "Tracker": "tracker",
    "TrackingSettings": "config",
    "load_settings": "config",
    "load_step": "step",
    "open_source": "sources",
    "track": "pipeline",
}

__all__ = [
    "DetectionTracker",
    "Detections",
    "Detector",
    "EdgeError",
    "Event",
    "Frame",
    "Record",
    "Settings",
    "StepModel",
    "Track",
    "Tracker",
    "TrackingSettings",
    "load_settings",
    "load_step",
    "open_source",
    "track",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    value = getattr(import_module(f"edge.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
