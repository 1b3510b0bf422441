"""Arguments of `torch_tensorrt.dynamo.compile`, by what the version at hand knows.

Its `**kwargs` swallow what a version does not know, so that an option that was removed would be ignored in silence:
`enabled_precisions` is, from 2.13 on. So every argument is held against the signature first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchfw.errors import BuildFailed

OWN = (
    *("threads", "cudnn_benchmark", "typing"),
    *("workspace_size", "torch_executed_ops", "timing_cache", "engine_cache"),
)
"""Options that are not arguments by the same name and value."""

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def settings(
    options: Mapping[str, Any],
    *,
    precision: str,
    device: torch.device,
    compile: Callable[..., Any],
    cache: Path,
    scratch: Path,
) -> dict[str, Any]:
    """Return the keyword arguments, inputs aside.

    Types are those of the model (strong typing). Versions that could choose types themselves are told not to: a case
    in fp32 would else be one of whatever the builder likes.

    Args:
        options: See `TorchTensorrtOptions`.
        precision: Of the case.
        device: That the engines run on.
        compile: The function of the version at hand.
        cache: Folder for timings and engines that are kept.
        scratch: Folder for timings that are not.

    Raises:
        BuildFailed: An option is asked for that this version has not.
    """
    known = inspect.signature(compile).parameters
    wanted = {name: value for name, value in options.items() if name not in OWN}
    _refuse_unknown(wanted, known)
    given = {name: value for name, value in wanted.items() if name in known}
    given |= {
        "device": device,
        "disable_tf32": precision != "tf32",
        "timing_cache_path": str((cache if options["timing_cache"] else scratch) / "timing.cache"),
        "workspace_size": _bytes(options["workspace_size"]),
        "torch_executed_ops": set(options["torch_executed_ops"]),
        **_cached(options, cache),
        **_autocast(options, precision),
    }
    _refuse_lost(given, known)
    return given | ({"use_explicit_typing": True} if "use_explicit_typing" in known else {})


def autocasts(options: Mapping[str, Any], precision: str) -> bool:
    """Return whether torch-tensorrt is to lower a model in fp32."""
    return options["typing"] == "autocast" and precision in ("fp16", "bf16")


def _autocast(options: Mapping[str, Any], precision: str) -> dict[str, Any]:
    if not autocasts(options, precision):
        return {}
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return {"enable_autocast": True, "autocast_low_precision_type": kind}


def _cached(options: Mapping[str, Any], cache: Path) -> dict[str, Any]:
    """Return what keeps engines; torch-tensorrt keeps none whose weights cannot be exchanged."""
    if not options["engine_cache"]:
        return {}
    return {
        "immutable_weights": False,
        "cache_built_engines": True,
        "reuse_cached_engines": True,
        "engine_cache_dir": str(cache / "engines"),
    }


def _bytes(size: str | None) -> int:
    """Return a size in bytes; 0 leaves it to TensorRT."""
    return int(size[:-3]) * _UNITS[size[-3:]] if size else 0


def _refuse_unknown(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if name not in known and value:  # what is off may be missing
            raise BuildFailed(
                f"option {name}: this torch-tensorrt has no such option", hint="leave it out, or take another version"
            )


def _refuse_lost(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse a version that would ignore what decides what is computed."""
    lost = sorted(given.keys() - known.keys())
    if lost:
        raise BuildFailed(
            f"torch_tensorrt.dynamo.compile has no argument {', '.join(lost)} in this version",
            hint="benchfw was written for torch-tensorrt 2.11 to 2.13",
        )
