"""Registrations of the built-in plugin. Light: imported in the parent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchfw.spec import BackendInfo, Capabilities, FormatInfo, ModelSourceInfo, SamplerInfo, StepInfo
from benchfw.spec.hooks import hookimpl

_ONNX = ("onnx>=1.19",)
_INSTALL_ONNX = "pip install onnx"


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="null",
            summary="computes nothing: the cost of benchfw itself",
            factory="benchfw.builtin.null:NullBackend",
            accepts=("*",),
            provider="null",
            capabilities=Capabilities(precisions=("fp32",), specializes=False),
        )
    ]


@hookimpl
def benchfw_register_model_sources() -> list[ModelSourceInfo]:
    return [
        ModelSourceInfo(
            scheme="null",
            summary="no model at all, for the null backend",
            format="null",
            factory="benchfw.builtin.null:NullSource",
        ),
        ModelSourceInfo(
            scheme="onnx",
            summary="an ONNX file, its path relative to the scenario",
            format="onnx",
            factory="benchfw.builtin.onnx_files:OnnxSource",
            requires=_ONNX,
            install=_INSTALL_ONNX,
        ),
    ]


@hookimpl
def benchfw_register_steps() -> list[StepInfo]:
    return [
        StepInfo(
            name="FixedBatchOnnx",
            source="onnx",
            target="onnx",
            factory="benchfw.builtin.onnx_files:FixedBatchOnnx",
            profiles=("static",),
            requires=_ONNX,
            install=_INSTALL_ONNX,
        )
    ]


@hookimpl
def benchfw_register_formats() -> list[FormatInfo]:
    return [
        FormatInfo(
            name="onnx",
            summary="ONNX models: graph, operators, weights",
            factory="benchfw.builtin.onnx_files:OnnxFormat",
            requires=_ONNX,
            install=_INSTALL_ONNX,
        )
    ]


@hookimpl
def benchfw_register_samplers() -> list[SamplerInfo]:
    return [
        SamplerInfo(
            name="host",
            summary="load, CPU time, clock, memory, temperature of the whole machine; memory of each worker",
            factory="benchfw.builtin.host:HostSampler",
            requires=("psutil>=7",),
            install="pip install psutil",
        ),
        SamplerInfo(
            name="nvml",
            summary="clocks, power, temperature, utilisation of the GPUs of the run; between blocks energy, throttling",
            factory="benchfw.gpu.sampler:NvmlSampler",
            requires=("nvidia-ml-py>=12.535",),
            install="pip install nvidia-ml-py",
        ),
    ]


@hookimpl
def benchfw_add_metadata(root: Path) -> Mapping[str, Any] | None:
    from benchfw.builtin.git import checkout

    found = checkout(root)
    return {"git": found} if found else None
