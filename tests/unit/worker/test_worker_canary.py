"""The canary."""

from __future__ import annotations

import time

import numpy as np

from benchfw.worker import canary
from benchfw.worker.canary import Canary
from benchfw.worker.protocol import Message
from benchfw.worker.server import Server


def test_a_whole_look_has_three_parts_and_is_short() -> None:
    server = Server()
    start = time.monotonic()
    answer = server.answer(Message("canary", {"whole": True})).values
    assert time.monotonic() - start < 2, "some 20 ms on an idle machine"
    assert set(answer["parts"]) == {"roots_ns", "product_ns", "copy_ns"}
    assert all(0 < value < 10**8 for value in answer["parts"].values())
    assert answer["canary_ns"] == answer["parts"]["roots_ns"]
    assert set(server.answer(Message("canary", {})).values["parts"]) == {"roots_ns"}


def test_the_product_stays_in_one_thread() -> None:
    """CPU time of other threads while products are made, which a pool would use."""
    side = canary._SIDE
    matrix = np.ones((side, side), np.float32)
    target = np.empty_like(matrix)
    np.matmul(matrix, matrix, out=target)
    others = time.process_time_ns() - time.thread_time_ns()
    start = time.thread_time_ns()
    while time.thread_time_ns() - start < 30_000_000:
        np.matmul(matrix, matrix, out=target)
    assert time.process_time_ns() - time.thread_time_ns() - others < 3_000_000


def test_the_copy_does_not_fit_into_a_second_level_cache() -> None:
    looked = Canary()
    looked.whole()
    assert looked._copied is not None
    assert sum(array.nbytes for array in looked._copied) >= 4 << 20
