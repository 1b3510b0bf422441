"""Registrations of the ONNX Runtime plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, BuiltFor, Bundle, Capabilities, StepInfo, Wants
from benchfw.spec.hooks import hookimpl

_ANY = "onnxruntime>=1.20 | onnxruntime-gpu>=1.20"  # the one for GPUs has the CPU execution provider too
_STEP = ("onnx>=1.19", _ANY)
_CUDA = ("onnxruntime-gpu>=1.17", "cuda-bindings>=12")
_INSTALL = "pip install 'benchfw-onnxruntime[cpu]'"
_INSTALL_CUDA = "pip install 'benchfw-onnxruntime[cuda]'"
_INSTALL_TENSORRT = "pip install 'benchfw-onnxruntime[cuda,tensorrt]'"
_BLOCKING = {"asynchronous": False}
_TENSORRT = (
    "tensorrt",
    *(f"tensorrt-cu{cuda}" for cuda in (13, 12, 11)),
    *(f"tensorrt-cu{cuda}-bindings" for cuda in (13, 12, 11)),
)


def _for_cuda(versions: str, cuda: int, cudnn: int, remedy: str = "") -> BuiltFor:
    """Return the major versions that wheels of onnxruntime-gpu need, by their extras or what their libraries link."""
    return BuiltFor(
        distribution="onnxruntime-gpu",
        versions=versions,
        cuda=cuda,
        cuda_remedy=remedy or _EXTRAS.format("=={version}"),
        wants=(
            Wants(
                distributions=(f"nvidia-cudnn-cu{cuda}",),
                versions=f"=={cudnn}.*",
                text=f"onnxruntime-gpu {{version}} wants cuDNN {cudnn}, and {{found}} is installed",
                remedy=f'pip install "nvidia-cudnn-cu{cuda}=={cudnn}.*"',
            ),
        ),
    )


def _for_tensorrt(versions: str, tensorrt: int, package: str) -> BuiltFor:
    """Return which libnvinfer the provider of these wheels links, and the package that has it."""
    return BuiltFor(
        distribution="onnxruntime-gpu",
        versions=versions,
        wants=(
            Wants(
                distributions=_TENSORRT,
                versions=f"=={tensorrt}.*",
                text=f"the TensorRT provider of onnxruntime-gpu {{version}} wants libnvinfer.so.{tensorrt}, and "
                "TensorRT {found} is installed: it would run on CUDA instead, which benchfw calls FALLBACK",
                remedy=f'an environment of its own: benchfw env create ort-trt --with "{package}<{tensorrt + 1}" …',
            ),
        ),
    )


_EXTRAS = 'pip install "onnxruntime-gpu[cuda,cudnn]{}", in an environment without the others'
_BY_HAND = "libraries of CUDA {} and cuDNN {} on LD_LIBRARY_PATH: this version has no extras that bring them"

# Where several suit what is there, the last of them is asked for.
_BUILT_FOR = (
    _for_cuda(">=1.17,<1.19", 11, 8, _BY_HAND.format(11, 8)),
    _for_cuda(">=1.19,<1.21", 12, 9, _BY_HAND.format(12, 9)),
    _for_cuda(">=1.21,<1.27", 12, 9),
    # The extras of 1.27 name packages that have no such version.
    _for_cuda(">=1.27,<1.28", 13, 9, _EXTRAS.format(">=1.28")),
    _for_cuda(">=1.28,<1.32", 13, 9),
    _for_tensorrt(">=1.17,<1.18", 8, "tensorrt"),
    _for_tensorrt(">=1.18,<1.19", 10, "tensorrt-cu11"),
    _for_tensorrt(">=1.19,<1.24", 10, "tensorrt-cu12"),
    _for_tensorrt(">=1.31,<1.32", 10, "tensorrt-cu13"),
)


def _bundle(cuda: int, versions: str, bindings: str, python: str, *more: str) -> Bundle:
    """Return onnxruntime-gpu with the libraries of its CUDA, which its wheels do not bring themselves."""
    return Bundle(
        packages=(f"onnxruntime-gpu[cuda,cudnn]{versions}", *more, f"cuda-bindings{bindings}"),
        cuda=cuda,
        python=python,
        instead_of=("onnxruntime",),
    )


_FOR_13, _FOR_12 = (13, ">=1.28", ">=12.6", ">=3.11"), (12, ">=1.21,<1.27", ">=12.6,<13", ">=3.10")
_CUDA_BUNDLES = (_bundle(*_FOR_13), _bundle(*_FOR_12))
_TENSORRT_BUNDLES = (
    _bundle(13, ">=1.31,<1.32", *_FOR_13[2:], "tensorrt-cu13>=10.15,<11"),
    _bundle(*_FOR_12, "tensorrt-cu12>=10.15,<11"),
)


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
            bundles=(Bundle(packages=(_ANY,)),),
            install=_INSTALL,
        ),
        BackendInfo(
            name="ort-cuda",
            summary="ONNX Runtime, CUDA execution provider",
            factory="benchfw_onnxruntime.cuda:OrtCuda",
            options="benchfw_onnxruntime.cuda_options:CudaOptions",
            accepts=("onnx",),
            provider="CUDAExecutionProvider",
            typed=True,
            turns=("tf32",),
            blocking_options=_BLOCKING,
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
            built_for=_BUILT_FOR,
            bundles=_CUDA_BUNDLES,
            install=_INSTALL_CUDA,
        ),
        BackendInfo(
            name="ort-tensorrt",
            summary="ONNX Runtime, TensorRT execution provider",
            factory="benchfw_onnxruntime.cuda:OrtTensorrt",
            options="benchfw_onnxruntime.cuda_options:TensorrtOptions",
            accepts=("onnx",),
            provider="TensorrtExecutionProvider",
            typed=True,
            turns=("fp16", "bf16"),
            blocking_options=_BLOCKING,
            step_options={"Int8Onnx": {"recipe": "tensorrt"}},
            capabilities=Capabilities(
                precisions=("fp32", "fp16", "bf16", "int8"), devices=("cuda",), asynchronous=True, cuda_graph=True
            ),
            requires=_CUDA,
            built_for=_BUILT_FOR,
            bundles=_TENSORRT_BUNDLES,
            install=_INSTALL_TENSORRT,
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
            name="Bf16Onnx",
            summary="bf16 weights and arithmetic; needs NVIDIA's modelopt",
            source="onnx",
            target="onnx",
            factory="benchfw_onnxruntime.bf16:Bf16Onnx",
            makes=("bf16",),
            requires=(*_STEP, "nvidia-modelopt>=0.46"),
            install="pip install 'benchfw-onnxruntime[quant]'",
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
