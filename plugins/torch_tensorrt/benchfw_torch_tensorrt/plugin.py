"""Registration of the torch-tensorrt plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities
from benchfw.spec.hooks import hookimpl


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
            requires=("torch-tensorrt>=2.11", "torch>=2.11", "safetensors>=0.5"),
            install="pip install 'benchfw-torch-tensorrt[cuda]'",
        )
    ]
