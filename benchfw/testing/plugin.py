"""Registers the fake backends, format and samplers: `BENCHFW_PLUGINS=benchfw.testing.plugin`."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities, FormatInfo, SamplerInfo
from benchfw.spec.hooks import hookimpl


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name=name,
            summary=summary,
            factory="benchfw.testing.fakes:FakeBackend",
            options="benchfw.testing.options:FakeOptions",
            accepts=("*",),
            provider="fake",
            capabilities=Capabilities(precisions=("fp32", "fp16"), specializes=specializes, profiles=True),
        )
        for name, summary, specializes in (
            ("fake", "a backend for tests; one artifact serves all shapes", False),
            ("fake-special", "a backend for tests; artifacts are made for shapes", True),
        )
    ] + [
        BackendInfo(
            name=name,
            summary=f"a backend for tests, on a device that is none{where}",
            factory=factory,
            options="benchfw.testing.options:DeviceOptions",
            accepts=("*",),
            provider="fake",
            capabilities=Capabilities(
                precisions=("fp32", "fp16"),
                devices=(device,),
                specializes=specializes,
                asynchronous=True,
                cuda_graph=True,
            ),
        )
        for name, where, factory, device, specializes in (
            ("fake-device", "", "benchfw.testing.device:DeviceBackend", "fake", False),
            (
                "fake-device-special",
                "; artifacts are made for shapes",
                "benchfw.testing.device:DeviceBackend",
                "fake",
                True,
            ),
            ("fake-cuda", ", in the place of CUDA's", "benchfw.testing.cuda:CudaBackend", "cuda", False),
        )
    ]


@hookimpl
def benchfw_register_formats() -> list[FormatInfo]:
    return [
        FormatInfo(
            name="fake-engine",
            summary="an engine for tests: its layers, line by line",
            factory="benchfw.testing.fakes:FakeEngine",
            begins=(b"fake",),
        )
    ]


@hookimpl
def benchfw_register_samplers() -> list[SamplerInfo]:
    return [
        SamplerInfo(name=name, summary=summary, factory=f"benchfw.testing.samplers:{kind}")
        for name, summary, kind in (
            ("fake-counter", "a sampler for tests: counts its readings, every third is unknown", "Counter"),
            ("fake-absent", "a sampler for tests: finds nothing to read", "Absent"),
            ("fake-raises", "a sampler for tests: raises at its third reading", "Raises"),
            ("fake-hangs", "a sampler for tests: never returns from its third reading", "Hangs"),
            ("fake-babbles", "a sampler for tests: its third reading is nonsense", "Babbles"),
            ("fake-kills", "a sampler for tests: its third reading kills the process", "Kills"),
        )
    ]
