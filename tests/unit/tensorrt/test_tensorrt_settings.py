"""Options as settings, on builders that lack one thing or another: mocks, of versions that are not here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from benchfw.errors import BuildFailed
from benchfw_tensorrt.options import RtxEngineOptions, TrtEngineOptions
from benchfw_tensorrt.settings import configure, network_flags, size_in_bytes


class Config:
    """What every builder's configuration has, less what a version lacks."""

    def __init__(self, *, lacking: tuple[str, ...] = ()) -> None:
        self.set: set[int] = {1}  # TF32 is on by default
        self.pools: dict[str, int] = {}
        for name, value in {"builder_optimization_level": 3, "max_aux_streams": -1}.items():
            if name not in lacking:
                setattr(self, name, value)

    def set_flag(self, flag: int) -> None:
        self.set.add(flag)

    def clear_flag(self, flag: int) -> None:
        self.set.discard(flag)

    def get_flag(self, flag: int) -> bool:
        return flag in self.set

    def set_memory_pool_limit(self, pool: str, limit: int) -> None:
        self.pools[pool] = limit


def tensorrt(flags: tuple[str, ...] = ("FP16", "TF32", "STRICT_NANS"), **more: Any) -> Any:
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="8.6.0",
        BuilderFlag=SimpleNamespace(__members__={name: place for place, name in enumerate(flags)}),
        ProfilingVerbosity=SimpleNamespace(__members__={"DETAILED": "detailed", "NONE": "none"}),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        **more,
    )


def options(*, tf32: bool = False, **given: Any) -> dict[str, Any]:
    return RtxEngineOptions(**given).model_dump(mode="json") | {"tf32": tf32}


def test_tf32_is_off_unless_asked_for() -> None:
    assert configure(tensorrt(), Config(), options())["flags"] == []
    assert configure(tensorrt(), Config(), options(tf32=True, strict_nans=True))["flags"] == ["STRICT_NANS", "TF32"]


def test_options_reach_the_configuration() -> None:
    config = Config()
    found = configure(tensorrt(), config, options(workspace="2GiB", optimization_level=5, max_aux_streams=0))
    assert config.pools == {"workspace": 2 << 30}
    assert (found["optimization_level"], config.max_aux_streams) == (5, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "lacking", "flags", "says"),
    [
        ({"weight_streaming": True}, (), ("TF32",), "option weight_streaming: tensorrt 8.6.0 has no BuilderFlag.WEIG"),
        ({"tf32": True}, (), (), "option tf32: tensorrt 8.6.0 has no BuilderFlag.TF32"),
        ({"max_aux_streams": 1}, ("max_aux_streams",), ("TF32",), "option max_aux_streams: tensorrt 8.6.0 has no"),
        ({"profiling_verbosity": "layer-names-only"}, (), (), "option profiling_verbosity: tensorrt 8.6.0 has no"),
    ],
)
def test_what_a_version_lacks_is_refused_by_name(
    given: dict[str, Any], lacking: tuple[str, ...], flags: tuple[str, ...], says: str
) -> None:
    with pytest.raises(BuildFailed) as raised:
        configure(tensorrt(flags), Config(lacking=lacking), options(**given))
    assert raised.value.message.startswith(says)
    assert raised.value.hint == "leave the option out"


def test_a_version_that_lacks_what_nobody_asks_for_will_do() -> None:
    lacking = ("max_aux_streams", "builder_optimization_level")
    assert configure(tensorrt(()), Config(lacking=lacking), options())["optimization_level"] is None


def test_compute_capabilities_of_a_builder_that_asks_the_gpu() -> None:
    wanted = RtxEngineOptions(compute_capabilities=("8.6",)).model_dump(mode="json")
    with pytest.raises(BuildFailed, match=r"compute_capabilities: tensorrt 8\.6\.0 has no ComputeCapability"):
        configure(tensorrt(), Config(), wanted)


@pytest.mark.parametrize(
    ("members", "flags"),
    [
        ({"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1}, 0b1),  # TensorRT 8.6
        ({"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 0b11),  # 10
        ({"STRONGLY_TYPED": 0}, 0),  # 11 and TensorRT-RTX
    ],
)
def test_networks_take_their_types_from_the_model(members: dict[str, int], flags: int) -> None:
    trt = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(__members__=members))
    assert network_flags(trt) == flags


@pytest.mark.parametrize(
    "given",
    [
        {"workspace": "2GB"},
        {"workspace": "0GiB"},
        {"optimization_level": 6},
        {"compute_capabilities": ["86"]},
        {"compute_capabilities": ["8.6", "8.6"]},
        {"log": "loud"},
        {"tf32": True},  # a precision of its own
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RtxEngineOptions(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"io_formats": {"x": "fp16"}},
        {"io_formats": {"x": "double:chw"}},
        {"profiles": ({"batch": (1, 4, 2)},)},
        {"profiles": ({"batch": (0, 1, 2)},)},
        {"hardware_compatibility": "all"},
        {"tf32": True},  # a precision of its own
    ],
)
def test_options_of_a_build_on_the_gpu_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrtEngineOptions(**given)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fp16:hwc8", "image = fp16:hwc8: the backends fill and read rows alone, fp16:chw"),
        ("bf16:chw", "image = bf16:chw: numpy has no bf16, so that nothing could fill it; use fp32"),
    ],
)
def test_formats_that_no_backend_can_feed_are_refused_before_the_build(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TrtEngineOptions(io_formats={"image": text})
    assert says in str(raised.value)
    assert TrtEngineOptions(io_formats={"image": "fp16:chw"}).io_formats == {"image": "fp16:chw"}


def test_sizes() -> None:
    assert [size_in_bytes(text) for text in ("1KiB", "3MiB", "2GiB")] == [1 << 10, 3 << 20, 2 << 30]
