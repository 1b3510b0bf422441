"""Options of ONNX Runtime on NVIDIA GPUs; `arguments` has how its providers take them. Light: imported in the parent.

A field is called as the provider calls it, without `trt_`, where the provider is given the value as it stands. What is
left out is the core's or the plugin's (devices, streams, precision, profiles, caches and CUDA graphs), a pointer of a
program that embeds the provider, the encryption of engines, or writes into the folder of the process, or one file that
all cases write over. What is not given is not passed on: a provider refuses options that its version does not know, and
says which.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt


class CudaOptions(BaseModel):
    """Options of `ort-cuda`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    threads: PositiveInt | None = Field(None, description="Threads for nodes on the CPU; default: those of the run.")
    optimization: Literal["disabled", "basic", "extended", "all"] = Field(
        "all", description="Level of graph optimisation."
    )
    asynchronous: bool = Field(
        True,
        description="`run` returns once all is enqueued; otherwise, and in 1.17 always, it waits for its stream, as by "
        "default.",
    )
    disable_cpu_ep_fallback: bool = Field(
        False,
        description="`FALLBACK` where a node would run on the CPU; else they are counted (V05).",
    )
    cudnn_conv_algo_search: Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"] = Field(
        "EXHAUSTIVE", description="How algorithms of convolutions are chosen."
    )
    cudnn_conv_use_max_workspace: bool = Field(True, description="Convolutions may take as much memory as is fastest.")
    prefer_nhwc: bool = Field(False, description="Convolutions work on channels-last tensors.")
    arena_extend_strategy: Literal["kNextPowerOfTwo", "kSameAsRequested"] = Field(
        "kNextPowerOfTwo", description="How device memory grows."
    )
    gpu_mem_limit: PositiveInt | None = Field(None, description="Bytes of the arena, at most; default: all there are.")
    cudnn_conv1d_pad_to_nc1d: bool | None = Field(
        None, description="Convolutions over one axis get theirs padded to [N,C,1,D] instead of [N,C,D,1]."
    )
    do_copy_in_default_stream: bool | None = Field(None, description="Copies between devices go by the main stream.")
    enable_skip_layer_norm_strict_mode: bool | None = Field(
        None, description="SkipLayerNormalization sums in fp32: more precise, slower."
    )
    enable_cudnn: bool | None = Field(None, description="Operators may use cuDNN (not in 1.17 to 1.20).")
    fuse_conv_bias: bool | None = Field(
        None, description="cuDNN adds biases within convolutions (not in 1.17 to 1.19)."
    )
    sdpa_kernel: NonNegativeInt | None = Field(
        None,
        description="Which kernels attention may use, as ONNX Runtime's bits (not in 1.17 to 1.18); default: its own.",
    )
    tunable_op_enable: bool | None = Field(None, description="Operators with several kernels use what tuning found.")
    tunable_op_tuning_enable: bool | None = Field(None, description="And tune while they run, which warm-up waits for.")
    tunable_op_max_tuning_duration_ms: PositiveInt | None = Field(None, description="How long one may tune.")
    use_ep_level_unified_stream: bool | None = Field(None, description="All nodes of a session share a stream.")


class TensorrtOptions(CudaOptions):
    """Options of `ort-tensorrt`: those of `ort-cuda`, for nodes that TensorRT does not take, and its own."""

    builder_optimization_level: int | None = Field(
        None, ge=0, le=5, description="How long TensorRT looks for kernels; default: TensorRT's."
    )
    workspace_mib: PositiveInt | None = Field(None, description="Memory for one layer; default: what there is.")
    min_subgraph_size: PositiveInt | None = Field(None, description="Nodes of a subgraph, at least, for TensorRT.")
    max_partition_iterations: PositiveInt | None = Field(
        None, description="How often the graph is partitioned anew, at most, until TensorRT takes its parts."
    )
    auxiliary_streams: int | None = Field(None, ge=0, description="Streams beside the main one; default: TensorRT's.")
    tactic_sources: tuple[str, ...] | None = Field(
        None,
        strict=False,
        description='Where kernels may come from, as `["-CUDNN", "+JIT_CONVOLUTIONS"]`; default: TensorRT\'s.',
    )
    op_types_to_exclude: tuple[str, ...] | None = Field(
        None, strict=False, description="Operators that TensorRT does not get (not in 1.17 to 1.20)."
    )
    extra_plugin_lib_paths: tuple[str, ...] | None = Field(
        None, strict=False, description="Libraries with plugins of TensorRT. They are run."
    )
    sparsity_enable: bool | None = Field(None, description="Use kernels for weights of which two in four are zero.")
    layer_norm_fp32_fallback: bool | None = Field(None, description="In fp16, layer normalisation stays in fp32.")
    context_memory_sharing_enable: bool | None = Field(None, description="Subgraphs share memory for their layers.")
    build_heuristics_enable: bool | None = Field(None, description="Guess which kernel is fast instead of timing all.")
    force_sequential_engine_build: bool | None = Field(None, description="Build engines one after the other.")
    force_timing_cache: bool | None = Field(None, description="Take a timing cache of another GPU of the same kind.")
    engine_hw_compatible: bool | None = Field(
        None, description="Engines run on other GPUs since Ampere too (not in 1.17), at the price of speed."
    )
    detailed_build_log: bool | None = Field(None, description="The log of the worker says how long each step took.")
    preview_features: tuple[str, ...] | None = Field(
        None,
        strict=False,
        description="Features of TensorRT that are not yet final, by its names (not in 1.17 to 1.20).",
    )
    weight_stripped_engine_enable: bool | None = Field(
        None, description="Engines are kept without weights, which come from the model at each load (not in 1.17)."
    )
    onnx_model_folder_path: str | None = Field(
        None, min_length=1, description="Folder of the model with these weights (not in 1.17); default: its own."
    )
    engine_cache_prefix: str | None = Field(None, min_length=1, description="How names of kept engines begin.")
    dla_core: NonNegativeInt | None = Field(
        None, description="Run on this deep-learning accelerator, where there is one."
    )
    int8_calibration_table: str | None = Field(
        None, min_length=1, description="File with the ranges of activations for int8; default: those in the model."
    )
    int8_use_native_calibration_table: bool = Field(
        False, description="The file is of TensorRT's calibrator; otherwise of ONNX Runtime's."
    )
