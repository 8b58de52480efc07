"""Do the models that are configured work here, in the interpreter that will run them?"""

from collections.abc import Iterator
from pathlib import Path

from edge import bundle as bundles
from edge.backends import Installed, available
from edge.config import Settings
from edge.doctor.board import versions
from edge.doctor.machine import Check, refused
from edge.errors import EdgeError
from edge.proof import doubt, prove

_PACKAGES: dict[Installed, str] = {
    "litert": "ai-edge-litert",
    "tflite-runtime": "tflite-runtime",
    "onnx": "onnxruntime",
}
_HOMES = ("/home", "/root")


def check_interpreters(settings: Settings) -> Check:
    """Say which interpreters are installed, and which one is chosen."""
    wanted, there = settings.inference.backend, available()
    found = ", ".join(f"{name} ({', '.join(versions((_PACKAGES[name],)))})" for name in there)
    if not there:
        return Check("interpreter", "FAIL", "none is installed", "pip install ai-edge-litert")
    if wanted == "auto":
        return Check("interpreter", "ok", f"{there[0]} where it can; installed: {found}")
    if wanted not in there:
        advice = "change inference.backend, or pip install 'edgetrack[all]'"
        return Check("interpreter", "FAIL", f"{wanted} is not installed; there is {found}", advice)
    return Check("interpreter", "ok", f"{wanted}; installed: {found}")


def check_models(settings: Settings, service: str) -> Iterator[Check]:
    """Load every model that is configured and replay its recording.

    Args:
        settings: Of the run.
        service: The unit that will run it, which sees no home; empty where none does.
    """
    motion = ("motion",) if settings.tracking.motion == "lstm" else ()
    for name in (*settings.models, *motion):
        try:
            bundle = bundles.load(bundles.find(name))
            results = list(prove(bundle, settings.inference.backend))
        except EdgeError as error:
            yield refused(f"model {name}", error)
            continue
        if service and _is_in_a_home(bundle.folder):
            advice = f"`edgetrack models install {bundle.folder} --place /var/lib/edgetrack/models`"
            found = f"{bundle.folder}: {service} cannot read it, it sees no home"
            yield Check(f"model {name}", "FAIL", found, advice)
        elif unproven := doubt(bundle):
            found, _, advice = unproven.rpartition("; ")
            yield Check(f"model {name}", "warn", found, advice)
        else:
            found = f"{bundle.manifest.version}, {'; '.join(results)}"
            yield Check(f"model {name}", "ok", found)


def _is_in_a_home(folder: Path) -> bool:
    """Say whether a bundle is a user's own; the service's program brings the built-in ones."""
    built_in = bundles.model_folders()[-1].resolve()
    real = folder.resolve()
    return not real.is_relative_to(built_in) and any(map(real.is_relative_to, _HOMES))
