"""Packages with CUDA libraries that do not fit each other."""

from __future__ import annotations

import pytest

from benchfw.doctor import cuda, packages
from benchfw.plugins import Registry
from benchfw.spec import BuiltFor

FITS = [
    {
        "onnxruntime-gpu": "1.31.1",
        "nvidia-cudnn-cu13": "9.20.0.48",
        "nvidia-cublas": "13.1.0",
        "tensorrt-cu13": "10.16.1.11",
    },
    {"onnxruntime-gpu": "1.17.1", "nvidia_cudnn_cu11": "8.9.7.29", "tensorrt": "8.6.0"},
    {"torch-tensorrt": "2.11.0", "torch": "2.11.0+cu130", "tensorrt": "10.15.1.29"},
    {"torch_tensorrt": "2.13.0", "torch": "2.13.0", "tensorrt_cu13": "11.0.0.114"},
    {"torch-tensorrt": "2.99.0", "torch": "1.0", "tensorrt": "1.0"},
    {"onnxruntime-gpu": "1.24.2", "nvidia-cudnn-cu12": "9.1", "tensorrt": "11.0"},
    {"onnxruntime-gpu": "not a version", "torch": "2.11.0+cpu"},
    {"torch": "2.11.0+cu128"},
    {},
]


@pytest.fixture(scope="module")
def built_for(registry: Registry) -> list[BuiltFor]:
    """What the plugins of this repository tell; two backends of one of them tell the same."""
    return [each for info in registry.backends.values() for each in info.built_for]


@pytest.mark.parametrize("versions", FITS)
def test_sets_that_fit_or_are_not_known(versions: dict[str, str], built_for: list[BuiltFor]) -> None:
    assert list(cuda.findings("default", versions, built_for, "13.0")) == []


@pytest.mark.parametrize(
    ("versions", "texts"),
    [
        (
            {"onnxruntime-gpu": "1.31.1", "nvidia-cudnn-cu12": "9.1.0", "nvidia-cublas-cu12": "12.8"},
            ["onnxruntime-gpu 1.31.1 was built for CUDA 13, and there are libraries of CUDA 12"],
        ),
        (
            {"onnxruntime-gpu": "1.31.1", "nvidia-cudnn-cu13": "8.9"},
            ["onnxruntime-gpu 1.31.1 wants cuDNN 9, and 8.9 is installed"],
        ),
        (
            {"onnxruntime-gpu": "1.31.1", "tensorrt-cu13": "11.4.0.106"},
            [
                "the TensorRT provider of onnxruntime-gpu 1.31.1 wants libnvinfer.so.10, and TensorRT 11.4.0.106 is "
                "installed: it would run on CUDA instead, which benchfw calls FALLBACK"
            ],
        ),
        (
            {"torch-tensorrt": "2.13.0", "torch": "2.12.1", "tensorrt": "11.4.0.106"},
            [
                "torch-tensorrt 2.13.0 was built for torch ==2.13.*, and 2.12.1 is installed",
                "torch-tensorrt 2.13.0 was built for TensorRT >=11.0,<11.1, and 11.4.0.106 is installed",
            ],
        ),
        (
            {"torch": "2.11.0+cu130"},
            ["torch 2.11.0+cu130 was built for CUDA 13.0, and the driver serves CUDA up to 12.8"],
        ),
    ],
)
def test_sets_that_do_not_fit(versions: dict[str, str], texts: list[str], built_for: list[BuiltFor]) -> None:
    found = list(cuda.findings("trt", versions, built_for, "12.8"))
    assert [finding.text for finding in found] == texts
    assert all((finding.area, finding.what, finding.level) == ("packages", "trt", "WARN") for finding in found)
    assert all(finding.remedy for finding in found)


def test_without_a_driver_nothing_is_said_of_it() -> None:
    assert list(cuda.findings("default", {"torch": "2.11.0+cu130"}, [], None)) == []


def test_the_versions_of_this_interpreter() -> None:
    assert packages.versions()["packaging"]
