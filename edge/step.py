"""One recurrent step: `outputs, state = model.step(inputs, state)`, the state a plain value."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge import bundle as bundles
from edge.backends import Backend, Session, open_session
from edge.bundle import Bundle, check_tensors
from edge.errors import BackendError, BundleError
from edge.manifest import Role, StateTensor
from edge.preprocess import normalise
from edge.types import Array, State, TensorSpec


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
        self.inputs = self._declared_inputs()
        self._check()

    def initial_state(self, rows: int = 1) -> State:
        """Return a fresh state.

        Args:
            rows: How many tracks stand in the batch, for states with a free dimension.
        """
        tensors = self._step.inputs
        return {s.name: _initial(s, tensors[s.input], rows) for s in self._state.values()}

    def step(self, inputs: Mapping[str, Array], state: State) -> tuple[dict[str, Array], State]:
        """Advance by one frame.

        Args:
            inputs: By the names in the manifest, in their tensors' own types.
            state: From `initial_state` or the last step; it is left as it is.

        Returns:
            The outputs by name and the next state; both are the caller's to keep.

        Raises:
            BackendError: An input or a state is missing or of another shape or type.
        """
        if missing := self._state.keys() - state.keys():
            raise BackendError(
                f"{self.manifest.name}: state {min(missing)!r} is missing; "
                "give what initial_state() or the last step returned"
            )
        values = dict(inputs)
        for spec in self._state.values():
            values[spec.input] = state[spec.name]
        results: dict[str, Array] = {}
        for network in self._networks:
            results |= network.run(values)
            values |= results  # the encoder's outputs are the step's inputs
        outputs = {name: results[name].copy() for name in self.manifest.outputs}
        return outputs, {s.name: results[s.output].copy() for s in self._state.values()}

    @property
    def _step(self) -> Session:
        return self._networks[-1]

    def _declared_inputs(self) -> dict[str, TensorSpec]:
        inputs = {n: TensorSpec(n, t.shape, t.dtype) for n, t in self.manifest.inputs.items()}
        if image := self.manifest.input:
            shape = (1, *image.size, 3) if image.layout == "NHWC" else (1, 3, *image.size)
            rows = -1 if self.manifest.state and self.manifest.state.scope == "per_track" else 1
            inputs[image.name] = TensorSpec(image.name, (rows, *shape[1:]), image.dtype)
        return inputs

    def _check(self) -> None:
        """Compare every tensor the manifest names with the network that has it."""
        given = dict(self.inputs)
        promised = {n: TensorSpec(n, t.shape, t.dtype) for n, t in self.manifest.outputs.items()}
        for state in self._state.values():
            given[state.input] = TensorSpec(state.input, state.shape, state.dtype)
            promised[state.output] = TensorSpec(state.output, state.shape, state.dtype)
        for network in self._networks:
            own = {name: spec for name, spec in given.items() if name in network.inputs}
            check_tensors(self.folder, "input", own, network.inputs.values())
            given |= network.outputs
        last = {n: s for n, s in promised.items() if n in self._step.outputs or n not in given}
        check_tensors(self.folder, "output", last, self._step.outputs.values())
        for name in self.inputs:
            if not any(name in network.inputs for network in self._networks):
                raise BundleError(
                    f"{self.folder}: no network has an input {name!r}; correct the manifest"
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
            the model's state never changes.
    """
    golden = model.manifest.golden
    if golden is None:
        raise BundleError(f"{model.folder}: has no golden recording; convert it again to get one")
    with np.load(model.folder / golden.file, allow_pickle=False) as recording:
        arrays = {name: recording[name] for name in recording.files}
    inputs = {n: _recorded_input(model, n, arrays[f"inputs/{n}"]) for n in model.inputs}
    state = start = model.initial_state()
    worst = 0.0
    for index in range(golden.steps):
        outputs, state = model.step({n: v[index] for n, v in inputs.items()}, state)
        for name, value in outputs.items():
            worst = max(worst, _difference(value, arrays[f"outputs/{name}"][index]))
    for name, value in state.items():
        worst = max(worst, _difference(value, arrays[f"states/{name}"]))
        if np.array_equal(value, start[name]):
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


def _initial(state: StateTensor, tensor: TensorSpec, rows: int) -> Array:
    shape = [rows if size == -1 else size for size in state.shape]
    stored = state.initial / tensor.scale + tensor.zero_point if tensor.scale else state.initial
    return np.full(shape, stored, state.dtype)


def _recorded_input(model: StepModel, name: str, values: Array) -> Array:
    image = model.manifest.input
    if image and name == image.name and values.dtype.name != image.dtype:
        return normalise(values, image)
    return values


def _difference(found: Array, recorded: Array) -> float:
    return float(np.abs(found.astype(np.float64) - recorded).max(initial=0.0))
