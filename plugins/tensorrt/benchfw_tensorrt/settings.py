"""Options, as settings of a builder. What a TensorRT lacks is found by looking for it, not by its version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchfw.errors import BuildFailed, Unsupported

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_FLAGS = {
    "tf32": "TF32",
    "strict_nans": "STRICT_NANS",
    "weight_streaming": "WEIGHT_STREAMING",
    "refit": "REFIT",
    "sparse_weights": "SPARSE_WEIGHTS",
    "version_compatible": "VERSION_COMPATIBLE",
    "user_allocation": "REQUIRE_USER_ALLOCATION",
}
_ATTRIBUTES = {
    "optimization_level": "builder_optimization_level",
    "max_aux_streams": "max_aux_streams",
    "timing_iterations": "avg_timing_iterations",
}
_BUILDER_FLAGS = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8"}
"""By precision; fp32 and TF32 need none, or one that every TensorRT has."""
_KINDS = {"fp32": "FLOAT", "fp16": "HALF"}
"""What trtexec calls types, where TensorRT does not call them the same in capitals."""


def network_flags(trt: Any, *, weak: bool = False) -> int:
    """Return the flags with which a network takes its types from the model, as far as this TensorRT can.

    TensorRT 11 and TensorRT-RTX always do, and know no implicit batch that could be switched off. `weak`: the builder
    may choose types itself, where it still can.
    """
    known = trt.NetworkDefinitionCreationFlag.__members__
    if "EXPLICIT_BATCH" not in known:
        return 0
    names = ("EXPLICIT_BATCH",) if weak else ("EXPLICIT_BATCH", "STRONGLY_TYPED")
    return sum(1 << int(known[name]) for name in names if name in known)


def strongly_typed(trt: Any, flags: int) -> bool:
    """Whether a network that is made with these flags takes its types from the model."""
    known = trt.NetworkDefinitionCreationFlag.__members__
    return "EXPLICIT_BATCH" not in known or (
        "STRONGLY_TYPED" in known and bool(flags >> int(known["STRONGLY_TYPED"]) & 1)
    )


def allow_precisions(trt: Any, config: Any, precisions: Collection[str]) -> None:
    """Let a builder that is not bound to the model's types use precisions beside fp32.

    Raises:
        Unsupported: This TensorRT has no such flag; since version 11 it has none at all.
    """
    known = trt.BuilderFlag.__members__
    for precision in precisions:
        flag = _BUILDER_FLAGS.get(precision)
        if flag is None:
            continue
        if flag not in known:
            raise Unsupported(
                f"{_name(trt)} has no BuilderFlag.{flag}, which {precision} needs",
                hint="another precision; or no table [steps.WeakTrtEngineFromOnnx], so that the model is converted",
            )
        config.set_flag(known[flag])


def set_formats(trt: Any, tensors: Sequence[Any], wanted: Mapping[str, str], *, typed: bool) -> None:
    """Set types of inputs and outputs, given as `fp16:chw` by their names, in rows (`chw`).

    Raises:
        BuildFailed: There is no such tensor or type, or a typed network has another type.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    for name, text in wanted.items():
        if name not in by_name:
            raise BuildFailed(f"option io_formats: the model has no {name!r}", hint=f"it has {', '.join(by_name)}")
        kind = text.partition(":")[0]
        kind_name = _KINDS.get(kind, kind.upper())
        _need(trt, "io_formats", kind_name in trt.DataType.__members__, f"type {kind!r}")
        tensor, dtype = by_name[name], trt.DataType.__members__[kind_name]
        if typed and tensor.dtype != dtype:
            raise BuildFailed(
                f"option io_formats: {name!r} is {tensor.dtype.name} in the model, and the network takes its types",
                hint="convert the model, or leave the option out",
            )
        if not typed:
            tensor.dtype = dtype
        tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)


def configure(trt: Any, config: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write options into a builder's configuration and return what it then says, names instead of numbers.

    Raises:
        BuildFailed: This TensorRT does not have what an option asks for.
    """
    for option, attribute in _ATTRIBUTES.items():
        if options.get(option) is not None:
            _need(trt, option, hasattr(config, attribute), f"IBuilderConfig.{attribute}")
            setattr(config, attribute, options[option])
    known = trt.BuilderFlag.__members__
    for option, flag in ((option, flag) for option, flag in _FLAGS.items() if option in options):
        wanted = options[option]  # None: if it is there
        _need(trt, option, flag in known or not wanted, f"BuilderFlag.{flag}")
        if flag in known:
            (config.clear_flag if wanted is False else config.set_flag)(known[flag])
    if options["workspace"] is not None:
        _need(trt, "workspace", hasattr(config, "set_memory_pool_limit"), "memory pools")
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size_in_bytes(options["workspace"]))
    _set_verbosity(trt, config, options["profiling_verbosity"])
    return {
        **_set_targets(trt, config, options),
        "flags": sorted(name for name, flag in known.items() if config.get_flag(flag)),
        "optimization_level": getattr(config, "builder_optimization_level", None),
    }


def size_in_bytes(text: str) -> int:
    """Return the bytes of a size as `2GiB`."""
    return int(text[:-3]) * _UNITS[text[-3:]]


def _set_verbosity(trt: Any, config: Any, wanted: str) -> None:
    known = trt.ProfilingVerbosity.__members__
    name = wanted.upper().replace("-", "_")
    _need(trt, "profiling_verbosity", name in known, f"ProfilingVerbosity.{name}")
    config.profiling_verbosity = known[name]


def _set_targets(trt: Any, config: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Say which GPUs an engine is for, and where its kernels come from, as far as there are options for it."""
    found: dict[str, Any] = {}
    if "compute_capabilities" in options:
        capabilities = options["compute_capabilities"]
        if capabilities:
            _set_capabilities(trt, config, capabilities)
        found["compute_capabilities"] = list(capabilities)  # empty: all that the runtime supports
    if "hardware_compatibility" in options:
        found["hardware_compatibility"] = _set_compatibility(trt, config, options["hardware_compatibility"])
    if "tactic_sources" in options:
        found["tactic_sources"] = _set_sources(trt, config, options["tactic_sources"])
    return found


def _set_compatibility(trt: Any, config: Any, wanted: str) -> str:
    name = wanted.upper().replace("-", "_")
    if name != "NONE":
        levels = getattr(trt, "HardwareCompatibilityLevel", None)
        known = levels.__members__ if levels else {}
        _need(trt, "hardware_compatibility", name in known, f"HardwareCompatibilityLevel.{name}")
        config.hardware_compatibility_level = known[name]
    return name


def _set_sources(trt: Any, config: Any, wanted: Sequence[str] | None) -> list[str]:
    known = trt.TacticSource.__members__
    if wanted is not None:
        names = [name.upper().replace("-", "_") for name in wanted]
        for name in names:
            _need(trt, "tactic_sources", name in known, f"TacticSource.{name}")
        config.set_tactic_sources(sum(1 << int(known[name]) for name in set(names)))
    allowed = int(config.get_tactic_sources())
    return sorted(name for name, source in known.items() if allowed >> int(source) & 1)


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
