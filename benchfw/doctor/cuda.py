"""Packages with CUDA libraries that do not fit each other, or the driver. pip refuses none of these sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from benchfw.doctor.findings import Finding


class _Wants(NamedTuple):
    """What a range of versions of a package was built for.

    Attributes:
        versions: Of the package.
        cuda, cudnn, tensorrt: Major versions; of TensorRT the one whose library it links, if it does.
    """

    versions: str
    cuda: int
    cudnn: int
    tensorrt: int


ORT_GPU = (_Wants(">=1.31,<1.32", 13, 9, 10), _Wants(">=1.17,<1.18", 11, 8, 8))
"""onnxruntime-gpu, as its wheels name what they need."""

TORCH_TENSORRT = (
    ("2.10", "==2.10.*", ">=10.14.1,<10.15"),
    ("2.11", "==2.11.*", ">=10.15.1,<10.16"),
    ("2.12", "==2.12.*", ">=10.16.1,<10.17"),
    ("2.13", "==2.13.*", ">=11.0,<11.1"),
    ("2.14", "==2.14.*", ">=11.1,<11.2"),
)
"""torch-tensorrt: which torch and which TensorRT each version was built for, as their wheels say."""

_CUDA_SUFFIX = re.compile(r"-cu(\d\d)$")
_LOCAL = re.compile(r"\+cu(\d\d)(\d)")


def findings(environment: str, versions: Mapping[str, str], driver_cuda: str | None = None) -> Iterator[Finding]:
    """Yield what does not fit in an environment; nothing is said of sets that are not known to be wrong.

    Args:
        environment: Its name.
        versions: Of the distributions that are installed there.
        driver_cuda: Newest version of CUDA that the driver serves, like `13.0`; None if that is unknown.
    """
    read = {str(canonicalize_name(name)): _version(text) for name, text in versions.items()}
    known = {name: version for name, version in read.items() if version is not None}
    for text, remedy in (*_ort(known), *_torch_tensorrt(known), *_driver(known, driver_cuda)):
        yield Finding("packages", environment, "WARN", text, remedy)


def _ort(known: Mapping[str, Version]) -> Iterator[tuple[str, str]]:
    ort = known.get("onnxruntime-gpu")
    wants = next((each for each in ORT_GPU if ort is not None and ort in SpecifierSet(each.versions)), None)
    if ort is None or wants is None:
        return
    there = _cuda_majors(known)
    if there and wants.cuda not in there:
        text = (
            f"onnxruntime-gpu {ort} was built for CUDA {wants.cuda}, and there are libraries of CUDA {_listed(there)}"
        )
        yield text, f'pip install "onnxruntime-gpu[cuda,cudnn]=={ort}", in an environment without the others'
    cudnn = known.get(f"nvidia-cudnn-cu{wants.cuda}")
    if cudnn is not None and cudnn.major != wants.cudnn:
        text = f"onnxruntime-gpu {ort} wants cuDNN {wants.cudnn}, and {cudnn} is installed"
        yield text, f'pip install "nvidia-cudnn-cu{wants.cuda}=={wants.cudnn}.*"'
    tensorrt = _tensorrt(known)
    if tensorrt is not None and tensorrt.major != wants.tensorrt:
        text = (
            f"the TensorRT provider of onnxruntime-gpu {ort} wants libnvinfer.so.{wants.tensorrt}, and TensorRT "
            f"{tensorrt} is installed: it would run on CUDA instead, which benchfw calls FALLBACK"
        )
        yield text, f'an environment of its own: benchfw env create ort-trt --with "tensorrt-cu{wants.cuda}<11" …'


def _torch_tensorrt(known: Mapping[str, Version]) -> Iterator[tuple[str, str]]:
    bridge, torch, tensorrt = known.get("torch-tensorrt"), known.get("torch"), _tensorrt(known)
    if bridge is None:
        return
    row = next((row for row in TORCH_TENSORRT if bridge in SpecifierSet(f"=={row[0]}.*")), None)
    if row is None:
        return
    for name, version, range_ in (("torch", torch, row[1]), ("TensorRT", tensorrt, row[2])):
        if version is not None and Version(version.base_version) not in SpecifierSet(range_):
            text = f"torch-tensorrt {bridge} was built for {name} {range_}, and {version} is installed"
            yield (
                text,
                f"pip install torch-tensorrt=={bridge}, which brings those that fit, in an environment of its own",
            )


def _driver(known: Mapping[str, Version], driver_cuda: str | None) -> Iterator[tuple[str, str]]:
    torch = known.get("torch")
    built = _LOCAL.search(str(torch)) if torch is not None else None
    driver = _version(driver_cuda or "")
    if built is not None and driver is not None and int(built[1]) > driver.major:
        text = f"torch {torch} was built for CUDA {built[1]}.{built[2]}, and the driver serves CUDA up to {driver_cuda}"
        yield text, f"a newer driver, or a torch that was built for CUDA {driver.major}"


def _cuda_majors(known: Mapping[str, Version]) -> set[int]:
    """Return the major versions of CUDA whose libraries are installed as packages."""
    suffixes = (_CUDA_SUFFIX.search(name) for name in known if name.startswith("nvidia-"))
    found = {int(match[1]) for match in suffixes if match}
    return found | {known[name].major for name in ("nvidia-cuda-runtime", "nvidia-cublas") if name in known}


def _tensorrt(known: Mapping[str, Version]) -> Version | None:
    names = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")
    return next((known[name] for name in names if name in known), None)


def _listed(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
