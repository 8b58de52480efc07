"""What a live run is made of: words and a file become settings, settings become open parts."""

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from edge import bundle as bundles
from edge import proof
from edge.commands.outputs import open_all, refuse_overlap
from edge.config import Settings, load_settings
from edge.errors import ConfigError, UsageError
from edge.governor import Governor
from edge.heat import HeatReader
from edge.reload import Parts
from edge.shown import harmless, without_secrets
from edge.sinks.detached import Detached
from edge.sources import FrameSource, is_camera, open_source
from edge.sources.paced import Paced
from edge.tracker import Tracker
from edge.types import Box
from edge.vitals import Vitals

_log = logging.getLogger(__name__)

_FIXED = ("camera", "files")
"""Settings that no running process changes."""
_MOTION = "motion"
"""The bundle behind `tracking.motion = "lstm"`."""


def choose(settings: Settings, args: Namespace) -> Settings:
    """Return the settings with the words of the command line in place of the file's."""
    replace = msgspec.structs.replace
    if args.model:
        settings = replace(settings, models=tuple(args.model))
    if args.detect_every:
        detection = replace(settings.detection, every=args.detect_every)
        settings = replace(settings, detection=detection)
    if args.motion:
        settings = replace(settings, tracking=replace(settings.tracking, motion=args.motion))
    if args.backend:
        inference = replace(settings.inference, backend=args.backend)
        settings = replace(settings, inference=inference)
    return settings


def wanted(args: Namespace) -> Settings:
    """Return what a live run is told by its file and its command line.

    Raises:
        ConfigError: The file cannot be used.
        UsageError: Two outputs, or an output and an input, are one.
    """
    settings = choose(load_settings(args.config) if args.config else Settings(), args)
    if args.source is not None:
        settings = msgspec.structs.replace(settings, source=args.source)
    if args.sink:
        settings = msgspec.structs.replace(settings, sinks=tuple(args.sink))
    inputs: list[str | Path] = [settings.source]
    refuse_overlap(settings.sinks, inputs + ([args.config] if args.config else []))
    return settings


def open_tracker(settings: Settings, target: Box | None = None, *, live: bool = False) -> Tracker:
    """Load the models that the settings name, ready for the first frame.

    Args:
        settings: Of the whole run.
        target: What is to be followed from the first frame on: left, top, right, bottom in pixels.
        live: See `Tracker.from_settings`.

    Raises:
        UsageError: There is a tracker bundle, and nothing that it could ever follow.
    """
    tracker = Tracker.from_settings(settings, live)
    if target:
        tracker.follow(target)
    if tracker.blind:
        raise UsageError(
            "models: a tracker bundle follows what others find; add a detector, such as "
            "--model face, or give `edgetrack track` a target with --init"
        )
    return tracker


@dataclass(frozen=True)
class Opener:
    """Opens the parts of a live run, at its start and for a reload."""

    args: Namespace
    """The command line, which comes before the file each time."""
    vitals: Vitals
    opened: Callable[[FrameSource], None] = lambda _: None
    """Told of the source each time it is opened, in the thread that reads it."""

    def first(self, settings: Settings) -> Parts:
        """Open everything for the first time; the source itself is opened by the run.

        Raises:
            EdgeError: The source, a model or a sink is none, or cannot be used.
        """
        once = not is_camera(settings.source)
        tracker = open_tracker(settings, live=True)
        return self._parts(settings, tracker, once, {})

    def again(self, before: Parts) -> Parts:
        """Read settings and models anew, and open what a running process has not open yet.

        Models are proven first. Sinks whose address stays are taken over.

        Raises:
            EdgeError: Anything is not as it has to be; `before` can be used on.
        """
        settings = wanted(self.args)
        self._refuse_fixed(before.settings, settings)
        once = not is_camera(settings.source)
        tracker = open_tracker(_proven(settings), live=True)
        return self._parts(settings, tracker, once, before.outputs)

    def _parts(
        self, settings: Settings, tracker: Tracker, once: bool, known: Mapping[str, Detached]
    ) -> Parts:
        new = [uri for uri in settings.sinks if uri not in known]
        sinks = open_all(new, keep=True, files=settings.files, vitals=self.vitals)
        self.vitals.settings = harmless(msgspec.to_builtins(settings))
        opened = {uri: Detached(sink) for uri, sink in zip(new, sinks, strict=True)}
        return Parts(
            settings=settings,
            tracker=tracker,
            governor=Governor(settings.budget, tracker.every, HeatReader()),
            outputs={uri: known.get(uri) or opened[uri] for uri in settings.sinks},
            open_source=partial(self._open_source, settings),
            once=once,
        )

    def _open_source(self, settings: Settings) -> FrameSource:
        source = open_source(settings.source, settings.capture)
        self.opened(source)
        return source if source.live else Paced(source)

    def _refuse_fixed(self, before: Settings, settings: Settings) -> None:
        """Refuse changes that need a new process.

        Raises:
            ConfigError: There is one.
        """
        where = f"{self.args.config}: " if self.args.config else ""
        for key in _FIXED:
            if getattr(before, key) != getattr(settings, key):
                raise ConfigError(f"{where}{key}: was changed, which only a restart takes up")
        places = {uri.partition("?")[0]: uri for uri in before.sinks}
        for uri in settings.sinks:
            if uri != places.get(uri.partition("?")[0], uri):
                raise ConfigError(
                    f"{where}sinks: options of {without_secrets(uri)} were changed, which only a "
                    "restart takes up"
                )


def _proven(settings: Settings) -> Settings:
    """Return the settings with each model's folder, whose recording was replayed just now.

    Raises:
        BundleError: One is missing or damaged, or answers otherwise than recorded.
        BackendError: No interpreter for it is installed.
    """
    motion = [_MOTION] if settings.tracking.motion == "lstm" else []
    folders = []
    for name in (*settings.models, *motion):
        bundle = bundles.load(bundles.find(name))
        for line in proof.prove(bundle, settings.inference.backend):
            _log.info("%s: %s", bundle.folder, line)
        if doubt := proof.doubt(bundle):
            _log.warning("%s", doubt)
        folders.append(str(bundle.folder))
    return msgspec.structs.replace(settings, models=tuple(folders[: len(settings.models)]))
