"""Registrations of the PyTorch plugin. Light: imported in the parent."""

from __future__ import annotations

from dataclasses import replace

from benchfw.spec import BackendInfo, Bundle, Capabilities, ModelSourceInfo, StepInfo
from benchfw.spec.hooks import hookimpl

_TORCH = ("torch>=2.11", "safetensors>=0.5")
_ABLE = Capabilities(
    precisions=("fp32", "tf32", "bf16", "fp16"),
    devices=("cpu", "cuda"),
    asynchronous=True,
    cuda_graph=True,
    releases_gil=True,
)
_BUNDLES = (Bundle(packages=(*_TORCH, "cuda-bindings>=12.6"), cuda=13), Bundle(packages=_TORCH))
_INSTALL = "pip install 'benchfw-torch[cpu]'"


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="torch-eager",
            summary="PyTorch, eager mode",
            factory="benchfw_torch.backend:TorchEager",
            options="benchfw_torch.options:EagerOptions",
            accepts=("torch",),
            provider="torch",
            capabilities=replace(_ABLE, specializes=False, profiles=True),
            requires=_TORCH,
            bundles=_BUNDLES,
            install=_INSTALL,
        ),
        BackendInfo(
            name="torch-compile",
            summary="PyTorch, torch.compile with inductor (needs g++)",
            factory="benchfw_torch.compiled:TorchCompile",
            options="benchfw_torch.options:CompileOptions",
            accepts=("torch",),
            provider="inductor",
            capabilities=_ABLE,
            requires=_TORCH,
            bundles=_BUNDLES,
            install=_INSTALL,
        ),
    ]


@hookimpl
def benchfw_register_model_sources() -> list[ModelSourceInfo]:
    return [
        ModelSourceInfo(
            scheme="builtin",
            summary="models that come with the plugin: mlp, resnet18, resnet50; with transformers also bert, detr, vit",
            format="torch",
            factory="benchfw_torch.sources:BuiltinSource",
            requires=_TORCH,
            install=_INSTALL,
        ),
        ModelSourceInfo(
            scheme="python",
            summary="MODULE:CALLABLE that returns an nn.Module; runs your code",
            format="torch",
            factory="benchfw_torch.sources:PythonSource",
            requires=_TORCH,
            install=_INSTALL,
        ),
    ]


@hookimpl
def benchfw_register_steps() -> list[StepInfo]:
    return [
        StepInfo(
            name="OnnxFromTorch",
            source="torch",
            target="onnx",
            summary="torch.onnx.export, compared with the model's outputs",
            makes=("fp16",),
            factory="benchfw_torch.export:OnnxFromTorch",
            options="benchfw_torch.options:ExportOptions",
            requires=(*_TORCH, "onnx>=1.19", "onnxscript>=0.7"),
            uses=("onnxruntime", "onnxruntime-gpu"),
            install=_INSTALL,
        ),
        StepInfo(
            name="DenormalFreeTorch",
            source="torch",
            target="torch",
            summary="sets denormal weights to zero",
            on_request=True,
            factory="benchfw_torch.denormals:DenormalFreeTorch",
        ),
    ]
