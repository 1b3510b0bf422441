"""Registrations of the OpenVINO plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities
from benchfw.spec.hooks import hookimpl


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="openvino",
            summary="OpenVINO on the CPU",
            factory="benchfw_openvino.backend:OpenVino",
            options="benchfw_openvino.options:OpenVinoOptions",
            accepts=("onnx",),
            provider="CPU",
            capabilities=Capabilities(releases_gil=True, profiles=True),
            requires=("openvino>=2025.0",),
            install="pip install 'benchfw-openvino[cpu]'",
        )
    ]
