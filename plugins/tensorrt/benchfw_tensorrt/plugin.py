"""Registrations of the TensorRT plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities, FormatInfo, StepInfo
from benchfw.spec.hooks import hookimpl

_RTX = ("tensorrt-rtx-cu13>=1.5",)
_INSTALL_RTX = "pip install 'benchfw-tensorrt[rtx]'"
_RTX_ENGINE = "rtx-engine"


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="trt-rtx",
            summary="TensorRT-RTX; loads engines, does not run them yet",
            factory="benchfw_tensorrt.backend:TrtRtx",
            accepts=(_RTX_ENGINE,),
            provider="TensorRT-RTX",
            typed=True,
            step_options={"Int8Onnx": {"recipe": "tensorrt"}},
            capabilities=Capabilities(precisions=("fp32", "fp16", "int8"), devices=("cuda",)),
            requires=_RTX,
            install=_INSTALL_RTX,
        )
    ]


@hookimpl
def benchfw_register_steps() -> list[StepInfo]:
    return [
        StepInfo(
            name="RtxEngineFromOnnx",
            summary="an engine of TensorRT-RTX, built without a GPU",
            source="onnx",
            target=_RTX_ENGINE,
            runtime="tensorrt-rtx",
            factory="benchfw_tensorrt.engine:RtxEngineFromOnnx",
            options="benchfw_tensorrt.options:RtxEngineOptions",
            requires=_RTX,
            install=_INSTALL_RTX,
        )
    ]


@hookimpl
def benchfw_register_formats() -> list[FormatInfo]:
    return [
        FormatInfo(
            name=_RTX_ENGINE,
            summary="engines of TensorRT-RTX: version, layers; told without a GPU and without TensorRT",
            factory="benchfw_tensorrt.header:RtxEngine",
            begins=(b"vtrt",),
        )
    ]
