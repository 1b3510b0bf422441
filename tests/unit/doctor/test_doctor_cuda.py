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
    {"onnxruntime-gpu": "1.18.1", "nvidia-cudnn-cu11": "8.9.7.29", "tensorrt-cu11": "10.0.1"},
    {"onnxruntime-gpu": "1.24.4", "nvidia-cudnn-cu12": "9.1", "tensorrt": "11.0"},
    {"onnxruntime-gpu": "1.32.0", "nvidia-cudnn-cu12": "8.9", "tensorrt": "8.6.1"},
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


@pytest.mark.parametrize(
    ("versions", "wants"),
    [
        (["1.17.0", "1.17.1"], (11, 8, 8)),
        (["1.18.0", "1.18.1"], (11, 8, 10)),
        (["1.19.2", "1.20.2", "1.21.1", "1.22.0", "1.23.2"], (12, 9, 10)),
        (["1.24.1", "1.25.1", "1.26.0"], (12, 9, None)),
        (["1.27.0", "1.28.0", "1.29.0", "1.30.0"], (13, 9, None)),
        (["1.31.0", "1.31.1"], (13, 9, 10)),
    ],
)
def test_what_each_onnxruntime_was_built_for(
    versions: list[str], wants: tuple[int, int, int | None], built_for: list[BuiltFor]
) -> None:
    """Beside libraries of everything else, as the wheels tell."""
    cuda_major, cudnn, tensorrt = wants
    for version in versions:
        there = {"onnxruntime-gpu": version, f"nvidia-cudnn-cu{cuda_major}": "7.0", "tensorrt": "7.0"}
        texts = [finding.text for finding in cuda.findings("x", there, built_for)]
        linked = [f"the TensorRT provider of onnxruntime-gpu {version} wants libnvinfer.so.{tensorrt}, "] * bool(
            tensorrt
        )
        assert texts[0] == f"onnxruntime-gpu {version} wants cuDNN {cudnn}, and 7.0 is installed"
        assert [text[: len(linked[0])] for text in texts[1:]] == linked
        (other,) = cuda.findings("x", {"onnxruntime-gpu": version, "nvidia-cublas-cu10": "10.2"}, built_for)
        assert other.text.startswith(f"onnxruntime-gpu {version} was built for CUDA {cuda_major}, and ")


@pytest.mark.parametrize(
    ("version", "there", "remedy"),
    [
        ("1.20.2", {"nvidia-cublas-cu13": "13"}, "libraries of CUDA 12 and cuDNN 9 on LD_LIBRARY_PATH: this version "),
        ("1.21.0", {"nvidia-cublas-cu13": "13"}, 'pip install "onnxruntime-gpu[cuda,cudnn]==1.21.0", in '),
        ("1.27.0", {"nvidia-cublas-cu12": "12"}, 'pip install "onnxruntime-gpu[cuda,cudnn]>=1.28", in '),
        (
            "1.17.1",
            {"tensorrt": "10.0.1"},
            'an environment of its own: benchfw env create ort-trt --with "tensorrt<9" …',
        ),
        (
            "1.18.1",
            {"tensorrt": "8.6.1"},
            'an environment of its own: benchfw env create ort-trt --with "tensorrt-cu11<',
        ),
    ],
)
def test_remedies_name_what_there_is(
    version: str, there: dict[str, str], remedy: str, built_for: list[BuiltFor]
) -> None:
    """Extras came with 1.21, those of 1.27 name packages without such a version, and TensorRT 8 has no `-cu11`."""
    (found,) = cuda.findings("x", {"onnxruntime-gpu": version, **there}, built_for)
    assert found.remedy.startswith(remedy)


def test_without_a_driver_nothing_is_said_of_it() -> None:
    assert list(cuda.findings("default", {"torch": "2.11.0+cu130"}, [], None)) == []


def test_the_versions_of_this_interpreter() -> None:
    assert packages.versions()["packaging"]
