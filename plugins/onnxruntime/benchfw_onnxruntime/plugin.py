"""Registrations of the ONNX Runtime plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities
from benchfw.spec.hooks import hookimpl


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
            capabilities=Capabilities(releases_gil=True, profiles=True),
            requires=("onnxruntime>=1.20",),
            install="pip install 'benchfw-onnxruntime[cpu]'",
        )
    ]
