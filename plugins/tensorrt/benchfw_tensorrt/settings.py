"""Options, as settings of a builder. What a TensorRT lacks is found by looking for it, not by its version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchfw.errors import BuildFailed

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_FLAGS = {"tf32": "TF32", "strict_nans": "STRICT_NANS", "weight_streaming": "WEIGHT_STREAMING"}
_ATTRIBUTES = {"optimization_level": "builder_optimization_level", "max_aux_streams": "max_aux_streams"}


def network_flags(trt: Any) -> int:
    """Return the flags with which a network takes its types from the model, as far as this TensorRT can.

    TensorRT 11 and TensorRT-RTX always do, and know no implicit batch that could be switched off.
    """
    known = trt.NetworkDefinitionCreationFlag.__members__
    if "EXPLICIT_BATCH" not in known:
        return 0
    return sum(1 << int(known[name]) for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if name in known)


def configure(trt: Any, config: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write options into a builder's configuration and return what it then says, names instead of numbers.

    Raises:
        BuildFailed: This TensorRT does not have what an option asks for.
    """
    for option, attribute in _ATTRIBUTES.items():
        if options[option] is not None:
            _need(trt, option, hasattr(config, attribute), f"IBuilderConfig.{attribute}")
            setattr(config, attribute, options[option])
    for option, flag in _FLAGS.items():
        known = trt.BuilderFlag.__members__
        _need(trt, option, flag in known or not options[option], f"BuilderFlag.{flag}")
        if flag in known:
            (config.set_flag if options[option] else config.clear_flag)(known[flag])
    if options["workspace"] is not None:
        _need(trt, "workspace", hasattr(config, "set_memory_pool_limit"), "memory pools")
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size_in_bytes(options["workspace"]))
    _set_verbosity(trt, config, options["profiling_verbosity"])
    capabilities = options.get("compute_capabilities", ())
    if capabilities:
        _set_capabilities(trt, config, capabilities)
    return {
        "flags": sorted(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag)),
        "optimization_level": getattr(config, "builder_optimization_level", None),
        "compute_capabilities": list(capabilities),  # empty: all that the runtime supports
    }


def size_in_bytes(text: str) -> int:
    """Return the bytes of a size as `2GiB`."""
    return int(text[:-3]) * _UNITS[text[-3:]]


def _set_verbosity(trt: Any, config: Any, wanted: str) -> None:
    known = trt.ProfilingVerbosity.__members__
    name = wanted.upper().replace("-", "_")
    _need(trt, "profiling_verbosity", name in known, f"ProfilingVerbosity.{name}")
    config.profiling_verbosity = known[name]


def _set_capabilities(trt: Any, config: Any, wanted: tuple[str, ...]) -> None:
    option = "compute_capabilities"
    _need(trt, option, hasattr(trt, "ComputeCapability"), "ComputeCapability: it builds for the GPU that it finds")
    known = trt.ComputeCapability.__members__
    config.num_compute_capabilities = len(wanted)
    for place, capability in enumerate(wanted):
        name = "SM" + capability.replace(".", "")
        if name not in known:
            can = ", ".join(f"{key[2:-1]}.{key[-1]}" for key in known if key.startswith("SM"))
            raise BuildFailed(f"option {option}: {_name(trt)} has no {capability}", hint=f"it has {can}")
        if config.set_compute_capability(known[name], place) is False:
            raise BuildFailed(f"option {option}: {_name(trt)} refuses {capability}")


def _need(trt: Any, option: str, there: bool, feature: str) -> None:
    if not there:
        raise BuildFailed(f"option {option}: {_name(trt)} has no {feature}", hint="leave the option out")


def _name(trt: Any) -> str:
    return f"{trt.__name__} {trt.__version__}"
