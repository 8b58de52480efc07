"""What a run tells of itself, as Prometheus reads it; docs/observe.md lists the names."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)

from edge.types import CameraState
from edge.vitals import Status


def exposition(status: Status, accept: str) -> tuple[str, bytes]:
    """Return media type and text of all metrics.

    Args:
        status: What they say.
        accept: The formats that the reader takes, as in HTTP.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)  # memory, descriptors, processor time: standard names
    registry.register(_Run(status))
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


class _Run:
    """Collects the metrics of one moment."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from _run(self._status)
        yield from _frames(self._status)
        yield from _camera(self._status)
        yield from _pace(self._status)
        yield from _heat(self._status)


def _run(s: Status) -> Iterator[Metric]:
    about = {"camera": s.camera, "run": s.run, "models": ",".join(s.models)}
    yield InfoMetricFamily("edgetrack", "What runs.", about)
    yield GaugeMetricFamily("edgetrack_uptime_seconds", "Since this run began.", s.up_s)
    yield GaugeMetricFamily("edgetrack_tracks", "Tracks in the last record.", s.tracks)
    yield CounterMetricFamily("edgetrack_reloads", "Reloads that were taken.", s.reloads)
    yield GaugeMetricFamily(
        "edgetrack_reload_refused", "1 where the last reload was not taken.", bool(s.refused)
    )
    yield _counters(
        "edgetrack_records_unwritten", "Records that a sink did not write.", "sink", s.unwritten
    )


def _frames(s: Status) -> Iterator[Metric]:
    yield CounterMetricFamily("edgetrack_frames_seen", "Frames that the camera gave.", s.seen)
    yield CounterMetricFamily("edgetrack_frames", "Frames that were processed.", s.frames)
    yield _counters(
        "edgetrack_frames_dropped", "Frames that were not processed.", "reason", s.dropped
    )
    yield _counters(
        "edgetrack_frames_flagged", "Processed frames not looked at.", "condition", s.conditions
    )
    yield GaugeMetricFamily(
        "edgetrack_frames_per_second", "Processed, over the last seconds.", s.fps
    )
    yield GaugeMetricFamily(
        "edgetrack_frame_age_seconds", "From capture to record, mean.", s.age_ms / 1000
    )
    silent_s = s.up_s if s.silent_s is None else s.silent_s
    yield GaugeMetricFamily(
        "edgetrack_silent_seconds", "Since the last good frame, or since the start.", silent_s
    )
    stages = GaugeMetricFamily(
        "edgetrack_stage_seconds", "What a frame took, mean.", labels=["stage"]
    )
    for stage, ms in s.stages_ms.items():
        stages.add_metric([stage], ms / 1000)
    yield stages


def _camera(s: Status) -> Iterator[Metric]:
    states = {state: state == s.source.state for state in get_args(CameraState)}
    yield StateSetMetricFamily("edgetrack_camera_state", "1 for the state it is in.", states)
    yield GaugeMetricFamily("edgetrack_camera_state_seconds", "In this state for.", s.state_s)
    yield CounterMetricFamily(
        "edgetrack_camera_openings", "Times it was opened with success.", s.source.openings
    )


def _pace(s: Status) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "edgetrack_detect_every_frames", "Detectors look at every so many-th frame.", s.pace.every
    )
    yield GaugeMetricFamily(
        "edgetrack_frames_per_second_limit", "Frames taken at most; 0: no limit.", s.pace.fps
    )
    held = GaugeMetricFamily(
        "edgetrack_held_back", "1 while less is done than was asked for.", labels=["reason"]
    )
    for reason in ("time", "heat"):
        held.add_metric([reason], s.pace.reason == reason)
    yield held


def _heat(s: Status) -> Iterator[Metric]:
    if s.heat.temperature_c is not None:
        yield GaugeMetricFamily(
            "edgetrack_temperature_celsius", "Of the board.", s.heat.temperature_c
        )
    if s.heat.throttled is not None:
        yield GaugeMetricFamily(
            "edgetrack_throttled", "1 while the firmware lowers clocks.", s.heat.throttled
        )


def _counters(name: str, about: str, label: str, counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family
