"""Names of options of the CUDA and TensorRT providers, held against those in a wheel of onnxruntime-gpu.

pip download --no-deps --python-version 3.11 --only-binary :all: --dest FOLDER onnxruntime-gpu==1.31.1
BENCHFW_WHEELS=FOLDER pytest tests/contract/test_onnxruntime_options.py

One that is installed here is looked at as well. A provider says nowhere what it takes but by refusing the rest, for
which it needs a GPU; so names are looked for in its library, where each ends in a zero byte. TensorRT's are read by
ONNX Runtime's Python module first: what that does not know, or not with that value, the provider never gets.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO

import pytest

from benchfw_onnxruntime.arguments import for_cuda, for_tensorrt, switch
from benchfw_onnxruntime.cuda_options import CudaOptions, TensorrtOptions

LIBRARIES = {
    "cuda": "onnxruntime/capi/libonnxruntime_providers_cuda.so",
    "tensorrt": "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
    "python": "onnxruntime/capi/onnxruntime_pybind11_state.",
}
"""How the names of files begin: those of both providers, and of the module through which Python makes sessions."""
LONGEST = 128
Library = Callable[[str], contextlib.AbstractContextManager[IO[bytes]]]
"""Opens one of `LIBRARIES`."""
SWITCH = re.compile(rb"The value for the key '(trt_\w+)' should be [\w. ]*'True' or 'False'")

DEVICE = {"device_id", "has_user_compute_stream"}  # it ends in `user_compute_stream`, known or not
PLUGINS_OWN = {
    *(f"trt_profile_{point}_shapes" for point in ("min", "opt", "max")),
    *(f"trt_{cache}_cache_{what}" for cache in ("engine", "timing") for what in ("enable", "path")),
    *(f"trt_{kind}_enable" for kind in ("fp16", "bf16", "int8")),
    "trt_int8_calibration_table_name",
    "trt_int8_use_native_calibration_table",
}
LEFT_OUT = {
    "trt_cuda_graph_enable": "graphs are the core's",
    "trt_onnx_bytestream": "a pointer of a program that embeds it",
    "trt_onnx_bytestream_size": "likewise",
    "trt_external_data_bytestream": "likewise",
    "trt_external_data_bytestream_size": "likewise",
    "trt_load_user_initializer": "Python's module does not know it, to 1.31 at least",
    "trt_engine_decryption_enable": "encryption of engines",
    "trt_engine_decryption_lib_path": "likewise",
    "trt_onnx_bytes_stream": "no option, but a word of a message",
    "trt_dump_subgraphs": "writes into the folder of the process",
    "trt_dump_ep_context_model": "likewise; and without the engine in it has a path that no program takes",
    "trt_ep_context_file_path": "one file for all cases, each of which writes over it",
    "trt_ep_context_embed_mode": "nothing without them",
}
NOT_IN = re.compile(r"not in 1\.(\d+)(?: to 1\.(\d+))?")
NOT_SWITCHES = {"onnx_model_folder_path": None, "dla_core": 0}
LATER = {"use_tf32": 17, "trt_bf16_enable": 20}
"""What the plugin passes on without an option of its own, and the last 1.x that does not know it."""
NO_TEXT = {
    "1.19.2": {
        *(
            f"trt_{name}"
            for name in ("dla_core", "engine_hw_compatible", "force_timing_cache", "max_partition_iterations")
        )
    },
    "1.20.2": {"trt_detailed_build_log"},
}
"""What is known to Python's module of a version, and no text that ends in a zero byte in TensorRT's provider."""


def wheels() -> Iterator[tuple[str, Library]]:
    for path in sorted(Path(os.environ.get("BENCHFW_WHEELS", "no folder")).glob("onnxruntime_gpu-*.whl")):
        yield path.name.split("-")[1], partial(_in_wheel, path)
    with contextlib.suppress(metadata.PackageNotFoundError):
        found = metadata.distribution("onnxruntime-gpu")
        yield found.version, partial(_installed, found)


@contextlib.contextmanager
def _in_wheel(path: Path, library: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as wheel:
        name = next(name for name in wheel.namelist() if name.startswith(LIBRARIES[library]))
        with wheel.open(name) as file:
            yield file


@contextlib.contextmanager
def _installed(found: metadata.Distribution, library: str) -> Iterator[IO[bytes]]:
    name = next(path for path in found.files or () if str(path).startswith(LIBRARIES[library]))
    with Path(str(name.locate())).open("rb") as file:
        yield file


@pytest.fixture(scope="module")
def libraries() -> list[tuple[str, Library]]:
    found = list(wheels())
    if not found:
        pytest.skip(f"no onnxruntime-gpu is installed, and no wheel is in BENCHFW_WHEELS: see {Path(__file__).name}")
    return found


def names_in(file: IO[bytes], chunk: int = 1 << 24) -> set[str]:
    """Return the ends of all texts that could be names of options, in pieces: a library has half a gigabyte."""
    found: set[str] = set()
    kept = b""
    while piece := file.read(chunk):
        kept += piece
        found.update(name.decode() for name in re.findall(rb"([a-z][a-z0-9_]{4,})\0", kept))
        kept = kept[-LONGEST:]
    return found


def lacking(names: Iterable[str], library: set[str]) -> set[str]:
    return {name for name in names if name not in library}


def _passed() -> tuple[dict[str, str], dict[str, str]]:
    """Return all options that somebody can set, as each of the providers gets them."""
    fields = TensorrtOptions.model_fields
    every = {name: "x" if name.endswith("_path") else 1 for name in fields}
    return for_cuda({name: every[name] for name in CudaOptions.model_fields}), for_tensorrt(every, Path())


def _not_in(version: str) -> set[str]:
    """Return what the descriptions of options, and `LATER`, say that a version does not know."""
    minor = int(version.split(".")[1])
    said = {
        name
        for name, field in TensorrtOptions.model_fields.items()
        if (match := NOT_IN.search(field.description or "")) and int(match[1]) <= minor <= int(match[2] or match[1])
    }
    return said | {f"trt_{name}" for name in said} | {name for name, last in LATER.items() if minor <= last}


def test_what_is_passed_on_is_known_to_the_provider(libraries: list[tuple[str, Library]]) -> None:
    cuda, tensorrt = _passed()
    for_both = {*tensorrt, *PLUGINS_OWN}
    asked = {"cuda": {*cuda, *DEVICE, "use_tf32"}, "tensorrt": {*for_both, *DEVICE}, "python": for_both}
    for version, library in libraries:
        for provider, names in asked.items():
            with library(provider) as file:
                missing = lacking(names, names_in(file))
            if provider == "tensorrt":
                missing -= NO_TEXT.get(version, set())
            assert missing == names & _not_in(version), f"{provider} of {version}"


def test_every_option_of_tensorrt_is_offered_or_left_out_for_a_reason(libraries: list[tuple[str, Library]]) -> None:
    known = {*_passed()[1], *PLUGINS_OWN, *LEFT_OUT}
    for version, library in libraries:
        with library("tensorrt") as file:
            names = {name for name in names_in(file) if name.startswith("trt_")}
        assert len(names) > 30, "its names are not where they are looked for"
        assert names <= known, version
    assert not set(_passed()[1]) & {*PLUGINS_OWN, *LEFT_OUT}


def test_switches_have_the_values_that_python_knows(libraries: list[tuple[str, Library]]) -> None:
    given = for_tensorrt(dict.fromkeys(TensorrtOptions.model_fields, True) | NOT_SWITCHES, Path())
    for version, library in libraries:
        with library("python") as file:
            switches = {name.decode() for name in SWITCH.findall(file.read())}
        assert len(switches) > 10, "its words are not where they are looked for"
        assert {name: given[name] for name in switches & set(given)} == dict.fromkeys(switches & set(given), "True"), (
            version
        )
    assert (switch(True), switch(False)) == ("True", "False")


@pytest.mark.parametrize("chunk", [1, 7, 1 << 24])
def test_names_are_found_wherever_a_piece_ends(chunk: int) -> None:
    library = b"\x01\0trt_first_option\0NO\0other_option\0not_ended\xff" + bytes(200) + b"last_option\0"
    found = names_in(io.BytesIO(library), chunk)
    assert {"trt_first_option", "other_option", "last_option"} <= found
    assert "not_ended" not in found


def test_what_descriptions_say_of_versions() -> None:
    assert {"fuse_conv_bias", "trt_preview_features", "use_tf32"} <= _not_in("1.17.1")
    assert {"fuse_conv_bias", "trt_preview_features"} & _not_in("1.20.2") == {"trt_preview_features"}
    assert _not_in("1.31.1") == set()
