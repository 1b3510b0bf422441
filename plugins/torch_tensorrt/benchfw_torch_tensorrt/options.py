"""Options of the torch-tensorrt backend. Light: imported in the parent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

Operator = Annotated[str, Field(pattern=r"^torch\.ops(\.\w+)+$")]


class TorchTensorrtOptions(BaseModel):
    """Options of `torch-tensorrt`, by the names that `torch_tensorrt.dynamo.compile` has for them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    threads: PositiveInt | None = Field(
        None, description="Threads for what runs on the CPU; default: those of the run."
    )
    cudnn_benchmark: bool = Field(
        False, description="For operators left to PyTorch, let cuDNN try its algorithms and keep the fastest."
    )
    typing: Literal["model", "autocast"] = Field(
        "model",
        description="How fp16 and bf16 come about: the whole model is turned (`model`), or torch-tensorrt lowers the "
        "operators of a model in fp32 that it deems safe, perhaps the outputs too (`autocast`).",
    )
    optimization_level: int | None = Field(
        None, ge=0, le=5, description="How long the builder searches, 0 to 5; default: the builder's own, 3."
    )
    workspace_size: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,9}(KiB|MiB|GiB)$",
        description="Most device memory that a layer may use beside its tensors, as `2GiB`; default: all.",
    )
    min_block_size: PositiveInt = Field(
        5, description="Operators that an engine must hold at least; fewer in a row stay with PyTorch."
    )
    require_full_compilation: bool = Field(
        False, description="Fail where an operator would stay with PyTorch; `false` counts them (V05)."
    )
    torch_executed_ops: tuple[Operator, ...] = Field(
        (), strict=False, description='Operators that stay with PyTorch, as `["torch.ops.aten.gelu.default"]`.'
    )
    truncate_double: bool = Field(False, description="Turn float64 into float32, which TensorRT needs.")
    use_fast_partitioner: bool = Field(
        True, description="Divide the graph by adjacency; `false` searches longer for fewer engines."
    )
    enable_experimental_decompositions: bool = Field(
        False, description="Break operators down further, so that TensorRT may take more of them."
    )
    decompose_attention: bool = Field(False, description="Break attention down into products and a softmax.")
    attn_bias_is_causal: bool = Field(
        False,
        description="Take every attention mask for a causal one, which is faster, and wrong for others; torch-tensorrt "
        "itself takes them so by default.",
    )
    fallback_data_dependent_ops: bool = Field(
        False, description="Leave operators to PyTorch whose outputs' sizes depend on values (from 2.13 on)."
    )
    use_fp32_acc: bool = Field(False, description="In fp16, let products accumulate in fp32.")
    max_aux_streams: NonNegativeInt | None = Field(
        None, description="Streams beside the main one, at most; 0 for none; default: the builder decides."
    )
    num_avg_timing_iters: PositiveInt = Field(1, description="How often a kernel is timed while engines are built.")
    sparse_weights: bool = Field(False, description="Use kernels for weights of which two in four are zero.")
    tiling_optimization_level: Literal["none", "fast", "moderate", "full"] = Field(
        "none", description="How long the builder searches for tilings that keep tensors in the cache."
    )
    version_compatible: bool = Field(False, description="Let later TensorRTs load the engines.")
    hardware_compatible: bool = Field(
        False, description="Let other GPUs, from Ampere on, run the engines, at the price of speed."
    )
    offload_module_to_cpu: bool = Field(
        False,
        description="Hold the weights in host memory while engines are built, to leave the device to the builder.",
    )
    timing_cache: bool = Field(
        True, description="Keep what kernels took in the cache, for later builds; `false` times them anew each time."
    )
    engine_cache: bool = Field(
        False, description="Keep engines in the cache. They then are such as can be refitted, which may cost speed."
    )

    @model_validator(mode="after")
    def _whole(self) -> TorchTensorrtOptions:
        if self.require_full_compilation and (self.torch_executed_ops or self.fallback_data_dependent_ops):
            raise ValueError(
                "require_full_compilation lets nothing stay with PyTorch: it goes with neither torch_executed_ops nor "
                "fallback_data_dependent_ops"
            )
        return self
