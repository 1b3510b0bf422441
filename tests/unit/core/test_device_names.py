"""Names of devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.errors import Unsupported
from benchfw.spec.device import DeviceName, cuda_numbers


@given(st.from_regex(r"[a-z]+", fullmatch=True), st.integers(0, 1 << 16))
def test_a_name_says_kind_and_number(kind: str, number: int) -> None:
    assert DeviceName.parse(kind) == (kind, 0)
    assert DeviceName.parse(f"{kind}:{number}") == (kind, number)
    name = DeviceName(kind, number)
    assert kind == "cpu" or DeviceName.parse(str(name)) == name


def test_the_cpu_has_no_number() -> None:
    assert [str(DeviceName.parse(text)) for text in ("cpu", "cuda", "cuda:0", "cuda:01")] == [
        *("cpu", "cuda:0", "cuda:0", "cuda:1")
    ]


@pytest.mark.parametrize("text", ["", "cuda:", "cuda:x", "cuda:-1", "Cuda", "cuda:1:2", "cuda:١", "cuda:1\n", " cuda"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Unsupported, match="is no name of a device"):
        DeviceName.parse(text)


def test_numbers_of_cuda_devices() -> None:
    assert cuda_numbers(["cuda:1", "cpu", "fake:7", "cuda", "cuda:1"]) == [0, 1]
