"""One recurrent step: `outputs, state = model.step(inputs, state)`, the state a plain value."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edge import bundle as bundles
from edge.backends import Backend, Session, open_session
from edge.bundle import Bundle, check_tensors
from edge.errors import BackendError, BundleError
from edge.manifest import Golden, Role, StateTensor
from edge.preprocess import normalise
from edge.types import Array, State, TensorSpec

Recode = Callable[[Array], Array]


class StepModel:
    """A loaded model, shared and immutable: all memory of the past is in the state it is given."""

    def __init__(self, bundle: Bundle, backend: Backend = "auto", threads: int = 1) -> None:
        """Open the networks and check them against the manifest.

        Args:
            bundle: Of any kind; a detector is a model without state.
            backend: Which interpreter.
            threads: Of the interpreter.

        Raises:
            BundleError: A network is not what the manifest says.
            BackendError: No interpreter for it is installed.
        """
        self.manifest = bundle.manifest
        self.folder = bundle.folder
        self._state = (
            {s.name: s for s in self.manifest.state.tensors} if self.manifest.state else {}
        )
        roles: list[Role] = ["encoder", "step", "detector"]
        self._networks = [
            open_session(bundle.network(role), backend, threads)
            for role in roles
            if role in self.manifest.networks
        ]
        self.backend = self._networks[0].backend
        fed = dict(chain.from_iterable(n.inputs.items() for n in self._networks))
        given = dict(chain.from_iterable(n.outputs.items() for n in self._networks))
        declared = self._declared_inputs()
        self._check(declared, given)
        self.inputs = {name: fed[name] for name in declared}
        """Every input but the state, as the interpreter has it."""
        self.outputs = {name: given[name] for name in self.manifest.outputs}
        """Every output but the state, as the interpreter has it."""
        self._state_inputs = {s.name: fed[s.input] for s in self._state.values()}
        self._path = [
            (network, self._recodings(network, self._networks[index + 1 :]))
            for index, network in enumerate(self._networks)
        ]
        self._encoded = self._of_encoder(declared) if len(self._networks) > 1 else frozenset()

    def initial_state(self, rows: int = 1) -> State:
        """Return a fresh state.

        Args:
            rows: How many tracks stand in the batch, for states with a free dimension.
        """
        return {n: _initial(s, self._state_inputs[n], rows) for n, s in self._state.items()}

    def encode(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the first of two networks alone, the encoder.

        Args:
            inputs: What it takes, by the names in the manifest.

        Returns:
            All that it gives, as `step` takes it; the caller's to keep.

        Raises:
            BackendError: The model has no encoder, or an input is missing or does not fit.
        """
        if len(self._path) < 2:
            raise BackendError(f"{self.manifest.name}: has no encoder; call step with its inputs")
        network, recodings = self._path[0]
        found = dict(network.run(inputs))
        return found | {name: recode(found[name]) for name, recode in recodings}

    def step(self, inputs: Mapping[str, Array], state: State) -> tuple[dict[str, Array], State]:
        """Advance by one frame.

        Args:
            inputs: By the names in the manifest, in their tensors' own types. With what `encode`
                gave among them, the encoder is not run; what is given is never computed over.
            state: From `initial_state` or the last step; it is left as it is. Integers are in
                the coding of the input tensors.

        Returns:
            The outputs by name and the next state; both are the caller's to keep.

        Raises:
            BackendError: An input or a state is missing or of another shape or type.
        """
        values = dict(inputs)
        path = self._path[1:] if self._encoded and self._encoded <= inputs.keys() else self._path
        for name, spec in self._state.items():
            if name not in state:
                raise BackendError(
                    f"{self.manifest.name}: state {name!r} is missing; "
                    "give what initial_state() or the last step returned"
                )
            values[spec.input] = state[name]
        results: dict[str, Array] = {**inputs}
        for network, recodings in path:
            found = network.run(values)
            results.update(found)
            values.update(found)  # the encoder's outputs are the step's inputs
            for name, recode in recodings:
                values[name] = recode(found[name])
            if network is not self._networks[-1]:
                values.update(inputs)  # a template that was cached, not this frame's
        outputs = {name: results[name] for name in self.outputs}
        return outputs, {name: values[spec.output] for name, spec in self._state.items()}

    def invoke(self) -> None:
        """Compute every network again from its last inputs; for `bench`."""
        for network in self._networks:
            network.invoke()

    def _recodings(self, network: Session, later: list[Session]) -> list[tuple[str, Recode]]:
        """Return how those outputs change that are fed on, to `later` networks or the next step."""
        wanted = dict(chain.from_iterable(n.inputs.items() for n in later))
        states = {s.output: self._state_inputs[s.name] for s in self._state.values()}
        recodings: list[tuple[str, Recode]] = []
        for name, found in network.outputs.items():
            target = states.get(name) or wanted.get(name, found)
            if found.scale and target.scale and _coding(found) != _coding(target):
                recodings.append((name, partial(_recoded, found=found, wanted=target)))
            elif name in states and name in self.outputs:
                recodings.append((name, np.copy))  # the caller may write into the output
        return recodings

    def _of_encoder(self, declared: Mapping[str, TensorSpec]) -> frozenset[str]:
        """Return what only the encoder gives: given with the inputs, it need not run."""
        encoder, *later = self._networks
        wanted = {*chain.from_iterable(n.inputs for n in later), *self.outputs}
        return frozenset((encoder.outputs.keys() & wanted) - declared.keys())

    def _declared_inputs(self) -> dict[str, TensorSpec]:
        inputs = {n: TensorSpec(n, t.shape, t.dtype) for n, t in self.manifest.inputs.items()}
        if image := self.manifest.input:
            rows = -1 if self.manifest.free_batch else 1
            inputs[image.name] = TensorSpec(image.name, (rows, *image.shape), image.dtype)
        return inputs

    def _check(self, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> None:
        """Compare every tensor the manifest names with the network that has it."""
        given = dict(inputs)
        promised = {n: TensorSpec(n, t.shape, t.dtype) for n, t in self.manifest.outputs.items()}
        for state in self._state.values():
            given[state.input] = TensorSpec(state.input, state.shape, state.dtype)
            promised[state.output] = TensorSpec(state.output, state.shape, state.dtype)
        for name in given:
            if not any(name in network.inputs for network in self._networks):
                raise BundleError(
                    f"{self.folder}: no network has an input {name!r}; correct the manifest"
                )
        for network in self._networks:
            own = {name: spec for name, spec in given.items() if name in network.inputs}
            check_tensors(self.folder, "input", own, network.inputs.values())
            given |= network.outputs
        check_tensors(self.folder, "output", promised, outputs.values())
        if self.manifest.free_batch:
            self._check_rows()

    def _check_rows(self) -> None:
        """Refuse a network that takes one row where the manifest says that it takes any number."""
        for network in self._networks:
            for spec in (*network.inputs.values(), *network.outputs.values()):
                if spec.shape[:1] != (-1,):
                    raise BundleError(
                        f"{self.folder}: {spec.name!r} is {spec.dtype} {list(spec.shape)}, but its "
                        "first dimension must be free, a row for every track; convert again with "
                        "--scope per_track"
                    )


def load_step(folder: str | Path, backend: Backend = "auto", threads: int = 1) -> StepModel:
    """Load a bundle by its folder or installed name and open it as a step model.

    Raises:
        BundleError: It is missing, damaged or contradicts itself.
        BackendError: No interpreter for it is installed.
    """
    return StepModel(bundles.load(bundles.find(str(folder))), backend, threads)


def replay_golden(model: StepModel) -> float:
    """Replay a bundle's recording on this device's interpreter.

    Returns:
        The largest absolute difference of any output or final state.

    Raises:
        BundleError: There is no recording, the results differ by more than the bundle allows, or
            the model's state never changes and the converter was not told to let that pass.
    """
    golden, accepted = model.manifest.golden, model.manifest.accepted
    if golden is None:
        raise BundleError(f"{model.folder}: has no golden recording; convert it again to get one")
    arrays = _recording(model, golden)
    inputs = {n: _recorded_input(model, n, arrays[f"inputs/{n}"]) for n in model.inputs}
    state = start = model.initial_state()
    worst = 0.0
    for index in range(golden.steps):
        outputs, state = model.step({n: v[index] for n, v in inputs.items()}, state)
        for name, value in outputs.items():
            worst = max(worst, _difference(value, arrays[f"outputs/{name}"][index]))
    for name, value in state.items():
        worst = max(worst, _difference(value, arrays[f"states/{name}"]))
        if "dead-state" not in accepted and np.array_equal(value, start[name]):
            raise BundleError(
                f"{model.folder}: state {name!r} never changes over {golden.steps} steps, so the "
                "model remembers nothing; train or convert it again"
            )
    if not worst <= golden.tolerance:
        raise BundleError(
            f"{model.folder}: {model.backend} differs from the recording by {worst:.3g}, "
            f"{golden.tolerance:g} is allowed; use another backend or convert again"
        )
    return worst


def _recording(model: StepModel, golden: Golden) -> dict[str, Array]:
    """Return all that a replay needs, by name."""
    path = model.folder / golden.file
    states = model.initial_state()
    needed = {f"inputs/{name}": golden.steps for name in model.inputs}
    needed |= {f"outputs/{name}": golden.steps for name in model.outputs}
    try:
        with np.load(path, allow_pickle=False) as recording:
            arrays = {name: recording[name] for name in recording.files}
    except (OSError, ValueError, AttributeError, BadZipFile) as error:
        raise BundleError(f"{path}: is no recording; convert the model again") from error
    for name in (*needed, *(f"states/{state}" for state in states)):
        if name not in arrays or len(arrays[name]) < needed.get(name, 0):
            raise BundleError(
                f"{path}: holds no {name} of {golden.steps} steps; convert the model again"
            )
    return arrays


def _initial(state: StateTensor, tensor: TensorSpec, rows: int) -> Array:
    shape = [rows if size == -1 else size for size in state.shape]
    value = np.full(shape, state.initial)
    return _stored(value, tensor) if tensor.scale else value.astype(state.dtype)


def _coding(tensor: TensorSpec) -> tuple[float, int]:
    return tensor.scale, tensor.zero_point


def _recoded(value: Array, found: TensorSpec, wanted: TensorSpec) -> Array:
    """Return one tensor's integers as another tensor codes the same real values."""
    return _stored((value.astype(np.float64) - found.zero_point) * found.scale, wanted)


def _stored(real: Array, tensor: TensorSpec) -> Array:
    """Return real values as the integers of a tensor: rounded, and kept inside its type."""
    limits = np.iinfo(tensor.dtype)
    stored = np.rint(real / tensor.scale + tensor.zero_point)
    return stored.clip(limits.min, limits.max).astype(tensor.dtype)


def _recorded_input(model: StepModel, name: str, values: Array) -> Array:
    image = model.manifest.input
    if image and name == image.name and values.dtype.name != image.dtype:
        return normalise(values, image)
    return values


def _difference(found: Array, recorded: Array) -> float:
    return float(np.abs(found.astype(np.float64) - recorded).max(initial=0.0))
