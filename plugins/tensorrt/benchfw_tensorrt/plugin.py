"""Registrations of the TensorRT plugin. Light: imported in the parent.

TensorRT itself is not among what its backends require: it comes from one of several distributions, or from none. What
they need of it is its module.
"""

from __future__ import annotations

from benchfw.spec import BackendInfo, Bundle, Capabilities, FormatInfo, StepInfo
from benchfw.spec.artifact import ALWAYS
from benchfw.spec.hooks import hookimpl

_RTX = ("tensorrt-rtx-cu13>=1.5",)
_INSTALL_RTX = "pip install 'benchfw-tensorrt[rtx]'"
_RUN_RTX = "pip install 'benchfw-tensorrt[rtx,cuda]'"
_RTX_ENGINE = "rtx-engine"
_CUDA = ("cuda-bindings>=12.6",)
_TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11")
_BRINGS = (*_TENSORRT, "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")
_BUNDLES = (
    Bundle(packages=("tensorrt-cu13>=10.15", *_CUDA), cuda=13),
    Bundle(packages=("tensorrt-cu12>=10.15", "cuda-bindings>=12.6,<13"), cuda=12),
)
_INSTALL = "pip install 'benchfw-tensorrt[cu13]'"
_ENGINE = "trt-engine"
_PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="trt-rtx",
            summary="TensorRT-RTX, an engine for one shape or several, set in each call",
            factory="benchfw_tensorrt.backend:TrtRtx",
            accepts=(_RTX_ENGINE,),
            options="benchfw_tensorrt.options:RtxOptions",
            provider="TensorRT-RTX",
            typed=True,
            step_options={"Int8Onnx": {"recipe": "tensorrt"}},
            capabilities=Capabilities(
                precisions=_PRECISIONS,
                devices=("cuda",),
                dynamic_shapes=True,
                asynchronous=True,
                cuda_graph=True,
                profiles=True,
            ),
            requires=(*_RTX, *_CUDA),
            bundles=(Bundle(packages=(*_RTX, *_CUDA), cuda=13),),
            install=_RUN_RTX,
        ),
        _backend("trt-static", "TensorRT, an engine for one shape, bound once", "TrtStatic", dynamic=False),
        _backend("trt-dynamic", "TensorRT, an engine for one shape or several, set in each call", "TrtDynamic"),
    ]


def _backend(name: str, summary: str, factory: str, *, dynamic: bool = True) -> BackendInfo:
    return BackendInfo(
        name=name,
        summary=summary,
        factory=f"benchfw_tensorrt.runner:{factory}",
        accepts=(_ENGINE,),
        options="benchfw_tensorrt.options:TrtOptions",
        provider="TensorRT",
        typed=True,
        step_options={"Int8Onnx": {"recipe": "tensorrt"}},
        capabilities=Capabilities(
            precisions=_PRECISIONS,
            devices=("cuda",),
            dynamic_shapes=dynamic,
            asynchronous=True,
            cuda_graph=True,
            profiles=True,
        ),
        requires=_CUDA,
        bundles=_BUNDLES,
        modules={"tensorrt": _BRINGS},
        install=_INSTALL,
    )


@hookimpl
def benchfw_register_steps() -> list[StepInfo]:
    return [
        StepInfo(
            name="RtxEngineFromOnnx",
            summary="an engine of TensorRT-RTX, built without a GPU",
            source="onnx",
            target=_RTX_ENGINE,
            makes=("tf32",),
            runtime="tensorrt-rtx",
            factory="benchfw_tensorrt.engine:RtxEngineFromOnnx",
            options="benchfw_tensorrt.options:RtxEngineOptions",
            requires=_RTX,
            install=_INSTALL_RTX,
        ),
        StepInfo(
            name="TrtEngineFromOnnx",
            summary="an engine of TensorRT, built on the GPU that runs it; types are those of the model",
            source="onnx",
            target=_ENGINE,
            makes=("tf32",),
            runtime="tensorrt",
            factory="benchfw_tensorrt.native:TrtEngineFromOnnx",
            options="benchfw_tensorrt.options:TrtEngineOptions",
            requires=_CUDA,
            install=_INSTALL,
            uses=_TENSORRT,
            reads=(ALWAYS,),
        ),
        StepInfo(
            name="WeakTrtEngineFromOnnx",
            summary="the same, of types that the builder chooses (TensorRT 8.6 and 10)",
            source="onnx",
            target=_ENGINE,
            makes=("tf32", "fp16", "bf16", "int8"),
            on_request=True,
            runtime="tensorrt-weak",
            factory="benchfw_tensorrt.weak:WeakTrtEngineFromOnnx",
            options="benchfw_tensorrt.options:WeakEngineOptions",
            requires=_CUDA,
            install=_INSTALL,
            uses=_TENSORRT,
            reads=(ALWAYS,),
        ),
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
