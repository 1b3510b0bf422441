"""The wire, over pipes within one process."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from benchfw.errors import ProtocolError, WorkerCrashed, WorkerTimeout
from benchfw.worker.main import _error as describe
from benchfw.worker.protocol import MAX_HEADER_BYTES, Channel, Message

modest = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    """Return two ends that are connected both ways."""
    here, there = os.pipe(), os.pipe()
    ends = Channel(here[0], there[1]), Channel(there[0], here[1])
    yield ends
    for end in ends:
        end.close()


def _through(pair: tuple[Channel, Channel], message: Message) -> Message:
    one, other = pair
    one.send(message)
    received = other.receive(timeout=5)
    assert received is not None
    return received


def _frame(header: object, payload: bytes = b"") -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(data)) + data + payload


def _receive(pair: tuple[Channel, Channel], data: bytes) -> Message | None:
    one, other = pair
    os.write(one.write_fd, data)
    return other.receive(timeout=5)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
_KEYS = st.text(max_size=8).filter(lambda key: key not in ("type", "number", "arrays"))


@modest
@given(kind=st.text(max_size=10), values=st.dictionaries(_KEYS, _JSON, max_size=4))
def test_values_arrive_as_they_were(pair: tuple[Channel, Channel], kind: str, values: dict[str, Any]) -> None:
    received = _through(pair, Message(kind, values))
    assert (received.type, received.values, received.arrays) == (kind, values, {})


_DTYPES = st.one_of(
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
)
_ARRAYS = hnp.arrays(_DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


@modest
@given(st.dictionaries(st.text(max_size=6), _ARRAYS, max_size=3))
def test_arrays_arrive_as_they_were(pair: tuple[Channel, Channel], arrays: dict[str, NDArray[Any]]) -> None:
    received = _through(pair, Message("block", {"n": 1}, arrays))
    assert received.values == {"n": 1}
    assert list(received.arrays) == list(arrays)
    for name, array in arrays.items():
        other = received.arrays[name]
        assert other.shape == array.shape
        assert other.dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4).T,
        np.arange(24)[::-3],
        np.asfortranarray(np.ones((3, 5), np.float32)),
        np.broadcast_to(np.float16(2.5), (3, 2)),
        np.arange(5, dtype=">i4"),
        np.array(7, ">f8"),
        np.empty((0, 3), np.int8),
    ],
    ids=["transposed", "reversed", "fortran", "broadcast", "big-endian", "0-d", "empty"],
)
def test_layouts(pair: tuple[Channel, Channel], array: NDArray[Any]) -> None:
    other = _through(pair, Message("x", {}, {"a": array})).arrays["a"]
    assert other.shape == array.shape
    np.testing.assert_array_equal(other, array)


def test_messages_arrive_in_order_both_ways(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    for number in range(3):
        one.send(Message("ask", {"value": number}))
    for number in range(3):
        message = other.receive(timeout=5)
        assert message is not None and message.values == {"value": number}
        other.send(Message("ok", {"value": number}), timeout=5)
        answer = one.receive(timeout=5)
        assert answer is not None and answer.values == {"value": number}


def test_messages_larger_than_the_pipe(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    array = np.random.default_rng(1).integers(0, 255, (1 << 20) + 3, np.uint8)
    os.set_blocking(one.write_fd, False)
    sender = threading.Thread(target=lambda: one.send(Message("big", {}, {"a": array}), timeout=20))
    sender.start()
    received = other.receive(timeout=20)
    sender.join()
    assert received is not None
    np.testing.assert_array_equal(received.arrays["a"], array)


@pytest.mark.parametrize("name", ["type", "number", "arrays"])
def test_values_cannot_replace_what_the_protocol_needs(pair: tuple[Channel, Channel], name: str) -> None:
    with pytest.raises(ProtocolError):
        pair[0].send(Message("ok", {name: "other"}))


def test_arrays_of_objects_are_refused(pair: tuple[Channel, Channel]) -> None:
    for array in (np.array([{}, None]), np.zeros(2, [("a", object)])):
        with pytest.raises(ProtocolError, match="cannot be sent"):
            pair[0].send(Message("x", {}, {"a": array}))


@pytest.mark.parametrize(
    "header",
    [
        b"\xff\xfe\x00garbage",
        b"not json",
        b"",
        b"null",
        b"[1, 2]",
        b'"text"',
        b"{}",
        b'{"type": "ok", "number": 1}',
        b'{"type": "ok", "arrays": []}',
        b'{"type": "ok", "number": 2, "arrays": []}',
        b'{"type": "ok", "number": "1", "arrays": []}',
        b'{"arrays": []}',
        b'{"type": "ok", "number": 1, "arrays": 5}',
        b'{"type": "ok", "number": 1, "arrays": [5]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a"}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "nonsense", "shape": []}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "(", "shape": []}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "O", "shape": [1]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<M8[s]", "shape": [1]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "f4,f4", "shape": [1]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": ">f4", "shape": [1]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f4", "shape": [-1]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f4", "shape": [-1, -1]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f4", "shape": ["x"]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f4", "shape": 3}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f8", "shape": [10000000000]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f8", "shape": [1e400]}]}',
        b'{"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f8", "shape": [' + b"1," * 64 + b"1]}]}",
        b"[" * 50_000,
    ],
    ids=lambda header: header[:70].decode(errors="replace"),
)
def test_garbage_is_a_protocol_error(pair: tuple[Channel, Channel], header: bytes) -> None:
    with pytest.raises(ProtocolError):
        _receive(pair, _frame(header))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=80) | st.builds(_frame, _JSON) | st.builds(_frame, st.binary(max_size=40)))
def test_arbitrary_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    read, write = os.pipe()
    channel = Channel(read, write)
    try:
        os.write(write, data)
        os.close(write)
        channel.write_fd = -1
        message = channel.receive(timeout=5)
        assert message is None or isinstance(message, Message)
    except (ProtocolError, WorkerCrashed):
        pass
    finally:
        channel.close()


def test_an_oversized_header_is_refused_before_it_is_read(pair: tuple[Channel, Channel]) -> None:
    with pytest.raises(ProtocolError, match=str(MAX_HEADER_BYTES)):
        _receive(pair, struct.pack("<I", MAX_HEADER_BYTES + 1))


def test_the_end_between_messages_is_none(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    one.send(Message("last"))
    one.close()
    assert other.receive(timeout=5) is not None
    assert other.receive(timeout=5) is None


_WHOLE = _frame({"type": "ok", "number": 1, "arrays": [{"name": "a", "dtype": "<f4", "shape": [2]}]}, bytes(8))


@pytest.mark.parametrize("length", [1, 3, 4, 10, len(_WHOLE) - 8, len(_WHOLE) - 1])
def test_the_end_within_a_message_is_a_crash(pair: tuple[Channel, Channel], length: int) -> None:
    one, other = pair
    os.write(one.write_fd, _WHOLE[:length])
    one.close()
    with pytest.raises(WorkerCrashed, match="in the middle of a message"):
        other.receive(timeout=5)


@pytest.mark.parametrize("length", [0, 2, 10, len(_WHOLE) - 1])
def test_a_message_that_does_not_come_is_a_timeout(pair: tuple[Channel, Channel], length: int) -> None:
    one, other = pair
    os.write(one.write_fd, _WHOLE[:length])
    with pytest.raises(WorkerTimeout):
        other.receive(timeout=0.05)


def test_sending_to_nobody(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    other.close()
    with pytest.raises(WorkerCrashed, match="closed"):
        one.send(Message("x"))


def test_sending_to_somebody_who_does_not_read_is_a_timeout(pair: tuple[Channel, Channel]) -> None:
    one, _ = pair
    os.set_blocking(one.write_fd, False)
    with pytest.raises(WorkerTimeout):
        one.send(Message("big", {}, {"a": np.zeros(1 << 20)}), timeout=0.05)


def test_deadlines_of_centuries_are_no_error(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    one.send(Message("x"), timeout=1e12)
    assert other.receive(timeout=1e12) is not None


def test_closing_twice_is_harmless() -> None:
    channel = Channel(*os.pipe())
    channel.close()
    channel.close()
    assert (channel.read_fd, channel.write_fd) == (-1, -1)


def test_an_answer_that_somebody_else_wrote_is_found_by_the_next_one(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    os.write(other.write_fd, _frame({"type": "ok", "number": 1, "arrays": []}))
    other.send(Message("ok"))
    assert one.receive(timeout=5) == Message("ok")
    with pytest.raises(ProtocolError, match="number 1 arrived, 2 was due"):
        one.receive(timeout=5)


def test_waiting_looks_whether_it_still_makes_sense() -> None:
    read, write = os.pipe()
    looks: list[None] = []

    def idle() -> None:
        looks.append(None)
        if len(looks) == 3:
            raise WorkerCrashed("gone")

    channel = Channel(read, write, idle=idle)
    with pytest.raises(WorkerCrashed, match="gone"):
        channel.receive(timeout=60)
    channel.close()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (struct.error("too short"), "struct.error: too short"),
        (ValueError("odd"), "ValueError: odd"),
        (Exception("anything"), "Exception: anything"),
        (json.JSONDecodeError("odd", "", 0), "JSONDecodeError: odd: line 1 column 1 (char 0)"),
    ],
)
def test_an_exception_is_told_by_a_name_that_says_whose_it_is(error: Exception, message: str) -> None:
    assert describe("block", error).values["message"] == message
