"""Registrations of the ONNX Runtime plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities, StepInfo
from benchfw.spec.hooks import hookimpl

_ANY = "onnxruntime>=1.20 | onnxruntime-gpu>=1.20"  # the one for GPUs has the CPU execution provider too
_STEP = ("onnx>=1.19", _ANY)
_CUDA = ("onnxruntime-gpu>=1.17", "cuda-bindings>=12")
_INSTALL = "pip install 'benchfw-onnxruntime[cpu]'"
_INSTALL_CUDA = "pip install 'benchfw-onnxruntime[cuda]'"


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="ort-cpu",
            summary="ONNX Runtime, CPU execution provider",
            factory="benchfw_onnxruntime.backend:OrtCpu",
            options="benchfw_onnxruntime.options:CpuOptions",
            accepts=("onnx",),
            provider="CPUExecutionProvider",
            exact_options={"optimization": "disabled"},
            typed=True,
            capabilities=Capabilities(
                precisions=("fp32", "int8"),
                releases_gil=True,
                profiles=True,
                lacks={
                    "fp16": "the CPU execution provider turns a graph in fp16 back into fp32",
                    "bf16": "the CPU execution provider has no convolution in bf16",
                },
            ),
            requires=(_ANY,),
            install=_INSTALL,
        ),
        BackendInfo(
            name="ort-cuda",
            summary="ONNX Runtime, CUDA execution provider",
            factory="benchfw_onnxruntime.cuda:OrtCuda",
            options="benchfw_onnxruntime.options:CudaOptions",
            accepts=("onnx",),
            provider="CUDAExecutionProvider",
            typed=True,
            turns=("tf32",),
            capabilities=Capabilities(
                precisions=("fp32", "tf32", "fp16"),
                devices=("cuda",),
                asynchronous=True,
                cuda_graph=True,
                lacks={
                    "bf16": "the CUDA execution provider has no convolution in bf16",
                    "int8": "the CUDA execution provider computes QDQ graphs in floating point",
                },
            ),
            requires=_CUDA,
            install=_INSTALL_CUDA,
        ),
        BackendInfo(
            name="ort-tensorrt",
            summary="ONNX Runtime, TensorRT execution provider",
            factory="benchfw_onnxruntime.cuda:OrtTensorrt",
            options="benchfw_onnxruntime.options:TensorrtOptions",
            accepts=("onnx",),
            provider="TensorrtExecutionProvider",
            typed=True,
            turns=("fp16", "bf16"),
            step_options={"Int8Onnx": {"recipe": "tensorrt"}},
            capabilities=Capabilities(
                precisions=("fp32", "fp16", "bf16", "int8"), devices=("cuda",), asynchronous=True, cuda_graph=True
            ),
            requires=_CUDA,
            install=_INSTALL_CUDA,
        ),
    ]


@hookimpl
def benchfw_register_steps() -> list[StepInfo]:
    return [
        StepInfo(
            name="SimplifiedOnnx",
            summary="the same graph with fewer nodes",
            source="onnx",
            target="onnx",
            factory="benchfw_onnxruntime.simplify:SimplifiedOnnx",
            options="benchfw_onnxruntime.options:SimplifyOptions",
            on_request=True,
            requires=_STEP,
            uses=("onnxsim", "onnxslim", "onnxoptimizer"),
            install=_INSTALL,
        ),
        StepInfo(
            name="DenormalFreeWeights",
            summary="denormal weights become 0",
            source="onnx",
            target="onnx",
            factory="benchfw_onnxruntime.weights:DenormalFreeWeights",
            options="benchfw_onnxruntime.options:DenormalOptions",
            on_request=True,
            requires=_STEP,
            install=_INSTALL,
        ),
        StepInfo(
            name="HalfOnnx",
            summary="fp16 weights and arithmetic",
            source="onnx",
            target="onnx",
            factory="benchfw_onnxruntime.half:HalfOnnx",
            options="benchfw_onnxruntime.options:HalfOptions",
            makes=("fp16",),
            requires=_STEP,
            uses=("nvidia-modelopt",),
            install=_INSTALL,
        ),
        StepInfo(
            name="Int8Onnx",
            summary="int8 by QuantizeLinear and DequantizeLinear, calibrated",
            source="onnx",
            target="onnx",
            factory="benchfw_onnxruntime.quantize:Int8Onnx",
            options="benchfw_onnxruntime.options:Int8Options",
            makes=("int8",),
            reads=("calibration",),
            requires=_STEP,
            uses=("nvidia-modelopt",),
            install=_INSTALL,
        ),
    ]
