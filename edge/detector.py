"""A detector bundle at work: letterbox -> network -> decode, for a frame or a region of it."""

from collections.abc import Mapping

from edge import bundle as bundles
from edge.backends import Backend, open_session
from edge.bundle import Bundle, check_tensors
from edge.config import InferenceSettings
from edge.decode import head, head_outputs, real, suppress
from edge.errors import BundleError
from edge.preprocess import ImageTensor, Placement, Region
from edge.types import Array, Detections, Image, TensorSpec

CLOSE_UP_SCORE = 0.4
"""A closer look may be less sure: it only confirms detections and finds tracks again."""


class Detector:
    """Finds things in single frames; holds no state from one frame to the next."""

    kind = "detector"

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend = "auto",
        threads: int = 1,
        score_threshold: float | None = None,
    ) -> None:
        """Open the network and check it against the manifest.

        Args:
            bundle: Of kind `detector`.
            backend: Which interpreter.
            threads: Of the interpreter.
            score_threshold: In place of the bundle's own.

        Raises:
            BundleError: It is no detector, or the network is not what the manifest says.
            BackendError: No interpreter for it is installed.
        """
        manifest = bundle.manifest
        if manifest.kind != "detector" or manifest.input is None or manifest.decode is None:
            raise BundleError(
                f"{bundle.folder}: is a {manifest.kind}, not a detector; name another"
            )
        self.name = manifest.name
        self.labels = manifest.labels
        self.close_up: Detector | None = None
        """Looks closer at a region; `open_detector` sets it where the manifest names one."""
        self.session = open_session(bundle.network("detector"), backend, threads)
        self.backend = self.session.backend
        spec = manifest.input
        image = {spec.name: TensorSpec(spec.name, (1, *spec.shape), spec.dtype)}
        check_tensors(bundle.folder, "input", image, self.session.inputs.values())
        needed = head_outputs(manifest.decode, spec.size)
        found = {
            name: self.session.outputs[name] for name in needed if name in self.session.outputs
        }
        wanted = {
            n: TensorSpec(n, s, found[n].dtype if n in found else "") for n, s in needed.items()
        }
        check_tensors(bundle.folder, "output", wanted, self.session.outputs.values())
        self._outputs = found
        self.input = spec.name
        self._tensor = ImageTensor(spec, self.session.inputs[spec.name])
        own = getattr(manifest.decode, "score_threshold", 0.5)
        self.score_threshold = own if score_threshold is None else score_threshold
        """The score from which a detection is returned and to be believed."""
        self._decode = head(manifest.decode, spec.size, self.score_threshold)
        self._nms_iou = getattr(manifest.decode, "nms_iou", 0.5)

    def detect(self, image: Image, region: Region | None = None) -> Detections:
        """Return what stands in a frame, or in a region of it, in frame pixels.

        Args:
            image: (height, width, 3) RGB.
            region: Looked at with the network's full resolution; None for the whole frame.
        """
        tensor, placement = self.fit(image, region)
        return self.decode(self.session.run({self.input: tensor}), placement)

    def fit(self, image: Image, region: Region | None = None) -> tuple[Array, Placement]:
        """Return the network's input, which holds until the next one, and where the frame is."""
        return self._tensor.fill(image, region)

    def decode(self, outputs: Mapping[str, Array], placement: Placement) -> Detections:
        """Return what raw outputs mean, in frame pixels.

        Raises:
            BundleError: A class without a label was found.
        """
        values = {name: real(outputs[name], spec) for name, spec in self._outputs.items()}
        found = suppress(self._decode(values), self._nms_iou)
        if found.labels.max(initial=0) >= len(self.labels):
            raise BundleError(
                f"{self.name}: the network found class {found.labels.max()}, the bundle has "
                f"{len(self.labels)} labels; import it again with all of them"
            )
        return Detections(placement.to_frame(found.boxes), found.scores, found.labels)


def open_detector(
    bundle: Bundle,
    inference: InferenceSettings | None = None,
    score_threshold: float | None = None,
    close_up: bool = True,
) -> Detector:
    """Open a detector, and the one that looks closer for it.

    Args:
        bundle: Of kind `detector`.
        inference: None: the defaults.
        score_threshold: In place of the bundle's own.
        close_up: Also load the bundle that looks closer for it, where there is one.

    Raises:
        BundleError: It is no detector, or the bundle that looks closer is missing or damaged.
        BackendError: No interpreter for it is installed.
    """
    run = inference or InferenceSettings()
    detector = Detector(bundle, run.backend, run.threads, score_threshold)
    if close_up and bundle.manifest.close_up:
        closer = bundles.load(bundles.find(bundle.manifest.close_up))
        detector.close_up = Detector(closer, run.backend, run.threads, CLOSE_UP_SCORE)
    return detector
