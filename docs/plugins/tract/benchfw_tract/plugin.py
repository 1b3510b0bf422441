"""Registrations. Light: imported with every benchfw command, so no framework here."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities
from benchfw.spec.hooks import hookimpl


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name="tract",
            summary="tract, an inference engine in Rust, on one CPU thread",
            factory="benchfw_tract.backend:Tract",
            options="benchfw_tract.options:TractOptions",
            accepts=("onnx",),
            provider="tract",
            capabilities=Capabilities(precisions=("fp32",), dynamic_shapes=True, specializes=True),
            requires=("tract>=0.23",),
            install="pip install 'benchfw-tract[runtime]'",
        )
    ]
