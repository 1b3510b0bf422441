"""A torch-tensorrt that is made up: it takes what the real one takes, and its engines are graphs of PyTorch.

Imported under the name `torch_tensorrt`. Arguments are held against the real signature, whose `**kwargs` take anything:
here a name that is not in it is an error. `tests/contract/test_torch_tensorrt.py` compares the names with real wheels.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.split_utils import split_by_tags

COMMON = (
    *("exported_program", "inputs", "arg_inputs", "kwarg_inputs", "device", "disable_tf32"),
    *("assume_dynamic_shape_support", "sparse_weights", "engine_capability", "num_avg_timing_iters", "workspace_size"),
    *("dla_sram_size", "dla_local_dram_size", "dla_global_dram_size", "truncate_double", "require_full_compilation"),
    *("min_block_size", "torch_executed_ops", "torch_executed_modules", "pass_through_build_failures"),
    *("max_aux_streams", "version_compatible", "optimization_level", "use_python_runtime", "use_fast_partitioner"),
    *("enable_experimental_decompositions", "dryrun", "hardware_compatible", "timing_cache_path", "lazy_engine_init"),
    *("cache_built_engines", "reuse_cached_engines", "engine_cache_dir", "engine_cache_size", "custom_engine_cache"),
    *("use_fp32_acc", "refit_identical_engine_weights", "strip_engine_weights", "immutable_weights"),
    *("enable_weight_streaming", "tiling_optimization_level", "l2_limit_for_tiling", "offload_module_to_cpu"),
    *("use_distributed_mode_trace", "enable_autocast", "autocast_low_precision_type", "autocast_excluded_nodes"),
    *("autocast_excluded_ops", "autocast_max_output_threshold", "autocast_max_depth_of_reduction"),
    *("autocast_calibration_dataloader", "cpu_memory_budget", "enable_resource_partitioning"),
    *("dynamically_allocate_resources", "decompose_attention", "attn_bias_is_causal"),
)
ALSO = {
    "2.11.0": ("enabled_precisions", "use_explicit_typing"),
    "2.12.1": (
        *("enabled_precisions", "runtime_cache_path", "dynamic_shapes_kernel_specialization_strategy"),
        "use_explicit_typing",
    ),
    "2.13.0": ("fallback_data_dependent_ops",),
}
"""Arguments of `torch_tensorrt.dynamo.compile`: of all versions, and of some."""

REPORT = "torch_tensorrt.dynamo._DryRunTracker"
MESSAGES = "torch_tensorrt [TensorRT Conversion Context]"


class Input:
    """As the real one: either `shape`, or all of `min_shape`, `opt_shape` and `max_shape`."""

    def __init__(self, *, dtype: torch.dtype, **shapes: tuple[int, ...]) -> None:
        assert set(shapes) in ({"shape"}, {"min_shape", "opt_shape", "max_shape"}), sorted(shapes)
        assert isinstance(dtype, torch.dtype)
        self.dtype = dtype
        self.shapes = shapes


class TorchTensorRTModule(nn.Module):
    """An engine."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *values: Any) -> Any:
        return self.graph(*values)


class Compiler:
    """`dynamo.compile` of one version.

    Attributes:
        asked: Arguments of the last call.
        before: Called first, with the arguments.
    """

    def __init__(self, version: str) -> None:
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(name, kind) for name in (*COMMON[1:], *ALSO[version])]
        first = inspect.Parameter(COMMON[0], inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self.__signature__ = inspect.Signature([first, *parameters])
        self.asked: dict[str, Any] = {}
        self.before: Callable[[dict[str, Any]], None] = lambda asked: None

    def __call__(self, program: torch.export.ExportedProgram, **given: Any) -> fx.GraphModule:
        unknown = given.keys() - self.__signature__.parameters.keys()
        assert not unknown, f"this version ignores {sorted(unknown)}"
        assert isinstance(program, torch.export.ExportedProgram) and not torch.is_inference_mode_enabled()
        assert all(isinstance(item, Input) for item in given["arg_inputs"])
        assert isinstance(given["torch_executed_ops"], set) and isinstance(given["workspace_size"], int)
        assert isinstance(given["device"], torch.device) and Path(given["timing_cache_path"]).is_absolute()
        self.asked = {"exported_program": program, **given}
        self.before(self.asked)
        return _divided(program, given["torch_executed_ops"], given["min_block_size"])


def _divided(program: torch.export.ExportedProgram, left: Collection[str], least: int) -> fx.GraphModule:
    """Return a graph whose parts are engines where they hold `least` operators and none of `left`."""
    graph: Any = program.module(check_guards=False)
    operators = [node for node in graph.graph.nodes if node.op == "call_function"]
    tags: list[str] = []
    counts: list[int] = []
    for run in _runs(operators, left):
        takes = f"torch.ops.{run[0].target}" not in left and len(run) >= least
        tags.append(f"_run_on_{'acc' if takes else 'gpu'}_{len(tags)}")
        counts += [len(run)] if takes else []
        for node in run:
            node.tag = tags[-1]
    if not counts:
        return graph  # type: ignore[no-any-return]
    divided: Any = split_by_tags(graph, tags)
    for name in tags:
        if "acc" in name:
            setattr(divided, name, TorchTensorRTModule(getattr(divided, name)))
    lines = "".join(f"     Number of Operators in Engine: {count}\n" for count in counts)
    logging.getLogger(REPORT).debug(f"\n++++ Dry-Run Results for Graph ++++\n\n{lines}")
    return divided  # type: ignore[no-any-return]


def _runs(operators: list[fx.Node], left: Collection[str]) -> Iterator[list[fx.Node]]:
    run: list[fx.Node] = []
    for node in operators:
        if run and (f"torch.ops.{node.target}" in left) != (f"torch.ops.{run[-1].target}" in left):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


__version__ = os.environ.get("FAKE_TORCH_TENSORRT", "2.13.0")
dynamo = SimpleNamespace(
    compile=Compiler(__version__), runtime=SimpleNamespace(TorchTensorRTModule=TorchTensorRTModule)
)
