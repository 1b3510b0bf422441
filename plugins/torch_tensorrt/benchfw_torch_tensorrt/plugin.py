"""Registration of the torch-tensorrt plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, BuiltFor, Bundle, Capabilities, Wants
from benchfw.spec.hooks import hookimpl

_REQUIRES = ("torch-tensorrt>=2.11", "torch>=2.11", "safetensors>=0.5", "cuda-bindings>=12.6")
_TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")


def _built_for(version: str, tensorrt: str) -> BuiltFor:
    """Return which torch and which TensorRT a version of torch-tensorrt was built for, as its wheels say."""
    there = "torch-tensorrt {version} was built for "
    remedy = "pip install torch-tensorrt=={version}, which brings those that fit, in an environment of its own"
    return BuiltFor(
        distribution="torch-tensorrt",
        versions=f"=={version}.*",
        wants=(
            Wants(
                distributions=("torch",),
                versions=f"=={version}.*",
                text=f"{there}torch =={version}.*, and {{found}} is installed",
                remedy=remedy,
            ),
            Wants(
                distributions=_TENSORRT,
                versions=tensorrt,
                text=f"{there}TensorRT {tensorrt}, and {{found}} is installed",
                remedy=remedy,
            ),
        ),
    )


_BUILT_FOR = (
    _built_for("2.10", ">=10.14.1,<10.15"),
    _built_for("2.11", ">=10.15.1,<10.16"),
    _built_for("2.12", ">=10.16.1,<10.17"),
    _built_for("2.13", ">=11.0,<11.1"),
    _built_for("2.14", ">=11.1,<11.2"),
)


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="torch-tensorrt",
            summary="PyTorch, compiled by torch-tensorrt (never run yet)",
            factory="benchfw_torch_tensorrt.backend:TorchTensorrt",
            imports=("benchfw_torch",),
            options="benchfw_torch_tensorrt.options:TorchTensorrtOptions",
            accepts=("torch",),
            provider="TensorRT",
            capabilities=Capabilities(
                precisions=("fp32", "tf32", "fp16", "bf16"),
                devices=("cuda",),
                asynchronous=True,
                cuda_graph=True,
            ),
            requires=_REQUIRES,
            bundles=(Bundle(packages=_REQUIRES, cuda=13),),
            built_for=_BUILT_FOR,
            install="pip install 'benchfw-torch-tensorrt[cuda]'",
        )
    ]
