"""What is here and what is allowed: `check`, `devices`, `schema`."""

import sys
from argparse import Namespace
from pathlib import Path

import msgspec

from edge.commands import Commands
from edge.commands.outputs import refuse_overlap
from edge.config import Settings, load_settings
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.shown import without_secrets
from edge.sinks import output_path
from edge.sources.picamera import csi_cameras
from edge.sources.v4l2 import list_devices
from edge.tracker import open_models
from edge.types import Record

_SCHEMAS = {"config": Settings, "record": Record, "manifest": Manifest}


def add(commands: Commands) -> None:
    """Declare the commands."""
    check = commands.add_parser(
        "check",
        help="check a configuration file and the models it names",
        description="Check a configuration file: every key and value, and that its models load.",
    )
    check.add_argument("config", type=Path, help="a TOML file")
    check.set_defaults(command=_check)
    devices = commands.add_parser(
        "devices", help="list cameras", description="List the video devices of this machine."
    )
    devices.set_defaults(command=_devices)
    schema = commands.add_parser(
        "schema",
        help="print a JSON schema",
        description="Print the JSON schema of the configuration, a record or a bundle's manifest.",
    )
    schema.add_argument("of", choices=tuple(_SCHEMAS))
    schema.set_defaults(command=_schema)


def _check(args: Namespace) -> int:
    settings = load_settings(args.config)
    refuse_overlap(settings.sinks, [settings.source, args.config])
    for uri in settings.sinks:
        path = output_path(uri)
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{args.config}: sinks: {uri}: {path.parent} is no folder; create it")
    for name, model in zip(settings.models, open_models(settings), strict=True):
        print(f"model {name}: {model.kind}, {model.backend}, {len(model.labels)} labels")
    sinks = ", ".join(without_secrets(uri) for uri in settings.sinks)
    source = without_secrets(settings.source)
    print(f"{args.config}: good; source {source}, sinks {sinks}")
    return 0


def _devices(_args: Namespace) -> int:
    devices = [(device.path, device.name, *device.by_id) for device in list_devices()]
    for words in [*devices, *(csi := csi_cameras())]:
        print("  ".join(words))
    if not devices and not csi:
        print("no video device is connected", file=sys.stderr)
    return 0


def _schema(args: Namespace) -> int:
    schema = msgspec.json.encode(msgspec.json.schema(_SCHEMAS[args.of]))
    print(msgspec.json.format(schema, indent=2).decode())
    return 0
