"""Registrations of the OpenVINO plugin. Light: imported in the parent."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Bundle, Capabilities
from benchfw.spec.hooks import hookimpl

_OPENVINO = ("openvino>=2025.0",)


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
            typed=True,
            turns=("bf16",),
            capabilities=Capabilities(
                precisions=("fp32", "bf16", "int8"),
                releases_gil=True,
                profiles=True,
                lacks={"fp16": "its CPU plugin computes in bf16 or fp32 where fp16 is asked for"},
            ),
            requires=_OPENVINO,
            bundles=(Bundle(packages=_OPENVINO),),
            install="pip install 'benchfw-openvino[cpu]'",
        )
    ]
