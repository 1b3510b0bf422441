"""PyTorch with torch.compile. Imported in workers of `torch-compile` alone: inductor takes seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch._dynamo
import torch._inductor
from torch import Tensor
from torch._dynamo.utils import counters as dynamo_counters
from torch._inductor.compile_fx import compile_fx

from benchfw.errors import BuildFailed, Invalid, MissingDependency, OutOfMemory, Unsupported
from benchfw.spec import Artifact, Context, IoSpec, Profile
from benchfw.spec.layers import LayerProfile
from benchfw_torch.backend import TorchEager, first_line, out_of_memory
from benchfw_torch.tensors import example_inputs


class TorchCompile(TorchEager):
    """`torch-compile`: inductor. Options: `benchfw_torch.options.CompileOptions`.

    Axes with a range are marked as dynamic; their points are compiled in `prepare`. Inductor may still ask for more
    than one graph (a size of 1 is always one of its own, and convolutions choose layouts by size): `facts` counts
    them, and a compilation within a measured block makes the case INVALID.
    """

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        super().__init__(options, context)
        self._profile: Profile | None = None
        self._compiled: Callable[..., Any] | None = None
        self._compilations = 0

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        """Compile for every point of the profile, from inductor's cache where it has it.

        Compiling runs the model. A point that does not fit into memory costs the cases of its size, which will say so
        themselves; only if the smallest does not fit is there nothing that this artifact could serve.
        """
        if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
            raise MissingDependency("torch-compile needs a C++ compiler", hint="apt-get install g++")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.context.cache_dir / "inductor")
        config: Any = torch._dynamo.config
        config.recompile_limit = self.options["recompile_limit"]
        config.fail_on_recompile_limit_hit = True
        config.automatic_dynamic_shapes = False
        self._model = self._build(artifact)
        self._profile = profile
        self._compiled = torch.compile(self._model, fullgraph=self.options["fullgraph"], backend=self._inductor())
        for point in ("opt", "min", "max"):
            inputs = {
                name: self._placed(name, tensor)
                for name, tensor in example_inputs(self.context.inputs, profile.sizes(point)).items()
            }
            try:
                self._compiled(**self._call_with(inputs))
            except Exception as error:
                words = out_of_memory(error)
                if words and profile.sizes(point) != profile.sizes("min"):
                    continue
                if words:
                    raise OutOfMemory(f"torch.compile at {point}: {words}") from error
                raise BuildFailed(f"torch.compile at {point}: {type(error).__name__}: {first_line(error)}") from error
        return artifact

    def _inductor(self) -> Callable[..., Any]:
        """Return inductor as a backend of this instance's own, which counts what it compiles.

        Dynamo keeps compiled code by the model's source and shares it between models that have the same. A static
        artifact would then run what was compiled for the dynamic one of the same worker; code of another backend
        function is not shared.
        """
        patches = torch._inductor.list_mode_options(self.options["mode"])

        def inductor(graph: Any, example: Any) -> Any:
            self._compilations += 1
            return compile_fx(graph, example, config_patches=patches)

        return inductor

    def load(self, artifact: Artifact) -> IoSpec:
        return IoSpec(inputs=self.context.inputs, outputs=())

    def counters(self) -> Mapping[str, int]:
        return {
            **super().counters(),
            "compilations": self._compilations,
            "graph_breaks": sum(dynamo_counters["graph_break"].values()),
        }

    def facts(self) -> Mapping[str, Any]:
        cache = dynamo_counters["inductor"]
        return {
            **super().facts(),
            **self.counters(),
            "provider_effective": "inductor",
            "cache_hits": int(cache["fxgraph_cache_hit"]),
            "cache_misses": int(cache["fxgraph_cache_miss"]),
        }

    def profile(self, n: int) -> LayerProfile:
        raise Unsupported("torch-compile does not profile: inductor's kernels hold several layers of the model each")

    def close(self) -> None:
        self._compiled = None
        super().close()

    def _function(self) -> Callable[..., Any]:
        if self._compiled is None:
            raise Invalid("bind before prepare")
        return self._compiled

    def _placed(self, name: str, tensor: Tensor) -> Tensor:
        """Mark the axes that have a range, too; a size of 1 is left static."""
        assert self._profile is not None
        tensor = super()._placed(name, tensor)
        spec = next(spec for spec in self.context.inputs if spec.name == name)
        for place, dim in enumerate(spec.shape):
            axis = self._profile.axes.get(str(dim))
            if isinstance(dim, str) and axis and axis.min != axis.max and tensor.shape[place] > 1:
                torch._dynamo.maybe_mark_dynamic(tensor, place)
        return tensor
