"""Will edgetrack work on this machine? One check a thing, and what to do where it will not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.config import BudgetSettings, Settings, load_settings
from edge.doctor.board import check_board
from edge.doctor.camera import check_source
from edge.doctor.machine import Check, Machine, refused
from edge.doctor.models import check_interpreters, check_models
from edge.doctor.outputs import check_sinks
from edge.doctor.service import SETTINGS, Service, ask_service, check_service
from edge.errors import ConfigError

__all__ = ["Check", "Machine", "examine"]


@dataclass(frozen=True)
class Subject:
    """A configuration that is examined."""

    path: Path
    name: str
    """Of the service that reads it; empty where none does."""


def examine(word: str | None, machine: Machine) -> Iterator[Check]:
    """Examine a machine and what is configured on it.

    Args:
        word: The name of a camera's service, or a configuration file; None: every service that
            has a configuration.
        machine: Where to read.

    Yields:
        one check after the other, the machine's first.
    """
    yield from check_board(machine, BudgetSettings().hot_c)
    subjects = [_subject(word)] if word else _services(machine)
    if not subjects:
        yield check_interpreters(Settings())
        yield from check_models(Settings(), "")
        yield Check(
            "settings", "ok", f"{SETTINGS}: no camera is configured; defaults were examined"
        )
    for subject in subjects:
        for check in _examined(machine, subject):
            topic = f"{subject.path.stem}: {check.topic}" if len(subjects) > 1 else check.topic
            yield msgspec.structs.replace(check, topic=topic)


def _subject(word: str) -> Subject:
    path = Path(word)
    if path.suffix != ".toml" and path.name == word:
        return Subject(Path(SETTINGS, f"{word}.toml"), word)
    in_place = path.absolute().parent == Path(SETTINGS)
    return Subject(path.absolute(), path.stem if in_place else "")


def _services(machine: Machine) -> list[Subject]:
    names = sorted(path.stem for path in machine.path(SETTINGS).glob("*.toml"))
    return [Subject(Path(SETTINGS, f"{name}.toml"), name) for name in names]


def _examined(machine: Machine, subject: Subject) -> Iterator[Check]:
    """Examine one configuration and what it names."""
    service = ask_service(machine, subject.name)
    try:
        settings = load_settings(machine.path(subject.path))
    except ConfigError as error:
        yield refused("settings", error)
        yield from _unit(machine, service)
        return
    yield Check("settings", "ok", f"{subject.path}: every key is good")
    yield check_interpreters(settings)
    yield from check_models(settings, service.unit)
    yield from check_source(machine, settings, service)
    yield from check_sinks(machine, settings, service)
    yield from _unit(machine, service)


def _unit(machine: Machine, service: Service) -> Iterator[Check]:
    if service.name:
        yield from check_service(machine, service)
