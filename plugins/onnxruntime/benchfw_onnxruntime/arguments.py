"""Options as the providers for NVIDIA GPUs take them: text by their names. Runs in workers: standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SEPARATORS = {"extra_plugin_lib_paths": ";"}
_CUDA_AS_IT_STANDS = (
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "prefer_nhwc",
    "arena_extend_strategy",
    "gpu_mem_limit",
    "cudnn_conv1d_pad_to_nc1d",
    "do_copy_in_default_stream",
    "enable_skip_layer_norm_strict_mode",
    "enable_cudnn",
    "fuse_conv_bias",
    "sdpa_kernel",
    "tunable_op_enable",
    "tunable_op_tuning_enable",
    "tunable_op_max_tuning_duration_ms",
    "use_ep_level_unified_stream",
)
_TENSORRT_AS_IT_STANDS = (
    "builder_optimization_level",
    "min_subgraph_size",
    "max_partition_iterations",
    "auxiliary_streams",
    "tactic_sources",
    "op_types_to_exclude",
    "extra_plugin_lib_paths",
    "sparsity_enable",
    "layer_norm_fp32_fallback",
    "context_memory_sharing_enable",
    "build_heuristics_enable",
    "force_sequential_engine_build",
    "force_timing_cache",
    "engine_hw_compatible",
    "detailed_build_log",
    "preview_features",
    "weight_stripped_engine_enable",
    "engine_cache_prefix",
)


def for_cuda(options: Mapping[str, Any]) -> dict[str, str]:
    """Return validated options as the CUDA provider takes them: text by its names, without those that are not given."""
    return _as_text({name: options[name] for name in _CUDA_AS_IT_STANDS})


def for_tensorrt(options: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Return validated options as the TensorRT provider takes them, without those of the calibration table.

    Args:
        options: They.
        root: Folder of the scenario, in which relative paths begin.
    """
    given = {f"trt_{name}": options[name] for name in _TENSORRT_AS_IT_STANDS}
    if options["onnx_model_folder_path"] is not None:
        given["trt_onnx_model_folder_path"] = str(root / options["onnx_model_folder_path"])
    if options["workspace_mib"] is not None:
        given["trt_max_workspace_size"] = options["workspace_mib"] << 20
    if options["dla_core"] is not None:
        given |= {"trt_dla_enable": True, "trt_dla_core": options["dla_core"]}
    return _as_text(given)


def switch(on: bool) -> str:
    """Return a switch as the TensorRT provider takes it: from Python it knows no 0 and 1, which CUDA's does."""
    return str(on)


def _as_text(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(name, value) for name, value in given.items() if value is not None}


def _text(name: str, value: str | int | Iterable[str]) -> str:
    if isinstance(value, bool):
        return switch(value) if name.startswith("trt_") else str(int(value))
    if isinstance(value, (str, int)):
        return str(value)
    return _SEPARATORS.get(name.removeprefix("trt_"), ",").join(value)
