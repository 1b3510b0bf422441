"""The contract of a backend.

A worker makes one `Backend` per artifact and profile and calls, in this order:

    prepare(artifact, profile)   compile or build; what it returns is loaded
    load(artifact)               deserialise, create contexts; names, dtypes and shapes of both ends
    stream                       asked once, after load: where launches are enqueued, if they are
    bind(slot, inputs)           allocate and copy in for one slot; may repeat, also for a slot in use
    bound.launch()               one inference: the only call that is ever timed
    bound.copy_in(), .copy_out() only where `io_scope = "pinned"`: timed around the launch
    capture(bound)               only where `graph = "on"`: after launches of that slot, before it is timed
    bound.outputs()              arrays, valid until the next launch of that slot
    enter_thread()               in each other thread that launches, before it does
    counters(), facts()          between blocks, never during one
    profile(n)                   times of layers; in a worker of its own, in which nothing else is timed
    explain(error)               after any of the above has raised something that is no error of benchfw's
    close()                      idempotent, safe after a failure of any of the above

A backend never times itself: the core owns the clock, the fences and the loop.

**Asynchronous backends.** `stream` is a handle, and `launch`, `copy_in` and `copy_out` only enqueue on that stream,
which is not the default one, and return. The core records its events on it, waits for them, and captures it into CUDA
graphs. Before it makes the backend it has made `context.device` the current device of the thread that calls all of its
methods; before `outputs` and `close` it has waited for the stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from benchfw.errors import BackendError, Invalid, Unsupported
from benchfw.spec.artifact import Artifact
from benchfw.spec.info import NamedInfo
from benchfw.spec.layers import LayerProfile
from benchfw.spec.packages import BuiltFor, Bundle
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec

if TYPE_CHECKING:  # the parent reads registrations, which must not cost it the import of numpy
    from numpy.typing import NDArray

Precision = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can do.

    Attributes:
        precisions: Precisions that it computes in: `fp32`, `tf32`, `fp16`, `bf16`, `fp8`, `int8`.
        devices: `cpu`, `cuda`.
        dynamic_shapes: One artifact serves several sizes of an axis.
        specializes: An artifact made for one shape differs from a dynamic one. Where it does not, a case of a
            `fixed` sweep and the same shape of a `min-opt-max` sweep are one measurement.
        asynchronous: On a device, `launch` returns before the outputs are complete; `stream` is then a handle.
        cuda_graph: Launches can be captured into a CUDA graph, so that `graph = "on"` is worth trying.
        releases_gil: `launch` lets other Python threads run while it computes, and slots may be launched from several
            threads at once. Where it does not, several outstanding inferences need as many processes.
        lacks: What it does instead in precisions that users may expect of it, by those: the reason of their rows.
        profiles: `profile` tells the times of layers.
    """

    precisions: tuple[str, ...] = ("fp32",)
    devices: tuple[str, ...] = ("cpu",)
    dynamic_shapes: bool = True
    specializes: bool = True
    asynchronous: bool = False
    cuda_graph: bool = False
    releases_gil: bool = False
    lacks: Mapping[str, str] = field(default_factory=dict)
    profiles: bool = False


@dataclass(frozen=True, kw_only=True)
class BackendInfo(NamedInfo):
    """A backend as the parent knows it. `factory` names a `Backend`, imported in the worker alone.

    Attributes:
        accepts: Artifact formats, most wanted first; `*` takes any.
        options: `package.module:Model`, a pydantic model, imported in the parent when a scenario names the backend.
        provider: The provider that is asked for by default, as it stands in the results.
        typed: It computes in the precision of its artifact, so that a route has to lead to that. Otherwise it is given
            the model as it is and turns it itself.
        turns: Precisions to which a typed backend turns a model in fp32 itself all the same.
        step_options: Options of steps that make its artifacts, by the steps' names, where they should differ from the
            steps' own defaults; a scenario's come before them.
        exact_options: Options with which it runs each node of an ONNX graph as it stands, none fused or left out: what
            `benchfw check --bisect` compares others with. Empty if it cannot.
        blocking_options: Options with each of which `launch` returns completed outputs although
            `Capabilities.asynchronous` says that it returns early, by the values that do that.
        built_for: What packages that it uses were built for; `benchfw doctor` names those that do not fit each other.
        bundles: What brings it into an environment, most wanted first: the first of those that fit the environment's
            Python, its packages and the driver is what `benchfw doctor` says to install. Default: `requires`.
        modules: Modules that it imports and that `requires` cannot name, as they come from one of several distributions
            or from none, with the names of these: an interpreter without them is one in which it is not installed.
        capabilities: See `Capabilities`.
    """

    accepts: tuple[str, ...]
    options: str = ""
    provider: str = ""
    typed: bool = False
    turns: tuple[str, ...] = ()
    step_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exact_options: Mapping[str, Any] = field(default_factory=dict)
    blocking_options: Mapping[str, Any] = field(default_factory=dict)
    built_for: tuple[BuiltFor, ...] = ()
    bundles: tuple[Bundle, ...] = ()
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a backend is told about its surroundings.

    Attributes:
        device: `cpu` or `cuda:0`.
        threads: Threads for one inference; the same for every backend of a run unless its options say otherwise.
        precision: Precision to compute in.
        cache_dir: Folder for what the framework wants to keep between processes.
        root: Folder that the model's modules are found from (the scenario's).
        inputs: The model's inputs, with axis names where the profile gives a range.
        allow_fallback: Another provider will do where the one that is asked for is not to be had: `load` then goes on
            with it, and `facts` tells. Else it raises `FellBack`.
    """

    device: str
    threads: int
    precision: str
    cache_dir: Path
    root: Path
    inputs: tuple[TensorSpec, ...]
    allow_fallback: bool = False


class Bound(ABC):
    """One slot: inputs and outputs in place, ready to launch. On a device they are resident there."""

    launch: Callable[[], object]
    """One inference, from where its inputs lie to where its outputs lie: on a device, from device memory to device
    memory. Called without arguments in the timed loop, so that it should be a bound C method or a short closure; its
    result is ignored. The plugin's own lines allocate nothing in it."""

    copy_in: Callable[[], object] | None = None
    """Enqueues copies of all inputs from page-locked host memory to where `launch` reads them, on the same stream. None
    if the backend cannot measure `io_scope = "pinned"`."""

    copy_out: Callable[[], object] | None = None
    """Enqueues copies of all outputs of the last launch to page-locked host memory, on the same stream."""

    @abstractmethod
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Return the outputs of the last launch by name, valid until the next launch of this slot.

        They come from where `launch` has put them, whether `copy_out` was called or not. Never timed; it may copy and
        wait by itself.
        """


class Backend(ABC):
    """One artifact of one model in one framework. Its arguments are the attributes `options` and `context`.

    Args:
        options: Validated by the pydantic model that `BackendInfo.options` names, as plain JSON values.
        context: See `Context`.
    """

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self.options = options
        self.context = context

    @classmethod
    def missing_libraries(cls) -> Sequence[str]:
        """Return the shared libraries without which the framework is imported, and cannot be used: by file names.

        For those that it loads when it is first asked for a device. `benchfw doctor` asks, in a worker of its own, and
        with no device at hand: see `benchfw.spec.libraries`.
        """
        return ()

    @property
    def stream(self) -> int | None:
        """Handle (`CUstream`) of the stream that `launch` enqueues on; None if `launch` returns completed outputs."""
        return None

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        """Compile or build for `profile`; return what `load` shall load.

        Raises:
            BuildFailed: With the builder's own words.
        """
        return artifact

    @abstractmethod
    def load(self, artifact: Artifact) -> IoSpec:
        """Deserialise and create contexts.

        Dtypes, numbers of dimensions and fixed sizes of the outputs must be exact; a name stands for any size, that of
        an axis for its size. Without any outputs, those that come back are compared with the reference alone.

        Raises:
            BuildFailed: The artifact cannot be loaded.
        """

    @abstractmethod
    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        """Allocate for the shapes of `inputs` and copy them in. The arrays are read-only and go away afterwards.

        It returns once the inputs are in place, also on a device.

        Raises:
            Invalid: A name, dtype or shape does not fit the loaded artifact.
        """

    def capture(self, bound: Bound) -> Callable[[], object] | None:
        """Capture a launch of `bound` into a CUDA graph and return what replays it on `stream`.

        Called only with `graph = "on"`, once per slot, after at least two launches of it. None, the default, lets the
        core capture the stream over `bound.launch`. To be overridden by those that have to capture in their own way,
        as where an allocator wants to know. `bound.outputs` then returns the outputs of the replays.

        Raises:
            Unsupported: The launch cannot be captured; the message says why, and becomes the reason of the row.
        """
        return None

    def enter_thread(self) -> None:  # noqa: B027  (an empty default is right: most frameworks keep nothing per thread)
        """Prepare a thread, other than the one that binds, in which slots are going to be launched.

        Called once in each such thread, and only if `Capabilities.releases_gil`.
        """

    def counters(self) -> Mapping[str, int]:
        """Return counters that must not rise while a block runs: compilations, captures, rebuilds. Cheap."""
        return {}

    def facts(self) -> Mapping[str, Any]:
        """Return what is true of the loaded artifact, JSON values only.

        Required keys: `provider_effective` (str), `precision_effective` (str), and `threads_effective` (int, 1 for an
        engine that has no more). Known: `nodes` (provider to node count), `nodes_unknown` (str, why `nodes` is empty
        although others than the provider that was asked for may run some; a warning), `backend_version` (str, of a
        framework that comes from one of several distributions). All are kept in the column `facts`.
        """
        return {}

    def profile(self, n: int) -> LayerProfile:
        """Run the slot that was bound last, `WARMUP` times and then `n` times, and return the times of layers of these.

        Called in a worker of its own, so that it may load the artifact anew and turn on what slows it down. Only where
        `Capabilities.profiles` says so.

        Raises:
            Unsupported: It does not profile.
        """
        raise Unsupported("the backend does not profile")

    def explain(self, error: Exception) -> BackendError | None:
        """Say what an exception of the framework means; None if it means nothing in particular.

        So a framework's own "out of memory" becomes `OutOfMemory` (and larger batches are spared) wherever it is
        raised, also in `launch`, which nothing may wrap.
        """
        return None

    def close(self) -> None:  # noqa: B027  (an empty default is right: most backends hold nothing)
        """Free everything. Called once or more, also after a failure."""


def check_inputs(io: IoSpec, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Compare arrays with the inputs of a loaded artifact; for use in `bind`.

    Raises:
        Invalid: Names, dtypes or fixed dimensions differ; the message names both values.
    """
    import numpy as np

    wanted = {spec.name: spec for spec in io.inputs}
    if set(wanted) != set(inputs):
        raise Invalid(f"inputs {sorted(inputs)} given, the model takes {sorted(wanted)}")
    for name, array in inputs.items():
        spec = wanted[name]
        if array.dtype != np.dtype(spec.dtype):
            raise Invalid(f"input {name!r} is {array.dtype}, the model takes {spec.dtype}")
        fits = len(spec.shape) == array.ndim and all(
            isinstance(dim, str) or dim == size for dim, size in zip(spec.shape, array.shape)
        )
        if not fits:
            raise Invalid(f"input {name!r} has shape {list(array.shape)}, the model takes {list(spec.shape)}")
