"""Is a bundle good on this device? Its recording is replayed by the interpreter that will run it.

Installing a model, switching to a version and a reload all ask here before anything changes.
"""

from collections.abc import Iterator, Sequence

from edge.backends import Backend, available
from edge.bundle import Bundle
from edge.errors import BackendError
from edge.manifest import Manifest, NetworkFormat
from edge.step import StepModel, replay_golden


def prove(bundle: Bundle, backend: Backend | None = None) -> Iterator[str]:
    """Open a bundle and replay its recording, if it has one.

    Args:
        bundle: Its files were compared with their hashes when it was loaded.
        backend: In which interpreter; None: in one after the other of those that are installed
            and can run it, at least one.

    Yields:
        how far each is from the recording, for people.

    Raises:
        BundleError: A network is not what the manifest says, or answers otherwise than recorded.
        BackendError: No interpreter for it is installed.
    """
    for model in opened(bundle, backend):
        if bundle.manifest.golden:
            yield replayed(model)


def opened(bundle: Bundle, backend: Backend | None = None) -> Iterator[StepModel]:
    """Open a bundle in one interpreter, or one after the other; see `prove`."""
    choices = _fitting(bundle) if backend is None else [backend]
    return (StepModel(bundle, choice) for choice in choices)


def replayed(model: StepModel) -> str:
    """Replay the recording of an opened bundle and say how far the interpreter is from it.

    Raises:
        BundleError: There is none, or the interpreter answers otherwise.
    """
    return f"{model.backend}: differs from the recording by {replay_golden(model):.2g} at most"


def doubt(bundle: Bundle) -> str:
    """Return why a bundle that passed is not proven, one line; empty where it is."""
    if bundle.manifest.golden:
        return ""
    return (
        f"{bundle.folder}: has no golden recording, so its answers on this device were not "
        "compared; convert it again to get one"
    )


def formats(manifest: Manifest) -> set[NetworkFormat]:
    """Return which formats there are of a bundle's networks."""
    return {fmt for files in manifest.networks.values() for fmt in files}


def _fitting(bundle: Bundle) -> Sequence[Backend]:
    there = formats(bundle.manifest)
    fitting = [b for b in available() if ("onnx" if b == "onnx" else "tflite") in there]
    if not fitting:
        raise BackendError(
            f"{bundle.folder}: has {', '.join(sorted(there))} and no interpreter for it is "
            "installed; pip install 'edgetrack[all]'"
        )
    return fitting
